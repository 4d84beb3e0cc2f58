"""The one source of noise: a counter-based generator written in plain integer arithmetic.

Every draw is a pure function of `(seed, stream, row, sample)`, so the same numbers come out eagerly, in a graph,
under XLA, for any split into batches, on any replica, and from an exported decoder on a phone.
"""

import dataclasses
from typing import Any

import tensorflow as tf

# Constants of Threefry2x32 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA

# The streams that do not count training steps (which are 0, 1, 2, ...).
EVALUATION = -1
OUTPUT = -2  # what draws of x from p(x|z) are made of, in exported models


def threefry2x32(key, counter):
    """Encrypts a counter with Threefry-2x32, 20 rounds (Salmon et al. 2011).

    Args:
        key: Pair of uint32 tensors.
        counter: Pair of uint32 tensors, broadcast against the key.

    Returns:
        Pair of uint32 tensors, uniform over all 32-bit words.

    Example:
        >>> zero = tf.constant(0, tf.uint32)
        >>> [hex(word) for word in kvae.random.threefry2x32((zero, zero), (zero, zero))]
        ['0x6b200159', '0x99ba4efe']
    """
    keys = (key[0], key[1], tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(key[0], key[1]), _word(_PARITY)))
    a, b = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            a = a + b
            b = tf.bitwise.bitwise_xor(_rotate_left(b, rotation), a)
        a = a + keys[(group + 1) % 3]
        b = b + keys[(group + 2) % 3] + _word(group + 1)
    return a, b


def normal(seed, stream, row, dim, sample=0):
    """Standard normal noise as a pure function of its address.

    Threefry2x32-20 words keyed by `(seed, stream)` and counted by `(row, sample)`, turned into normals by Box and
    Muller (1958). All four addresses are integers, scalars or tensors that broadcast against each other. Noise of one
    address does not depend on which other addresses are asked for with it. The largest magnitude it can take is 5.77.

    Args:
        seed: int, the reproducible choice of the user.
        stream: int, for instance the training step.
        row: int, for instance the index of the example.
        dim: Python int, number of values at each address.
        sample: int, which of several draws at the same row. Address spaces of different `dim` overlap.

    Returns:
        float32 tensor `[..., dim]`, where `...` is the broadcast shape of the addresses.

    Raises:
        ValueError: if `dim` is less than 1.

    Example:
        >>> kvae.random.normal(seed=0, stream=0, row=tf.range(128), dim=40).shape
        TensorShape([128, 40])
    """
    _check_dim(dim)
    noise = tf.concat(_box_muller(*_words(seed, stream, row, dim, sample)), axis=-1)
    return noise[..., :dim] if dim % 2 else noise


def uniform(seed, stream, row, dim, sample=0):
    """Noise that is uniform over (0, 1), as a pure function of its address.

    The words of `normal` at the same address, of which 23 bits become the middle of one of 2^23 intervals. So float32
    holds every value exactly, neither 0 nor 1 occurs, and 1 minus the noise is as good as the noise.

    Args:
        seed: int, the reproducible choice of the user.
        stream: int, for instance the training step.
        row: int, for instance the index of the example.
        dim: Python int, number of values at each address.
        sample: int, which of several draws at the same row. Address spaces of different `dim` overlap.

    Returns:
        float32 tensor `[..., dim]`, where `...` is the broadcast shape of the addresses.

    Raises:
        ValueError: if `dim` is less than 1.

    Example:
        >>> kvae.random.uniform(seed=0, stream=0, row=tf.range(128), dim=40).shape
        TensorShape([128, 40])
    """
    _check_dim(dim)
    words = tf.concat(_words(seed, stream, row, dim, sample), axis=-1)
    noise = (tf.cast(tf.bitwise.right_shift(words, _word(9)), tf.float32) + 0.5) * 2.0**-23
    return noise[..., :dim] if dim % 2 else noise


def choose(uniform, logits):
    """Index of a class as a function of uniform noise: int32 `[...]`, of noise `[...]` and logits `[..., K]` or `[K]`.

    Example:
        >>> kvae.random.choose(tf.constant([0.2, 0.7]), tf.zeros([2]))
        <tf.Tensor: shape=(2,), dtype=int32, numpy=array([0, 1], dtype=int32)>
    """
    passed = tf.cumsum(tf.nn.softmax(logits), axis=-1) < tf.expand_dims(uniform, -1)
    # Rounding may leave the last sum a little below one.
    return tf.minimum(tf.reduce_sum(tf.cast(passed, tf.int32), axis=-1), logits.shape[-1] - 1)


@dataclasses.dataclass(frozen=True)
class Noise:
    """Noise for the rows of one batch: `normal` with seed, stream and row filled in.

    Attributes:
        seed: int scalar.
        stream: int scalar.
        row: int tensor `[B]`.
    """

    seed: Any
    stream: Any
    row: Any

    def normal(self, dim, num_samples=1, first_sample=0):
        """Standard normal noise `[num_samples, B, dim]`: draws `first_sample`, `first_sample + 1`, ... of each row."""
        sample = first_sample + tf.range(num_samples, dtype=tf.int32)
        return normal(self.seed, self.stream, self.row, dim, sample[:, None])

    def auxiliary(self, dim):
        """Standard normal noise `[B, dim]` that no draw of `normal` uses: for objectives that need their own."""
        return normal(self.seed, self.stream, self.row, dim, sample=-1)


def _check_dim(dim):
    if dim < 1:
        raise ValueError(f"`dim` must be a positive int. Received: dim={dim!r}")


def _words(seed, stream, row, dim, sample):
    """Two uint32 tensors, of half of `dim` words each, for an address."""
    pairs = (dim + 1) // 2
    # Not by indexing with None, a slice for which tf2onnx does not find the shapes of words.
    row, sample, seed, stream = (tf.expand_dims(_word(each), -1) for each in (row, sample, seed, stream))
    column = sample * _word(pairs) + _word(tf.range(pairs))
    return threefry2x32((seed, stream), (row, column))


def _word(value):
    """`value` as uint32, negative numbers wrapping around."""
    if isinstance(value, int):
        return tf.constant(value & 0xFFFFFFFF, tf.uint32)
    return tf.cast(value, tf.uint32)


def _rotate_left(word, bits):
    # A multiplication stands for the left shift, which TFLite does not have among its built-in operations.
    high = word * _word(1 << bits)
    return tf.bitwise.bitwise_xor(high, tf.bitwise.right_shift(word, _word(32 - bits)))


def _box_muller(a, b):
    """Two independent standard normals from two words; constants are split so that float16 weights can hold them."""
    radius_uniform = (tf.cast(tf.bitwise.right_shift(a, _word(8)), tf.float32) + 1.0) * 2.0**-12 * 2.0**-12
    # A turn from -1/2 to 1/2 keeps the angle small, and with it the rounding that differs between XLA and other kernels.
    turn = (tf.cast(tf.bitwise.right_shift(b, _word(8)), tf.float32) - 2.0**23) * 2.0**-12 * 2.0**-12
    radius = tf.sqrt(-2.0 * tf.math.log(radius_uniform))
    angle = turn * 6.28125 + turn * 0.0019353071795864769
    return radius * tf.cos(angle), radius * tf.sin(angle)
