"""Real values: a location from the decoder, and noise around it of a scale that is fixed, learned, given or optimal."""

import math

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import checks, replicas
from kvae.likelihoods.base import Likelihood, bounded_exp

tfd = tfp.distributions

# Data without noise would drive a learned scale to zero and the density to infinity: it stops at 3e-7 and 2e4.
_LOG_SCALE_RANGE = (-15.0, 10.0)
# 0.37, between what images in [0, 1] and standardised columns end with: Adam moves it slowly.
_FIRST_LOG_SCALE = -1.0
_MOMENTUM = 0.99


class LocationScale(Likelihood):
    """Base class of the likelihoods of real values, with everything that concerns their scale.

    A subclass gives `noise(location, scale)`, a tfd distribution, and `standard(first, second)`, a draw of location 0 and
    scale 1 from two uniform values. Where the scale that maximises the log-density of
    residuals r is a power mean of them, (mean |r|^p)^(1/p), it gives p as `power`, and "optimal" can be chosen.
    """

    power = None

    def __init__(self, scale=None, **kwargs):
        super().__init__(**kwargs)
        words = [None, "feature", "decoder", "optimal"][: 4 if self.power else 3]
        if isinstance(scale, str) or scale is None:
            fine = scale in words
        else:
            fine = checks.is_number(scale) and 0 < scale < math.inf
        if not fine:
            raise ValueError(
                f"`scale` must be a positive number, or None to learn it, or one of {words[1:]}. Received: scale={scale!r}"
            )
        self.scale = float(scale) if checks.is_number(scale) else scale

    @property
    def num_params(self):
        return 2 if self.scale == "decoder" else 1

    def build(self, data_shape=None, latent_dim=None):
        if self.scale == "feature" and data_shape is None:
            raise ValueError(
                f"{type(self).__name__}(scale='feature') needs to know the shape of the data before it is used. "
                "Call build(data_shape=...) first, as a VAE does."
            )
        if self.scale in (None, "feature"):
            shape = () if self.scale is None else tuple(data_shape)
            first = keras.initializers.Constant(_FIRST_LOG_SCALE)
            self.log_scale = self.add_weight(shape=shape, initializer=first, name="log_scale")
        if self.scale == "optimal":
            # Running means of |r|^p and of 1, so that their quotient is right from the first step on.
            self.running = self.add_weight(
                shape=(2,), initializer="zeros", trainable=False, aggregation="only_first_replica", name="running"
            )
        super().build(data_shape, latent_dim)

    def noise(self, location, scale):
        """The distribution of values around their locations."""
        raise NotImplementedError

    def base(self, location, log_scale=None):
        return self.noise(location, self._scale(log_scale))

    def draw(self, first, second, location, log_scale=None):
        return location + self._scale(log_scale) * self.standard(first, second)

    def _scale(self, log_scale):
        if self.scale == "optimal":
            total, weight = tf.unstack(tf.convert_to_tensor(self.running))
            return tf.where(weight > 0, self._from_power(tf.math.divide_no_nan(total, weight)), 1.0)
        if self.scale in (None, "feature", "decoder"):
            return bounded_exp(self.log_scale if log_scale is None else log_scale, *_LOG_SCALE_RANGE)
        return self.scale

    def log_prob(self, params, x, mask=None, training=False, sample_weight=None):
        """log p(x|z) `[...]` in nats. With the optimal scale, that of this batch in training, which is also kept."""
        if self.scale != "optimal" or not training:
            return super().log_prob(params, x, mask, training, sample_weight)
        (location,) = self.split(params)
        return self.of_examples(self.noise(location, self._optimum(location, x, mask, sample_weight)), mask).log_prob(x)

    def _optimum(self, location, x, mask, sample_weight):
        """The scale that maximises the log-density of a batch over all replicas, with no gradient: it is at its optimum."""
        powers = tf.abs(tf.stop_gradient(location) - x) ** self.power
        counted = tf.ones_like(powers) if mask is None else tf.cast(mask, tf.float32) + tf.zeros_like(powers)
        if sample_weight is not None:
            counted *= tf.reshape(sample_weight, [-1] + [1] * (len(x.shape) - 1))
        powers = tf.where(counted > 0, powers, 0.0)
        count = replicas.total(tf.reduce_sum(counted))
        mean = tf.math.divide_no_nan(replicas.total(tf.reduce_sum(counted * powers)), count)
        # A step that overflowed, or saw nothing, is no news.
        news = tf.where(tf.math.is_finite(mean) & (count > 0), 1.0 - _MOMENTUM, 0.0)
        old = tf.convert_to_tensor(self.running)
        self.running.assign(old + news * (tf.stack([tf.where(news > 0, mean, 0.0), 1.0]) - old))
        return self._from_power(mean)

    def _from_power(self, mean):
        low, high = (math.exp(each) for each in _LOG_SCALE_RANGE)
        return tf.clip_by_value(mean ** (1.0 / self.power), low, high)


@keras.saving.register_keras_serializable(package="kvae")
class Normal(LocationScale):
    """Real values with Gaussian noise around the decoder's output.

    Which scale: a number where the noise of the measurement is known, or to weigh reconstruction against the KL by hand;
    None for one that is learned with the weights; "feature" for one learned per value of x, for columns of different
    noise; "decoder" where the noise depends on z; "optimal" for the root mean squared error of each batch, which needs
    no learning and is the fastest. A running mean of the latter over steps, of momentum 0.99, is what `evaluate` and
    everything but training use; before any training it is 1. Learned scales stop at 3e-7 and 2e4.

    Reference: Rybkin et al. 2021 (sigma-VAE), arXiv:2006.13202; the last is its optimal sigma-VAE.

    Args:
        scale: standard deviation in units of x: a positive number; None, one learned for all values; "feature", one
            learned for each value of x; "decoder", as the decoder's second output, a logarithm; or "optimal".

    Raises:
        ValueError: if `scale` is none of these.

    Example:
        >>> kvae.VAE(encoder, decoder, likelihood=kvae.likelihoods.Normal(scale=0.7))
    """

    power = 2

    def noise(self, location, scale):
        return tfd.Normal(location, scale)

    def standard(self, first, second):
        # Box and Muller 1958
        return tf.sqrt(-2.0 * tf.math.log(first)) * tf.cos(math.tau * (second - 0.5))


@keras.saving.register_keras_serializable(package="kvae")
class Laplace(LocationScale):
    """Real values whose noise has longer tails: the location is a median, and images come out sharper than by `Normal`.

    The density is exp(-|x - location| / scale) / (2 scale). The standard deviation is sqrt(2) times the scale.

    Args:
        scale: as in `Normal`, in units of x; the optimal one is the mean absolute error.

    Raises:
        ValueError: if `scale` is none of these.

    Example:
        >>> kvae.VAE(encoder, decoder, likelihood=kvae.likelihoods.Laplace(scale="optimal"))
    """

    power = 1

    def noise(self, location, scale):
        return tfd.Laplace(location, scale)

    def standard(self, first, second):
        return tfd.Laplace(0.0, 1.0).quantile(first)


@keras.saving.register_keras_serializable(package="kvae")
class StudentT(LocationScale):
    """Real values with outliers: noise of polynomial tails, so that a far-off value hardly moves the decoder.

    Reference: Takahashi et al. 2018, "Student-t variational autoencoder for robust density estimation", IJCAI, with the
    scale from the decoder.

    Args:
        df: degrees of freedom; the fewer, the longer the tails. More than 1, so that there is a mean.
        scale: as in `Normal`, in units of x, without "optimal", which has no closed form. The standard deviation is
            sqrt(df / (df - 2)) times the scale.

    Raises:
        ValueError: if `df` is not a number above 1, or `scale` none of these.

    Example:
        >>> kvae.VAE(encoder, decoder, likelihood=kvae.likelihoods.StudentT(df=3.0))
    """

    def __init__(self, df=5.0, scale=None, **kwargs):
        super().__init__(scale, **kwargs)
        if not checks.is_number(df) or not 1 < df < math.inf:
            raise ValueError(f"`df` must be a number above 1, so that the mean exists. Received: df={df!r}")
        self.df = float(df)

    def noise(self, location, scale):
        return tfd.StudentT(self.df, location, scale)

    def standard(self, first, second):
        # Bailey 1994, "Polar generation of random variates with the t-distribution", Mathematics of Computation 62
        radius = tf.sqrt(self.df * tf.math.expm1(-2.0 / self.df * tf.math.log(first)))
        return radius * tf.cos(math.tau * (second - 0.5))
