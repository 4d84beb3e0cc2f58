"""Bounds on log p(x), and the ELBO with its KL weighted, floored or held at a capacity."""

import math

import keras
import tensorflow as tf

from kvae import checks
from kvae.objectives.base import Objective, batch_mean, check_num_samples, check_number, log_mean_exp


@keras.saving.register_keras_serializable(package="kvae")
class ELBO(Objective):
    """The negative evidence lower bound, with the KL weighted by beta: -E_q[log p(x|z)] + beta KL(q(z|x) || p(z)).

    Two variants keep the latent space in use. `free_bits` puts beta sum_d max(free_bits, mean KL_d) in place of
    beta KL: below the floor a dimension costs nothing more. `capacity` puts beta |mean KL - capacity|: the KL is held
    at a level, which `kvae.callbacks.CapacityRamp` raises. Both means are over the batch (of all replicas, by
    sample weights), as in the papers, and not of each example by itself.

    Args:
        beta: weight of the KL; 1 is the bound itself. A live variable: `objective.beta.assign(2.0)` takes effect in the
            next step, and `kvae.callbacks.BetaWarmup` does it.
        num_samples: draws of z per example.
        free_bits: the floor of each latent dimension, nats. Needs a diagonal posterior and prior.
        capacity: level of the KL, nats, or None. A live variable too. The papers take beta from 100 to 1000 with it.

    Raises:
        ValueError: if `beta`, `free_bits` or `capacity` is negative, `num_samples` less than 1, or both `free_bits` and
            `capacity` are given.

    References: Kingma and Welling 2014, arXiv:1312.6114, equation 3; Higgins et al. 2017 (beta-VAE), equation 4; free
    bits: Kingma et al. 2016, arXiv:1606.04934, equation 15; capacity: Burgess et al. 2018, arXiv:1804.03599, equation 8.

    Example:
        >>> vae = kvae.VAE(encoder, decoder, objective=kvae.objectives.ELBO(beta=4.0))
        >>> kvae.objectives.ELBO(free_bits=0.1), kvae.objectives.ELBO(beta=100.0, capacity=25.0)
    """

    def __init__(self, beta=1.0, num_samples=1, free_bits=0.0, capacity=None, **kwargs):
        super().__init__(**kwargs)
        beta = check_number("beta", beta)
        self.num_samples = check_num_samples(num_samples)
        self.free_bits = check_number("free_bits", free_bits)
        if capacity is not None and self.free_bits:
            raise ValueError(
                "`free_bits` and `capacity` each set a level for the KL: give one of them. "
                f"Received: free_bits={free_bits!r}, capacity={capacity!r}"
            )
        self.beta = self._live("beta", beta)
        self.capacity = None if capacity is None else self._live("capacity", check_number("capacity", capacity))

    def _live(self, name, value):
        return self.add_weight(shape=(), initializer=keras.initializers.Constant(value), trainable=False, name=name)

    def loss(self, terms):
        return terms.reconstruction + self.beta * self._divergence(terms)

    def _divergence(self, terms):
        if self.free_bits:
            # The mean over the batch is sum_d max(free_bits, mean KL_d), and so is its gradient.
            used = batch_mean(tf.stop_gradient(terms.kl_per_dimension), terms.sample_weight) > self.free_bits  # [D]
            return tf.reduce_sum(tf.where(used, terms.kl_per_dimension, self.free_bits), axis=-1)
        if self.capacity is not None:
            excess = terms.kl - self.capacity
            mean = batch_mean(tf.stop_gradient(excess), terms.sample_weight)
            return tf.sign(mean) * excess  # its mean is |mean KL - capacity|
        return terms.kl


@keras.saving.register_keras_serializable(package="kvae")
class IWAE(Objective):
    """The negative importance-weighted bound: -log 1/S sum_s w_s with w = p(x|z) p(z) / q(z|x).

    With many samples the signal in the encoder's standard gradient drowns in noise (Rainforth et al. 2018,
    arXiv:1802.04537). Of the same loss there are other gradients for the encoder; the decoder's and the prior's are the
    standard ones in each case:
    - "stl", sticking the landing, leaves out the score of q. Zero at the exact posterior. Made for S = 1: with more it
      is biased, the more the larger S, and then follows another objective than the bound.
    - "dreg", doubly reparameterised, weighs each sample's path by w_s / sum w once more: unbiased, less noise.

    Args:
        num_samples: S. The bound is the ELBO at 1 and rises with S towards log p(x).
        gradient: "standard", "stl" or "dreg".

    Raises:
        ValueError: if `num_samples` is less than 1 or `gradient` is none of the three.

    References: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, equation 8; stl: Roeder, Wu and Duvenaud 2017,
    arXiv:1703.09194, algorithm 2; dreg: Tucker et al. 2019, arXiv:1810.04152.

    Example:
        >>> vae = kvae.VAE(encoder, decoder, objective=kvae.objectives.IWAE(num_samples=64, gradient="dreg"))
    """

    def __init__(self, num_samples=8, gradient="standard", **kwargs):
        super().__init__(**kwargs)
        self.num_samples = check_num_samples(num_samples)
        self.gradient = checks.check_choice("gradient", gradient, ("standard", "stl", "dreg"))

    def gate(self, z, memo):
        if self.gradient != "dreg":
            return z

        @tf.custom_gradient
        def weigh_gradient(z):
            return tf.identity(z), lambda upstream: upstream * memo.get("normalized_weight", 1.0)

        return weigh_gradient(z)

    def loss(self, terms):
        if self.gradient == "standard":
            return -log_mean_exp(terms.log_weight)
        terms.memo["normalized_weight"] = tf.stop_gradient(tf.nn.softmax(terms.path_log_weight, axis=0))[..., None]
        return -log_mean_exp(terms.path_log_weight)


@keras.saving.register_keras_serializable(package="kvae")
class Renyi(Objective):
    """The negative variational Renyi bound: -1/(1 - alpha) log 1/S sum_s w_s^(1 - alpha), w = p(x|z) p(z) / q(z|x).

    It falls as alpha rises: alpha = 0 is the `IWAE`, alpha -> 1 the `ELBO`; alpha < 0 is above the IWAE and may be above
    log p(x). With one sample every alpha is the ELBO. The bound is a quantity of the limit of many samples.

    Args:
        alpha: order of the divergence, any number but 1.
        num_samples: S, at least 2.

    Raises:
        ValueError: if `alpha` is 1 or no finite number, or `num_samples` is less than 2.

    Reference: Li and Turner 2016, arXiv:1602.02311, sections 3 (the bound) and 4.1 (its estimate by samples).

    Example:
        >>> vae = kvae.VAE(encoder, decoder, objective=kvae.objectives.Renyi(alpha=0.5, num_samples=8))
    """

    def __init__(self, alpha=0.5, num_samples=8, **kwargs):
        super().__init__(**kwargs)
        self.alpha = check_number("alpha", alpha, minimum=-math.inf)
        self.num_samples = check_num_samples(num_samples)
        if abs(1 - self.alpha) < 1e-3:
            raise ValueError(
                "The Renyi bound of `alpha` = 1 is the ELBO, and closer to it than 0.001 float32 cannot tell them "
                f"apart: use kvae.objectives.ELBO(num_samples={self.num_samples}). Received: alpha={alpha!r}"
            )
        if self.num_samples == 1:
            raise ValueError(
                "With `num_samples` = 1 the Renyi bound of every alpha is the ELBO: give 2 or more, or use "
                "kvae.objectives.ELBO(). Received: num_samples=1"
            )

    def loss(self, terms):
        order = 1 - self.alpha
        # Taken around the mean, so that little is lost where `order` is small.
        centre = tf.reduce_mean(terms.log_weight, axis=0)
        return -(centre + log_mean_exp(order * (terms.log_weight - centre)) / order)
