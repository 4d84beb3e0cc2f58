"""Grey images drawn as black and white."""

import numpy as np
import tensorflow as tf

from kvae import checks, feeding


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

    Reference: Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks".

    Args:
        x: array `[N, ...]` in [0, 1]; it is read where it lies, so leave it unchanged.
        batch_size: int.
        seed: int; the same seed gives the same sequence of epochs.
        shuffle: whether each epoch has an order of its own.
        condition: optional array `[N, ...]`, for conditional models.

    Returns:
        `tf.data.Dataset` of float32 batches x, or ((x, condition),).

    Raises:
        ValueError: for values outside [0, 1], or a condition of another length.

    Example:
        >>> vae.fit(kvae.data.dynamic_binarization(data.x_train, batch_size=128), epochs=20)
    """

    arrays = (_unit_interval(x),) if condition is None else (_unit_interval(x), np.asarray(condition))
    checks.check_length(arrays[-1], arrays[0], "condition")
    seed = checks.check_seed(seed)

    def transform(batch, key, number):
        mean, *rest = batch
        return ((draw(mean, seed, key, number), *rest),) if rest else draw(mean, seed, key, number)

    keys = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)
    return feeding.one_round(feeding.ArrayFeed(arrays, batch_size, seed, shuffle, transform), keys)


def draw(mean, seed, key, number):
    """Zeros and ones with a mean in [0, 1]: a function of the seed, the key of the round and the number of the batch."""
    return tf.cast(uniform(mean, seed, key, number) < mean, tf.float32)


def uniform(like, seed, key, number):
    """Uniform noise of the shape of a batch; see `draw`."""
    seed = tf.random.experimental.stateless_fold_in(tf.stack([tf.constant(seed, tf.int64), key]), number)
    return tf.random.stateless_uniform(tf.shape(like), seed=seed)


def _unit_interval(x):
    x = np.asarray(x)
    checks.check_values(x)
    if x.min() < 0 or x.max() > 1:
        raise ValueError(
            f"`x` must lie in [0, 1] to be binarised. Received: values from {x.min():g} to {x.max():g} of dtype {x.dtype}. "
            "For images of 0 to 255: x.astype('float32') / 255."
        )
    return x
