"""What all likelihoods share."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import checks, parts
from kvae.likelihoods import distributions

tfd = tfp.distributions

# Scales and rates from 3e-7 to 5e8: wide enough for any data, narrow enough that densities and their gradients stay
# finite in float32. Outside, the bound holds and the gradient is zero.
LOG_RANGE = (-15.0, 20.0)


def clipped(log_value, low=LOG_RANGE[0], high=LOG_RANGE[1]):
    """Decoder outputs, or weights, that are logarithms, held between two bounds."""
    return tf.clip_by_value(tf.convert_to_tensor(log_value), low, high)


def bounded_exp(log_value, low=LOG_RANGE[0], high=LOG_RANGE[1]):
    """exp of `clipped` logarithms."""
    return tf.exp(clipped(log_value, low, high))


def check_int(name, value, least):
    """`value` as an int that is large enough, else ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"`{name}` must be an int of at least {least}. Received: {name}={value!r}")
    return int(value)


def first_between(values, steps, tolerance=0.0):
    """The first value of a numpy array that is no multiple of 1 / steps, or None. NaN and infinities are left out."""
    if values.dtype.kind != "f":
        return None
    for start in range(0, len(values), 64):  # blocks stay in the cache and take no memory
        block = values[start : start + 64]
        with np.errstate(invalid="ignore"):
            scaled = block * np.asarray(steps, block.dtype)
            wrong = block[np.abs(scaled - np.round(scaled)) > tolerance]
        if wrong.size:
            return wrong[0]
    return None


class Likelihood(parts.Part):
    """Base class of the likelihoods.

    A subclass gives `base`, the distribution of each value of x by itself. Called as a layer it gives the mean
    `[..., *data_shape]`, which is what leaves in an exported decoder.

    Attributes:
        num_params: decoder outputs per value of x; the decoder's last axis is that many times the data's.
        support: pair (low, high) that every value of x must lie within, or None.
        counts: whether x holds whole numbers, so that integer arrays are welcome and fractions are not.
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
        return self.of_examples(self.base(*self.split(params)), mask)

    def from_uniform(self, params, noise):
        """Draws from p(x|z) as a function of noise, which is how an exported model samples.

        Args:
            params: decoder outputs, as for `distribution`.
            noise: pair of tensors `[..., *data_shape]`, all independent and uniform over (0, 1).

        Returns:
            float32 tensor `[..., *data_shape]`.

        Raises:
            NotImplementedError: if there is no such function.

        Example:
            >>> kvae.likelihoods.Bernoulli().from_uniform(tf.zeros([1, 3]), (tf.constant([[0.1, 0.4, 0.9]]), None))
            <tf.Tensor: shape=(1, 3), dtype=float32, numpy=array([[1., 1., 0.]], dtype=float32)>
        """
        return self.draw(*noise, *self.split(params))

    def draw(self, first, second, *params):
        """`from_uniform` of each value by itself, from two uniform tensors and `num_params` more."""
        raise NotImplementedError(
            f"Draws from the likelihood {type(self).__name__} take rejection sampling, which is no function of a fixed "
            "amount of noise. Export its mean, or its parameters."
        )

    def split(self, params):
        """The `num_params` float32 tensors `[..., *data_shape]` that lie one after the other in the decoder's output."""
        params = tf.cast(params, tf.float32)
        # A split in one would stay behind in exported files.
        return [params] if self.num_params == 1 else tf.split(params, self.num_params, axis=-1)

    def of_examples(self, base, mask=None):
        """The distribution of whole examples, from that of each of their values."""
        if mask is not None:
            base = distributions.Masked(base, mask)
        rank = len(base.batch_shape) - 1 if self.data_shape is None else len(self.data_shape)
        return tfd.Independent(base, reinterpreted_batch_ndims=rank)

    def params_shape(self, data_shape):
        """Shape of the decoder's output for one example of shape `data_shape`."""
        return (*data_shape[:-1], data_shape[-1] * self.num_params)

    def initial_params(self, x):
        """The decoder output at which E[x|z] is the mean of the data: where a decoder that knows nothing may start.

        The first parameter of each value is solved for, all others are zero. Where x has NaN, the mean is over what was
        observed. In a bounded support the mean is kept 1 / (N + 2) off the ends, and the parameter within -15 and 20.
        Likelihoods whose first parameter is not about the mean give zeros.

        Reference for the practice: the code of Burda et al. 2016, arXiv:1509.00519, starts the output bias at the
        log-odds of the mean.

        Args:
            x: array `[N, *data_shape]`; `[N, channels]` gives what holds for each channel wherever in the image.

        Returns:
            float32 array of `params_shape(data_shape)`.

        Raises:
            ValueError: for a wrong shape, infinities, or values outside of the support.

        Example:
            >>> bias = kvae.likelihoods.Bernoulli().initial_params(x_train)
            >>> decoder = kvae.networks.dense_decoder(16, (28, 28, 1), output_bias=bias)
        """
        x, count = self._checked_data(x)
        mean = np.nansum(x, axis=0, dtype="float64") / np.maximum(count, 1)
        first = self._first_param(mean.astype("float32"), (1 / (count + 2)).astype("float32"))
        return np.concatenate([first, *[np.zeros_like(first)] * (self.num_params - 1)], axis=-1)

    def _checked_data(self, x):
        """(x as an array, how often each value was observed) for `initial_params`, where grey values will do for bits."""
        x = np.asarray(x)
        checks.check_values(x, missing=True)
        if x.ndim < 2:
            raise ValueError(f"`x` must have shape [N, *data_shape]. Received: {list(x.shape)}.")
        Likelihood.check(self, x)
        return x, np.sum(~np.isnan(x), axis=0)

    def _first_param(self, mean, margin):
        """The first parameter, the others being zero, at which each value has the mean that an array holds."""
        if self.support is None:
            return mean
        rest = [tf.zeros_like(mean)] * (self.num_params - 1)
        low, high = (tf.fill(mean.shape, end) for end in LOG_RANGE)
        least, most = (self.base(end, *rest).mean() for end in (low, high))
        mean = tf.clip_by_value(mean, self.support[0] + margin, self.support[1] - margin)
        mean = tf.clip_by_value(mean, least, most)
        found = tfp.math.find_root_chandrupatla(lambda first: self.base(first, *rest).mean() - mean, low, high)
        return found.estimated_root.numpy()

    def log_prob(self, params, x, mask=None, training=False, sample_weight=None):
        """log p(x|z) `[...]` in nats, from decoder outputs; a place for what a likelihood learns from x as it trains.

        `sample_weight` `[B]` is of use only to that.
        """
        return self.distribution(params, mask).log_prob(x)

    @property
    def output_shape(self):
        return (None, *self.data_shape)

    def check(self, values, name="x"):
        """Raises ValueError unless every value of a numpy array lies in the support. NaN is not looked at."""
        low, high = values.min(), values.max()
        if np.isnan(low):
            low, high = np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)
        if np.isnan(low):  # nothing was observed
            return
        what, received = type(self).__name__, f"Received: values from {low:g} to {high:g} of dtype {values.dtype}."
        scale = f" For images of 0 to 255: {name}.astype('float32') / 255."
        if self.support is not None and not (self.support[0] <= low and high <= self.support[1]):
            hint = scale if self.support == (0.0, 1.0) else ""
            raise ValueError(
                f"`{name}` must lie in [{self.support[0]:g}, {self.support[1]:g}] for the likelihood {what}. "
                f"{received}{hint}"
            )
        if self.support is None and not self.counts and values.dtype.kind in "iu":
            raise ValueError(f"`{name}` must hold floating-point numbers for the likelihood {what}. {received}{scale}")
        if self.counts and (fraction := first_between(values, 1)) is not None:
            raise ValueError(
                f"`{name}` must hold whole numbers for the likelihood {what}. Received: {fraction:g} among them. Take "
                "raw counts or class indices, neither scaled nor averaged; for other values, another likelihood."
            )

    def call(self, params):
        return self.distribution(params).mean()
