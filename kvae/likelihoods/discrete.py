"""Bits, classes and levels: likelihoods whose log_prob is that of a mass."""

import warnings

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import random
from kvae.likelihoods import distributions
from kvae.likelihoods.base import Likelihood, bounded_exp, check_int, first_between

tfd = tfp.distributions


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
        return distributions.Bernoulli(logits=logits, dtype=tf.float32)

    def draw(self, first, second, logits):
        return tf.cast(first < tf.sigmoid(logits), tf.float32)


@keras.saving.register_keras_serializable(package="kvae")
class Categorical(Likelihood):
    """Class indices 0, 1, ..., K - 1; the decoder gives K logits, so its last layer has no softmax.

    x holds the indices, in integers or floats, and is not one-hot. Its mean is that of the one-hot code: called, and in
    `vae.predict` and exported decoders, it gives the probabilities `[..., *data_shape, K]`, also where the last axis of
    the data is 1. The decoder's last axis holds the logits of class 0 for all channels, then those of class 1, and so on.

    Args:
        num_classes: K, at least 2; must be given.

    Raises:
        ValueError: if `num_classes` is not an int of at least 2.

    Example:
        >>> kvae.likelihoods.Categorical(10)(tf.zeros([4, 3 * 10])).shape          # 3 values of 10 classes each
        TensorShape([4, 3, 10])
    """

    counts = True
    link = "softmax"

    def __init__(self, num_classes=None, **kwargs):
        super().__init__(**kwargs)
        if num_classes is None:
            raise ValueError(
                "Categorical needs `num_classes`. Use kvae.likelihoods.Categorical(num_classes=10), or by name "
                "'categorical:num_classes=10'. Received: num_classes=None"
            )
        self.num_classes = check_int("num_classes", num_classes, 2)

    @property
    def num_params(self):
        return self.num_classes

    @property
    def support(self):
        return (0.0, self.num_classes - 1.0)

    def base(self, *logits):
        return distributions.CategoricalProbabilities(tf.stack(logits, axis=-1), dtype=tf.float32)

    def initial_params(self, x):
        x, count = self._checked_data(x)
        frequencies = [np.sum(x == each, axis=0) / np.maximum(count, 1) for each in range(self.num_classes)]
        return np.log(np.concatenate([np.maximum(each, 1 / (count + 2)) for each in frequencies], -1)).astype("float32")

    def draw(self, first, second, *logits):
        return tf.cast(random.choose(first, tf.stack(logits, axis=-1)), tf.float32)


@keras.saving.register_keras_serializable(package="kvae")
class DiscretizedLogistic(Likelihood):
    """Grey or colour levels k / 255 in [0, 1]: a logistic distribution, or a mixture, rounded to the nearest level.

    `log_prob` is the logarithm of a mass, so nats per value over log 2 are bits per dimension. The decoder gives
    locations in units of the data and log-scales; neither is squashed. As in the PixelCNN++ code, and unlike in that of
    the VampPrior, a location may lie outside [0, 1], where black and white, which take the tails, get certain.
    Log-scales are clipped to [-10, 3]. As a mixture, the decoder gives K logits, then K locations, then K log-scales
    for each value.

    The mean is that of the distribution before rounding, clipped to [0, 1]: two exponentials where that of the levels
    takes a sum over all of them. The two differ by less than half a level.

    References: Salimans et al. 2017 (PixelCNN++), arXiv:1701.05517, equation 2, here without coupling of the colours;
    Tomczak and Welling 2018 (VampPrior), arXiv:1705.07120.

    Args:
        num_levels: L; x holds k / (L - 1) for k = 0, ..., L - 1.
        num_components: K, of the mixture.

    Raises:
        ValueError: if an argument is not an int, or `num_levels` less than 2, or `num_components` less than 1.

    Example:
        >>> likelihood = kvae.likelihoods.DiscretizedLogistic()
        >>> decoder = kvae.networks.conv_decoder(16, (28, 28, 1), num_params=likelihood.num_params)
    """

    support = (0.0, 1.0)

    def __init__(self, num_levels=256, num_components=1, **kwargs):
        super().__init__(**kwargs)
        self.num_levels = check_int("num_levels", num_levels, 2)
        self.num_components = check_int("num_components", num_components, 1)

    @property
    def num_params(self):
        return 2 if self.num_components == 1 else 3 * self.num_components

    def check(self, values, name="x"):
        super().check(values, name)
        steps = self.num_levels - 1
        # float32 holds level k to 6e-8 of it
        wrong = first_between(values, steps, tolerance=max(1e-3, 1e-6 * steps))
        if wrong is not None:
            raise ValueError(
                f"`{name}` must hold levels k / {steps} for the likelihood DiscretizedLogistic. Received: {wrong:g}, "
                f"which is between two. Round them: np.round({name} * {steps}) / {steps}"
            )

    def base(self, *params):
        if self.num_components == 1:
            return self._component(*params)
        logits, locations, log_scales = self._stacked(params)
        return tfd.MixtureSameFamily(tfd.Categorical(logits), self._component(locations, log_scales))

    def _first_param(self, mean, margin):
        # that of a mixture is a logit, of which the components shall have equal ones
        return super()._first_param(mean, margin) if self.num_components == 1 else np.zeros_like(mean)

    def draw(self, first, second, *params):
        if self.num_components > 1:
            logits, *stacked = self._stacked(params)
            # Not by `tf.gather` with batch axes, which is slow where there are as many of them as values.
            chosen = tf.one_hot(random.choose(first, logits), self.num_components)
            params = [tf.reduce_sum(chosen * each, axis=-1) for each in stacked]
        return self._component(*params).quantile(second)

    def _stacked(self, params):
        """Logits, locations and log-scales of the components, `[..., K]` each."""
        size = self.num_components
        return [tf.stack(params[start : start + size], axis=-1) for start in range(0, len(params), size)]

    def _component(self, location, log_scale):
        return distributions.DiscretizedLogistic(location, bounded_exp(log_scale, -10.0, 3.0), self.num_levels)
