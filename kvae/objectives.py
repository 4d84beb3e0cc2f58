"""From log-densities to a loss: the `Terms` of one batch, and the objectives that combine them."""

import dataclasses
import functools
import math
from typing import Any

import keras
import tensorflow as tf

from kvae import parts, random


@dataclasses.dataclass
class Terms:
    """Everything an objective may need of one batch. S samples, B examples, D latent dimensions; all in nats.

    Attributes:
        posterior: tfd q(z|x), batch `[B]`, event `[D]`.
        prior: tfd p(z), batch `[]`, event `[D]`.
        z: `[S, B, D]`, drawn from the posterior.
        log_likelihood: `[S, B]`, log p(x|z).
        posterior_head: the `Posterior` that made `posterior` out of `posterior_params` `[B, P]`.
        noise: `kvae.random.Noise` of this batch; `noise.auxiliary(dim)` gives values that z did not use.
        memo: dict that the objective's `gate` was given; what it left there for `loss` or for the backward pass.
    """

    posterior: Any
    prior: Any
    z: tf.Tensor
    log_likelihood: tf.Tensor
    posterior_head: Any = None
    posterior_params: tf.Tensor = None
    noise: random.Noise = None
    memo: dict = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def log_prior(self):
        """log p(z) `[S, B]`."""
        return self.prior.log_prob(self.z)

    @functools.cached_property
    def log_posterior(self):
        """log q(z|x) `[S, B]`."""
        return self.posterior.log_prob(self.z)

    @functools.cached_property
    def kl(self):
        """KL(q(z|x) || p(z)) `[B]`: closed form where TFP has one, else the mean of log q - log p over the samples."""
        try:
            return self.posterior.kl_divergence(self.prior)
        except NotImplementedError:
            return tf.reduce_mean(self.log_posterior - self.log_prior, axis=0)

    @property
    def reconstruction(self):
        """-E_q[log p(x|z)] `[B]`, a cost."""
        return -tf.reduce_mean(self.log_likelihood, axis=0)

    @property
    def elbo(self):
        """E_q[log p(x|z)] - KL(q(z|x) || p(z)) `[B]`, a lower bound on log p(x) whatever the objective."""
        return -self.reconstruction - self.kl

    @property
    def log_weight(self):
        """log p(x|z) + log p(z) - log q(z|x) `[S, B]`: the log importance weight."""
        return self.log_likelihood + self.log_prior - self.log_posterior

    def posterior_with_stopped_params(self):
        """q(z|x) whose parameters pass no gradient: for estimators that drop the score (STL, DReG)."""
        return self.posterior_head.distribution(tf.stop_gradient(self.posterior_params))


class Objective(parts.Part):
    """Base class of the objectives. A subclass gives `loss`.

    Attributes:
        num_samples: draws of z per example.
    """

    num_samples = 1

    @property
    def output_shape(self):
        return (None,)

    def loss(self, terms):
        """The cost `[B]` of each example, nats, from `Terms`."""
        raise NotImplementedError

    def gate(self, z, memo):
        """z `[S, B, D]` as the decoder and the densities shall see it; a place to change what flows backwards."""
        return z

    def auxiliary_loss(self, terms):
        """A scalar to minimise along with the loss but not to report in it: a discriminator's."""
        return 0.0


@keras.saving.register_keras_serializable(package="kvae")
class ELBO(Objective):
    """The negative evidence lower bound, with the KL weighted by beta: -E_q[log p(x|z)] + beta KL(q(z|x) || p(z)).

    Args:
        beta: weight of the KL; 1 is the bound itself. A live variable: `objective.beta.assign(2.0)` takes effect in the
            next step, and `kvae.callbacks.BetaWarmup` does it.
        num_samples: draws of z per example.

    Raises:
        ValueError: if `beta` is negative or `num_samples` less than 1.

    References: Kingma and Welling 2014, arXiv:1312.6114, equation 3; Higgins et al. 2017 (beta-VAE), equation 4.

    Example:
        >>> vae = kvae.VAE(encoder, decoder, objective=kvae.objectives.ELBO(beta=4.0))
    """

    def __init__(self, beta=1.0, num_samples=1, **kwargs):
        super().__init__(**kwargs)
        if not (beta >= 0 and math.isfinite(beta)):
            raise ValueError(f"`beta` must be a number, zero or larger. Received: beta={beta!r}")
        self.num_samples = check_num_samples(num_samples)
        self.beta = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(beta), trainable=False, name="beta"
        )

    def loss(self, terms):
        return terms.reconstruction + self.beta * terms.kl


@keras.saving.register_keras_serializable(package="kvae")
class IWAE(Objective):
    """The negative importance-weighted bound: -log 1/S sum_s w_s with w = p(x|z) p(z) / q(z|x).

    Args:
        num_samples: S. The bound is the ELBO at 1 and rises with S towards log p(x).

    Raises:
        ValueError: if `num_samples` is less than 1.

    Reference: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, equation 8.

    Example:
        >>> vae = kvae.VAE(encoder, decoder, objective=kvae.objectives.IWAE(num_samples=8))
    """

    def __init__(self, num_samples=8, **kwargs):
        super().__init__(**kwargs)
        self.num_samples = check_num_samples(num_samples)

    def loss(self, terms):
        return -log_mean_exp(terms.log_weight)


def log_mean_exp(log_weight):
    """log 1/S sum_s exp(log_weight_s) over the first axis."""
    count = tf.cast(tf.shape(log_weight)[0], log_weight.dtype)
    return tf.reduce_logsumexp(log_weight, axis=0) - tf.math.log(count)


def check_num_samples(num_samples):
    """`num_samples` if it is a whole number of at least 1, else ValueError."""
    if isinstance(num_samples, bool) or num_samples != int(num_samples) or num_samples < 1:
        raise ValueError(f"`num_samples` must be a whole number of at least 1. Received: num_samples={num_samples!r}")
    return int(num_samples)


def get(identifier):
    """The objective that a name or object means; see `kvae.parts.get`."""
    return parts.get(identifier, Objective, [ELBO, IWAE])
