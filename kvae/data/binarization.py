"""Grey images drawn as black and white."""

import numpy as np
import tensorflow as tf

from kvae import checks, inputs


def binarize(x, seed=0):
    """Draws each value from Bernoulli(x): black-and-white data whose mean is x.

    Args:
        x: array in [0, 1].
        seed: int.

    Returns:
        float32 array of zeros and ones, of the shape of x.

    Raises:
        ValueError: for values outside [0, 1].

    Example:
        >>> x_test = kvae.data.binarize(data.x_test, seed=777)
    """
    x = _unit_interval(x)
    return (np.random.default_rng(seed).random(x.shape, dtype="float32") < x).astype("float32")


def dynamic_binarization(x, batch_size=128, seed=0, shuffle=True, condition=None):
    """Batches of x drawn anew from Bernoulli(x) in every epoch, the usual way to train on grey images of digits.

    Reference: Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks", section 6.

    Args:
        x: array `[N, ...]` in [0, 1].
        batch_size: int.
        seed: int; the same seed gives the same sequence of epochs.
        shuffle: whether each epoch has an order of its own.
        condition: optional array `[N, ...]`, for conditional models.

    Returns:
        `tf.data.Dataset` of float32 batches x, or ((x, condition),).

    Raises:
        ValueError: for values outside [0, 1].

    Example:
        >>> vae.fit(kvae.data.dynamic_binarization(data.x_train, batch_size=128), epochs=20)
    """

    def draw(batch, key, number):
        mean, *rest = batch
        uniform = tf.random.stateless_uniform(tf.shape(mean), seed=[key, number])
        x = tf.cast(uniform < mean, tf.float32)
        return ((x, *rest),) if rest else x

    arrays = (_unit_interval(x),) if condition is None else (_unit_interval(x), np.asarray(condition))
    keys = tf.data.Dataset.random(seed=checks.check_seed(seed), rerandomize_each_iteration=True).take(1)
    return inputs.batches(arrays, batch_size, seed, keys, shuffle, draw)


def _unit_interval(x):
    x = np.asarray(x)
    checks.check_values(x)
    if x.min() < 0 or x.max() > 1:
        raise ValueError(
            f"`x` must lie in [0, 1] to be binarised. Received: values from {x.min():g} to {x.max():g} of dtype {x.dtype}. "
            "For images of 0 to 255: x.astype('float32') / 255."
        )
    return x
