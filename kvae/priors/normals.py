"""Priors that are one normal."""

import math

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import checks, posteriors
from kvae.priors.base import HEADS, Prior

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="kvae")
class StandardNormal(Prior):
    """N(0, I), the usual prior.

    Reference: Kingma and Welling 2014, arXiv:1312.6114, section 3.

    Example:
        >>> kvae.VAE(encoder, decoder, prior="standard_normal")
    """

    def distribution(self, vae):
        return tfd.MultivariateNormalDiag(tf.zeros([self.latent_dim]), tf.ones([self.latent_dim]))

    def from_noise(self, noise, vae):
        return noise


@keras.saving.register_keras_serializable(package="kvae.priors", name="Normal")
class Normal(Prior):
    """A normal with mean and covariance of its own, learned or given. Its KL to a normal posterior is closed form.

    Args:
        mean: list or array `[D]`, or a number for all dimensions; None for zero.
        scale: standard deviations, `[D]` or a number for all, or, with a full covariance, its Cholesky factor `[D, D]`,
            lower triangular; None for one.
        covariance: "diagonal" or "full".
        learned: whether mean and scale are where training starts from, or are left as given.

    Raises:
        ValueError: for values that are not finite, a scale that is not positive or not lower triangular, and in
            `build` for a wrong number of dimensions.

    Example:
        >>> kvae.VAE(encoder, decoder, prior=kvae.priors.Normal())          # learned, from the standard normal on
        >>> kvae.priors.Normal(mean=1.0, scale=[0.5, 2.0], learned=False)          # for two latent dimensions
    """

    def __init__(self, mean=None, scale=None, covariance="diagonal", learned=True, **kwargs):
        super().__init__(**kwargs)
        self.covariance = checks.check_choice("covariance", covariance, tuple(HEADS))
        self.mean = None if mean is None else _numbers("mean", mean, max_rank=1)
        self.scale = None if scale is None else _numbers("scale", scale, max_rank=2 if covariance == "full" else 1)
        _check_scale(self.scale)
        self.learned = bool(learned)
        self.head = HEADS[covariance]()

    def build(self, data_shape=None, latent_dim=None):
        params = self._initial_params(latent_dim)
        self.params = self.add_weight(
            params.shape, lambda shape, dtype: tf.constant(params, dtype), trainable=self.learned, name="params"
        )
        super().build(data_shape, latent_dim)

    def _initial_params(self, dim):
        mean, scale = np.zeros(dim), np.ones(dim)
        try:
            mean = mean + (0.0 if self.mean is None else self.mean)
            scale = scale * (1.0 if self.scale is None else self.scale)
            fits = mean.shape == (dim,) and scale.shape in ((dim,), (dim, dim))
        except ValueError:  # numpy could not broadcast
            fits = False
        if not fits:
            raise ValueError(
                f"The prior Normal must have `mean` and `scale` of {dim} dimensions, those of the decoder's input. "
                f"Received: mean={self.mean!r}, scale={self.scale!r}"
            )
        if self.covariance == "diagonal":
            return np.concatenate([mean, 2 * np.log(scale)])
        return posteriors.full_params(mean, scale if np.ndim(self.scale or 0.0) == 2 else np.diag(scale))

    def distribution(self, vae):
        return self.head.distribution(self.params.value)

    def from_noise(self, noise, vae):
        return self.head.from_noise(self.params.value, noise)


def _numbers(name, values, max_rank):
    """`values` as a float or a nested list of floats, which can be stored as JSON, else ValueError."""
    array = np.asarray(values, dtype="float64")
    if array.ndim > max_rank or array.size == 0 or not np.isfinite(array).all():
        shapes = ("a number", "a list [D]", "a matrix [D, D]")[: max_rank + 1]
        raise ValueError(f"`{name}` must be {' or '.join(shapes)} of finite values. Received: {name}={values!r}")
    return array.tolist()


def _check_scale(scale):
    """Raises unless standard deviations are positive, and a matrix is the Cholesky factor of a covariance; in float32."""
    if scale is None:
        return
    array = np.asarray(scale)
    deviations = array if array.ndim < 2 else np.diag(array)  # of each dimension given the ones before it
    if array.ndim == 2 and (
        array.shape[0] != array.shape[1] or np.any(np.triu(array, 1)) or not (deviations > 0).all()
    ):
        raise ValueError(
            "`scale` must be a lower triangular matrix with a positive diagonal: numpy.linalg.cholesky(covariance). "
            f"Received: scale={scale!r}"
        )
    if not (deviations > 0).all():
        raise ValueError(f"`scale` must be positive: standard deviations. Received: scale={scale!r}")
    least, most = (math.exp(end / 2) for end in posteriors.LOG_VAR_RANGE)
    if deviations.min() < least or deviations.max() > most:
        raise ValueError(
            f"`scale` must hold standard deviations from {least:.1e} to {most:.0f}, which is what the variances of normals "
            f"are kept to. Bring z to another scale. Received: scale={scale!r}"
        )
    if array.ndim < 2:
        return
    total_correlation = posteriors.total_correlation(array)
    if total_correlation > posteriors.MAX_TOTAL_CORRELATION:
        raise ValueError(
            f"`scale` means a total correlation of {total_correlation:.1f} nats; what float32 can represent ends at "
            f"{posteriors.MAX_TOTAL_CORRELATION:g}. Leave out dimensions that the others determine. Received: scale={scale!r}"
        )
