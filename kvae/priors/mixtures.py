"""Priors that are mixtures."""

import math

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import checks, random
from kvae.priors.base import HEADS, Prior

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="kvae")
class NormalMixture(Prior):
    """A mixture of normals with learned means, covariances and weights: for data that come in groups.

    KL is Monte Carlo. A draw takes D + 2 normal values, the last two of which choose the component.

    Reference: Jiang et al. 2017 (VaDE), arXiv:1611.05148, where covariances are diagonal; with one component it is
    `Normal`.

    Args:
        num_components: K.
        covariance: "diagonal" or "full", of each component.
        seed: int, of the means that training starts from, which are drawn from N(0, I).

    Raises:
        ValueError: if `num_components` is less than 1, or for an unknown covariance.

    Example:
        >>> kvae.VAE(encoder, decoder, prior=kvae.priors.NormalMixture(num_components=50))
    """

    def __init__(self, num_components=50, covariance="diagonal", seed=0, **kwargs):
        super().__init__(**kwargs)
        self.num_components = checks.check_count("num_components", num_components)
        self.covariance = checks.check_choice("covariance", covariance, tuple(HEADS))
        self.seed = checks.check_seed(seed)
        self.head = HEADS[covariance]()

    def build(self, data_shape=None, latent_dim=None):
        shape = (self.num_components, latent_dim)
        # Components that begin alike get the same gradient, and stay alike.
        self.means = self.add_weight(shape, keras.initializers.RandomNormal(stddev=1.0, seed=self.seed), name="means")
        shape = (self.num_components, self.head.params_size(latent_dim) - latent_dim)
        self.scales = self.add_weight(shape, "zeros", name="scales")  # as the head takes them: log-variances, and so on
        self.logits = self.add_weight((self.num_components,), "zeros", name="logits")
        super().build(data_shape, latent_dim)

    def _params(self):
        return tf.concat([self.means.value, self.scales.value], axis=-1)

    def distribution(self, vae):
        return _Mixture(self.logits.value, self.head.distribution(self._params()))

    @property
    def noise_size(self):
        return self.latent_dim + 2

    def from_noise(self, noise, vae):
        component = _choose(noise[..., -2:], self.logits.value)
        return self.head.from_noise(tf.gather(self._params(), component), noise[..., :-2])


@keras.saving.register_keras_serializable(package="kvae")
class VampPrior(Prior):
    """The mixture of the posteriors of learned pseudo-inputs, p(z) = 1/K sum_k q(z|u_k): a prior that fits q by itself.

    It works with every posterior. The pseudo-inputs pass the encoder in inference mode at every step, at the price of K
    more examples, and every z is compared with K posteriors. Where the likelihood has a support the pseudo-inputs are
    clipped to it; the gradient passes the clipping unless it would push a value further out, so that values at the
    border do not wander off, and can always return. KL is Monte Carlo. A draw takes two normal values more than one of
    the posterior; these choose the component. Conditional models are refused: pseudo-inputs have no condition.

    Reference: Tomczak and Welling 2018, arXiv:1705.07120.

    Args:
        num_components: K.
        learn_weights: whether the weights of the components are learned too, rather than 1/K.
        seed: int, of the noise that the pseudo-inputs are until `initialize` sets them to data, which is better.

    Raises:
        ValueError: if `num_components` is less than 1; in the first step, with a conditional model.

    Example:
        >>> vae = kvae.VAE(encoder, decoder, prior=kvae.priors.VampPrior(num_components=500))
        >>> vae.prior.initialize(x_train)
    """

    def __init__(self, num_components=500, learn_weights=False, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.num_components = checks.check_count("num_components", num_components)
        self.learn_weights = bool(learn_weights)
        self.seed = checks.check_seed(seed)

    def build(self, data_shape=None, latent_dim=None):
        if data_shape is None:
            raise ValueError(
                "The VampPrior has pseudo-inputs of the shape of the data. Received: no shape. Give the prior to a VAE, "
                "or call `build(data_shape=..., latent_dim=...)`."
            )
        shape = (self.num_components, *data_shape)
        noise = keras.initializers.RandomNormal(stddev=1.0, seed=self.seed)
        self.pseudo_inputs = self.add_weight(shape, noise, name="pseudo_inputs")
        self.logits = self.add_weight((self.num_components,), "zeros", trainable=self.learn_weights, name="logits")
        super().build(data_shape, latent_dim)

    def initialize(self, x, seed=0):
        """Sets the pseudo-inputs to random rows of x, all different; NaN to zero, which is what an encoder sees.

        Args:
            x: array `[N, *data_shape]`, N at least `num_components`.
            seed: int.

        Raises:
            ValueError: for a wrong shape, values that are infinite, or too few rows; or before the shape of the data
                is known.

        Example:
            >>> vae.prior.initialize(x_train, seed=0)
        """
        if self.data_shape is None:
            raise ValueError("The VampPrior does not know the shape of the data yet. Give it to a VAE first.")
        x = np.asarray(x)
        checks.check_shape(x.shape, self.data_shape)
        checks.check_values(x, missing=True)
        if len(x) < self.num_components:
            raise ValueError(
                f"`x` must have at least as many rows as the VampPrior has components, {self.num_components}. "
                f"Received: {len(x)} rows."
            )
        rows = np.random.default_rng(checks.check_seed(seed) % 2**32).choice(len(x), self.num_components, replace=False)
        self.pseudo_inputs.assign(np.nan_to_num(x[np.sort(rows)].astype("float32")))

    def distribution(self, vae):
        return _Mixture(self.logits.value, vae.posterior.distribution(self._params(vae)))

    @property
    def noise_size(self):
        return self.latent_dim + 2

    def from_noise(self, noise, vae):
        component = _choose(noise[..., -2:], self.logits.value)
        return vae.posterior.from_noise(tf.gather(self._params(vae), component), noise[..., :-2])

    def _params(self, vae):
        """The encoder's output `[K, P]` at the pseudo-inputs."""
        if vae.condition_shape is not None:
            raise ValueError(
                "The VampPrior has no pseudo-inputs for the condition of a conditional model. Take another prior, such "
                f"as kvae.priors.NormalMixture(). Received: an encoder with a condition of shape {vae.condition_shape}."
            )
        inputs = self.pseudo_inputs.value
        if vae.likelihood.support is not None:
            inputs = _clip(inputs, *vae.likelihood.support)
        return vae.posterior_params(inputs)


class _Mixture(tfd.MixtureSameFamily):
    """A mixture whose density is made of two matrix products where the components are diagonal normals.

    It takes draws one at a time where, as in evaluation, there may be thousands of them: it holds `[..., K]` values, and
    with other components `[..., K, D]`: 100 examples, 500 components and 40 dimensions are 8 MB for every draw.
    """

    def __init__(self, logits, components):
        super().__init__(tfd.Categorical(logits=logits), components, name="Mixture")

    def _log_prob(self, z):
        diagonal = isinstance(self.components_distribution, tfd.MultivariateNormalDiag)
        density = self._log_prob_of_diagonals if diagonal else super()._log_prob
        if z.shape.rank is None or z.shape.rank < 3 or z.shape[0] is not None:
            return density(z)
        return tf.map_fn(density, z, fn_output_signature=tf.float32)

    def _log_prob_of_diagonals(self, z):
        # sum_d ((z - m) / s)^2 with the square multiplied out. What cancels may be a million times as large as what is
        # left, so it takes float64.
        components, weights = self.components_distribution, self.mixture_distribution.logits_parameter()
        z, mean, scale, weights = (
            tf.cast(each, tf.float64) for each in (z, components.mean(), components.stddev(), weights)
        )
        precision = 1.0 / scale**2  # [K, D]
        squares = tf.tensordot(z**2, precision, [[-1], [-1]]) - 2.0 * tf.tensordot(z, mean * precision, [[-1], [-1]])
        squares += tf.reduce_sum(mean**2 * precision, axis=-1)  # [..., K]
        log_volume = tf.reduce_sum(tf.math.log(scale) + 0.5 * math.log(2 * math.pi), axis=-1)
        log_prob = tf.nn.log_softmax(weights) - log_volume - 0.5 * squares
        return tf.cast(tf.reduce_logsumexp(log_prob, axis=-1), tf.float32)


def _choose(noise, logits):
    """Index `[...]` of the component that two standard normal values `[..., 2]` choose, with odds `logits` `[K]`."""
    # Half the squared length of two normals is exponential, so this is uniform; TFLite has no error function.
    uniform = tf.exp(-0.5 * tf.reduce_sum(noise**2, axis=-1))
    return random.choose(uniform, logits)


def _clip(values, low, high):
    """`values` within [low, high]; a gradient step that leads back, or stays within, passes as if nothing were clipped."""

    @tf.custom_gradient
    def clip(values):
        def backward(upstream):  # a step of descent goes against it
            outward = ((values <= low) & (upstream > 0)) | ((values >= high) & (upstream < 0))
            return tf.where(outward, tf.zeros_like(upstream), upstream)

        return tf.clip_by_value(values, low, high), backward

    return clip(values)
