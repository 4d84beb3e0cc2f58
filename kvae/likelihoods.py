"""p(x|z): heads that turn the decoder's output into a distribution over the data."""

import warnings

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import parts

tfd = tfp.distributions


class Likelihood(parts.Part):
    """Base class of the likelihoods.

    A subclass gives `base`, the distribution of each value of x by itself. Called as a layer it gives the mean
    `[..., *data_shape]`, which is what leaves in an exported decoder.

    Attributes:
        num_params: decoder outputs per value of x; the decoder's last axis is that many times the data's.
        support: pair (low, high) that every value of x must lie within, or None.
        counts: whether x holds whole numbers, so that integer arrays are welcome.
        link: name of the activation that the likelihood applies itself, so that the decoder must not; or None.
    """

    num_params = 1
    support = None
    counts = False
    link = None

    def base(self, *params):
        """The distribution of each value, from `num_params` tensors `[..., *data_shape]`: batch `[..., *data_shape]`."""
        raise NotImplementedError

    def distribution(self, params, mask=None):
        """The distribution p(x|z) of decoder outputs.

        Args:
            params: `[..., *data_shape]` with `num_params` times as many channels, any float dtype.
            mask: optional bool `[..., *data_shape]`; values where it is False do not count in `log_prob`.

        Returns:
            tfd distribution: batch `[...]`, event `data_shape`.
        """
        params = tf.cast(params, tf.float32)
        base = self.base(*tf.split(params, self.num_params, axis=-1))
        if mask is not None:
            base = tfd.Masked(base, mask, safe_sample_fn=lambda each: each.mean())
        rank = len(params.shape) - 1 if self.data_shape is None else len(self.data_shape)
        return tfd.Independent(base, reinterpreted_batch_ndims=rank)

    def params_shape(self, data_shape):
        """Shape of the decoder's output for one example of shape `data_shape`."""
        return (*data_shape[:-1], data_shape[-1] * self.num_params)

    def log_prob(self, params, x, mask=None, training=False):
        """log p(x|z) `[...]` in nats, from decoder outputs; a place for what a likelihood learns from x as it trains."""
        return self.distribution(params, mask).log_prob(x)

    @property
    def output_shape(self):
        return (None, *self.data_shape)

    def check(self, values, name="x"):
        """Raises ValueError unless every value of a numpy array lies in the support. NaN is not looked at."""
        low, high = values.min(), values.max()
        if np.isnan(low):
            low, high = np.nanmin(values), np.nanmax(values)
        received = f"Received: values from {low:g} to {high:g} of dtype {values.dtype}."
        scale = f" For images of 0 to 255: {name}.astype('float32') / 255."
        if self.support is not None and not (self.support[0] <= low and high <= self.support[1]):
            raise ValueError(
                f"`{name}` must lie in [{self.support[0]:g}, {self.support[1]:g}] for the likelihood "
                f"{type(self).__name__}. {received}{scale}"
            )
        if self.support is None and not self.counts and values.dtype.kind in "iu":
            raise ValueError(
                f"`{name}` must hold floating-point numbers for the likelihood {type(self).__name__}. {received}{scale}"
            )

    def call(self, params):
        return self.distribution(params).mean()


@keras.saving.register_keras_serializable(package="kvae")
class Bernoulli(Likelihood):
    """Black-and-white values; the decoder gives logits, so its last layer has no activation.

    The log-probability is one only for x in {0, 1}. Grey values in between are accepted with a warning, because the
    cross-entropy that comes out is no density: binarise them (`kvae.data.binarize`) or take a likelihood for grey.

    Reference: Kingma and Welling 2014, arXiv:1312.6114, appendix C.1.

    Example:
        >>> p = kvae.likelihoods.Bernoulli().distribution(tf.zeros([4, 28, 28, 1]))
        >>> p.batch_shape, p.event_shape
        (TensorShape([4]), TensorShape([28, 28, 1]))
    """

    support = (0.0, 1.0)
    link = "sigmoid"
    _warned = False

    def check(self, values, name="x"):
        super().check(values, name)
        some = values[:1000]
        if not self._warned and np.any((some > 0) & (some < 1)):
            self._warned = True
            warnings.warn(
                f"`{name}` holds grey values between 0 and 1, for which the Bernoulli log-probability is no density: "
                "the ELBO cannot be compared with published ones. Binarise (kvae.data.binarize), or use another likelihood.",
                stacklevel=2,
            )

    def base(self, logits):
        return tfd.Bernoulli(logits=logits, dtype=tf.float32)


@keras.saving.register_keras_serializable(package="kvae")
class Normal(Likelihood):
    """Real values with Gaussian noise around the decoder's output.

    Args:
        scale: standard deviation, fixed; or None to learn one for all values (Rybkin et al. 2021, arXiv:2006.13202).

    Raises:
        ValueError: if `scale` is not positive.

    Example:
        >>> kvae.VAE(encoder, decoder, likelihood=kvae.likelihoods.Normal(scale=0.7))
    """

    def __init__(self, scale=None, **kwargs):
        super().__init__(**kwargs)
        if scale is not None and not scale > 0:
            raise ValueError(f"`scale` must be a positive number, or None to learn it. Received: scale={scale!r}")
        self.scale = scale

    def build(self, data_shape=None, latent_dim=None):
        if self.scale is None:
            # 0.37, between what images in [0, 1] and standardised columns end with: Adam moves it slowly.
            self.log_scale = self.add_weight(shape=(), initializer=keras.initializers.Constant(-1.0), name="log_scale")
        super().build(data_shape, latent_dim)

    def base(self, mean):
        # The learned scale stops at e^-15 and e^10: data without noise would drive it to zero and the density to infinity.
        scale = self.scale or tf.exp(tf.clip_by_value(tf.convert_to_tensor(self.log_scale), -15.0, 10.0))
        return tfd.Normal(mean, scale)


def get(identifier):
    """The likelihood that a name or object means; see `kvae.parts.get`."""
    return parts.get(identifier, Likelihood, [Bernoulli, Normal])
