"""q(z|x): heads that turn the encoder's output into a distribution over the latent space."""

import math

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import checks, flows, parts

tfd = tfp.distributions

# Variances from 1e-13 to 5e8: wide enough for any data, narrow enough that nothing overflows in float32.
LOG_VAR_RANGE = (-30.0, 20.0)
# Total correlation, nats, that a full covariance stops at. The inverse of its Cholesky factor then amplifies rounding
# by e^12 = 2e5 at most, whatever the number of dimensions.
MAX_TOTAL_CORRELATION = 12.0


class Posterior(parts.Part):
    """Base class of the posteriors.

    A subclass gives `params_size`, `noise_size`, `distribution` and `from_noise`. Called as a layer it gives the mean
    `[B, D]`.
    """

    def params_size(self, latent_dim):
        """Width of the encoder's output for `latent_dim` latent dimensions."""
        raise NotImplementedError

    def distribution(self, params):
        """The distribution q(z|x) of encoder outputs `[B, P]`: batch `[B]`, event `[D]`."""
        raise NotImplementedError

    def from_noise(self, params, noise):
        """Reparameterised draws: `params [B, P]` and `noise [..., B, noise_size]` give z `[..., B, D]`."""
        raise NotImplementedError

    def noise_size(self, params):
        """How many standard normal values one draw takes."""
        raise NotImplementedError

    def call(self, params):
        return self.distribution(params).mean()


@keras.saving.register_keras_serializable(package="kvae")
class DiagonalNormal(Posterior):
    """Normal with a diagonal covariance: the posterior of the first VAE.

    The encoder's output is `[mean, log_var]` on the last axis. `log_var` is clipped to [-30, 20].

    Reference: Kingma and Welling 2014, arXiv:1312.6114, equation 9.

    Example:
        >>> q = kvae.posteriors.DiagonalNormal().distribution(tf.zeros([4, 2 * 3]))
        >>> q.batch_shape, q.event_shape
        (TensorShape([4]), TensorShape([3]))
    """

    def params_size(self, latent_dim):
        return 2 * latent_dim

    def distribution(self, params):
        return tfd.MultivariateNormalDiag(*mean_and_scale(params))

    def from_noise(self, params, noise):
        mean, scale = mean_and_scale(params)
        return mean + scale * noise

    def noise_size(self, params):
        return params.shape[-1] // 2


@keras.saving.register_keras_serializable(package="kvae")
class FullNormal(Posterior):
    """Normal with a full covariance, by its Cholesky factor: for latent dimensions that depend on each other given x.

    The encoder's output is `[mean, log_var, lower]` on the last axis, `D + D + D (D - 1) / 2` values. `log_var` is the
    log-variance of each dimension given the ones before it, clipped to [-30, 20]; `lower` holds the entries below the
    diagonal of a unit lower triangular matrix U, row by row: U_21, U_31, U_32, U_41, ... The Cholesky factor of the
    covariance is L = diag(exp(log_var / 2)) U. With `lower` zero this is `DiagonalNormal` of the first 2 D values.

    The total correlation of q, 1/2 sum_i log(1 + sum_j<i U_ij^2), is kept to at most 12 nats by shrinking `lower`, so
    that float32 never overflows; that is the correlation 0.99999999998 between two dimensions.

    Reference: Kingma and Welling 2019, arXiv:1906.02691, section 2.5.1.

    Example:
        >>> head = kvae.posteriors.FullNormal()
        >>> encoder = kvae.networks.dense_encoder((28, 28, 1), 16, params_size=head.params_size(16))
        >>> vae = kvae.VAE(encoder, kvae.networks.dense_decoder(16, (28, 28, 1)), posterior=head)
    """

    def params_size(self, latent_dim):
        return 2 * latent_dim + latent_dim * (latent_dim - 1) // 2

    def distribution(self, params):
        return tfd.MultivariateNormalTriL(*mean_and_scale_tril(params))

    def from_noise(self, params, noise):
        mean, scale_tril = mean_and_scale_tril(params)
        return mean + tf.linalg.matvec(scale_tril, noise)

    def noise_size(self, params):
        return _full_latent_dim(params.shape[-1])


@keras.saving.register_keras_serializable(package="kvae.posteriors", name="Flow")
class Flow(Posterior):
    """A normalising flow over a diagonal normal: for posteriors that no normal describes.

    The encoder's output is `[mean, log_var, context]` on the last axis: `2 D` values of `DiagonalNormal`, whose draws
    the flow transforms, and `context_size` values that every step of the flow sees. The weights of the flow belong to
    the posterior, not to the encoder.

    log q(z|x) is exact for every z. For the z just drawn within a graph it costs nothing more. For any other z it takes
    the inverse of the flow: one pass through each step of kind "coupling", D passes for "iaf". There is no closed form
    of the mean: the mean of `distribution`, and with it reconstruction, is the image of the base's mean, z at noise
    zero. KL is Monte Carlo.

    References: Kingma et al. 2016 (inverse autoregressive flow), arXiv:1606.04934, algorithm 1 and equations 13 and 14;
    Dinh et al. 2017 (coupling), arXiv:1605.08803, equations 7 and 8.

    Args:
        num_steps: how many transformations; every other one takes the dimensions in reverse order.
        hidden: widths of the hidden layers of the network in each step.
        kind: "iaf" or "coupling"; the first is richer, the second has the cheaper inverse and needs D >= 2.
        context_size: outputs of the encoder, beyond mean and log_var, that go to every step.

    Raises:
        ValueError: for sizes that are not positive, an unknown kind, and in `build` for one latent dimension with
            kind="coupling".

    Example:
        >>> head = kvae.posteriors.Flow(num_steps=2, context_size=32)
        >>> encoder = kvae.networks.dense_encoder((28, 28, 1), 16, params_size=head.params_size(16))
        >>> vae = kvae.VAE(encoder, kvae.networks.dense_decoder(16, (28, 28, 1)), posterior=head)
    """

    def __init__(self, num_steps=2, hidden=(64,), kind="iaf", context_size=0, **kwargs):
        super().__init__(**kwargs)
        self.num_steps, self.hidden, self.kind = flows.check_settings(num_steps, hidden, kind, ("iaf", "coupling"))
        self.context_size = checks.check_count("context_size", context_size, least=0)
        self.steps = None

    def build(self, data_shape=None, latent_dim=None):
        flows.check_latent_dim(self, latent_dim)
        self.steps = flows.make_steps(self.kind, self.num_steps, latent_dim, self.hidden, self.context_size)
        super().build(data_shape, latent_dim)

    def params_size(self, latent_dim):
        return 2 * latent_dim + self.context_size

    def distribution(self, params):
        base, context = self._split(params)
        base = tfd.MultivariateNormalDiag(*mean_and_scale(base))
        return flows.FlowDistribution(base, self._built_steps, context, source=(self, params))

    def from_noise(self, params, noise):
        q = self.distribution(params)
        mean, scale = mean_and_scale(self._split(params)[0])
        start = mean + scale * noise
        z, log_det = flows.forward(self._built_steps, start, q.context)
        flows.remember(z, (self, params), q.base.log_prob(start) - log_det)
        return z

    def noise_size(self, params):
        return (params.shape[-1] - self.context_size) // 2

    def _split(self, params):
        """The params of the base `[..., 2 D]`, and the context `[..., C]` or None."""
        if not self.context_size:
            return params, None
        return params[..., : -self.context_size], tf.cast(params[..., -self.context_size :], tf.float32)

    @property
    def _built_steps(self):
        if self.steps is None:
            flows.check_latent_dim(self, None)
        return self.steps


def mean_and_scale(params):
    """Mean and standard deviation, both `[..., D]`, that the params `[..., 2 D]` of `DiagonalNormal` mean."""
    mean, log_var = tf.split(tf.cast(params, tf.float32), 2, axis=-1)
    # Halved before it is clipped, for TFLite's static int8: there what a clipping takes and gives has one range, and
    # with it the mean would have, which comes from the same tensor.
    low, high = LOG_VAR_RANGE
    return mean, tf.exp(tf.clip_by_value(0.5 * log_var, 0.5 * low, 0.5 * high))


def mean_and_scale_tril(params):
    """Mean `[..., D]` and Cholesky factor of the covariance `[..., D, D]` that the params of `FullNormal` mean."""
    dim = _full_latent_dim(params.shape[-1])
    params = tf.cast(params, tf.float32)
    mean, scale = mean_and_scale(params[..., : 2 * dim])
    # Row i of the matrix begins at entry i (i - 1) / 2; whatever is not below the diagonal takes the zero put at the end.
    row, column = np.indices((dim, dim))
    places = np.where(column < row, row * (row - 1) // 2 + column, dim * (dim - 1) // 2)
    entries = tf.concat([params[..., 2 * dim :], tf.zeros_like(params[..., :1])], axis=-1)
    lower = _shrink(tf.gather(entries, places, axis=-1))
    return mean, scale[..., None] * (lower + tf.eye(dim))


def full_params(mean, scale_tril):
    """The params `[P]` of `FullNormal` that mean a mean `[D]` and a Cholesky factor `[D, D]`: numpy arrays."""
    scale = np.diag(scale_tril)
    lower = (scale_tril / scale[:, None])[np.tril_indices(len(scale), -1)]
    return np.concatenate([mean, 2 * np.log(scale), lower])


def total_correlation(scale_tril):
    """Total correlation, nats, of normals with Cholesky factors `[..., D, D]`: numpy arrays."""
    log_stddev = 0.5 * np.log(np.sum(np.square(scale_tril), axis=-1))
    return np.sum(log_stddev - np.log(np.diagonal(scale_tril, axis1=-2, axis2=-1)), axis=-1)


def _shrink(lower):
    """Strictly lower triangular matrices `[..., D, D]`, each shrunk until its total correlation is in bounds."""
    row = tf.reduce_sum(lower**2, axis=-1)
    row_correlation = 0.5 * tf.math.log1p(row)
    total = tf.reduce_sum(row_correlation, axis=-1, keepdims=True)
    # Where nothing is to be done the square root is of 1, for its gradient at zero is infinite.
    shrunk = tf.where(
        (total > MAX_TOTAL_CORRELATION) & (row > 0),
        tf.math.expm1(2 * row_correlation * (MAX_TOTAL_CORRELATION / tf.maximum(total, MAX_TOTAL_CORRELATION)))
        / tf.where(row > 0, row, 1.0),
        1.0,
    )
    return lower * tf.sqrt(shrunk)[..., None]


def _full_latent_dim(size):
    """D from the number of params of `FullNormal`, P = D (D + 3) / 2."""
    dim = (math.isqrt(9 + 8 * size) - 3) // 2
    if dim < 1 or dim * (dim + 3) // 2 != size:
        raise ValueError(
            f"The posterior FullNormal takes D (D + 3) / 2 parameters for D latent dimensions: 2, 5, 9, 14, ... "
            f"Received: {size}. End the encoder in Dense(kvae.posteriors.FullNormal().params_size(latent_dim))."
        )
    return dim


def get(identifier):
    """The posterior that a name or object means; see `kvae.parts.get`."""
    return parts.get(identifier, Posterior, [DiagonalNormal, FullNormal, Flow])
