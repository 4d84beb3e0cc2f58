"""How examples reach the training step: batches in an order that is a function of the seed and the step they begin at.

A `Feed` goes through its examples in rounds. `fit` asks it for the round that belongs to the optimizer's step count, so
that an interrupted run goes on with the batches it would have seen.
"""

import contextlib
import functools
import math
import warnings
import weakref

import keras
import numpy as np
import tensorflow as tf

from kvae import checks, replicas

# Functions of tensors as they stand: there is no Python control flow to convert.
plain = tf.autograph.experimental.do_not_convert

_ALIGNMENT = 64  # bytes, of a tensor's memory
_PREFETCHED = 2  # batches that are made while a step is taken
_BLOCK = 2**26  # bytes, at most, of the batches that are read at once, unless one alone takes more


class Feed:
    """Base class: batches of examples, round after round. A subclass gives `round`.

    Attributes:
        steps: batches in a round.
        failure: the exception that ended reading, in the reader's own words; None while all is well.
        exact: whether a round has `steps` batches for certain: unreadable examples may have been left out.
    """

    steps: int
    failure = None
    exact = True

    def round(self, key, first):
        """The batches `first`, `first + 1`, ... of the round of a key, a `tf.data.Dataset`.

        Args:
            key: int64 scalar tensor; the order of the examples and what is drawn for them are functions of it.
            first: int64 scalar tensor, less than `steps`.
        """
        raise NotImplementedError


class ArrayFeed(Feed):
    """Arrays, which are read where they lie: only batches are copied, and made float32.

    So arrays of bytes stay bytes, and a `numpy.memmap` need not fit in memory. What the arrays hold when a batch is read
    is what it gives: they are not to be changed meanwhile.

    Args:
        arrays: structure of arrays with equally many rows.
        batch_size: int.
        seed: int.
        shuffle: whether to permute the rows in each round; else the order of the arrays.
        transform: optional function of (batch, key, int64 number of the batch).
    """

    def __init__(self, arrays, batch_size, seed, shuffle=True, transform=None):
        self.arrays = keras.tree.map_structure(_as_numpy, arrays)
        self.rows = keras.tree.flatten(self.arrays)[0].shape[0]
        self.batch_size = checks.check_count("batch_size", batch_size)
        self.seed, self.shuffle, self.transform = seed, shuffle, transform
        self.steps = -(-self.rows // batch_size)
        self.full = self.rows // batch_size  # batches of `batch_size`

    def order(self, key):
        """The rows in the order of a round, int64 `[rows]`."""
        index = tf.range(self.rows, dtype=tf.int64)
        if self.shuffle:
            index = tf.random.experimental.stateless_shuffle(index, seed=[tf.constant(self.seed, tf.int64), key])
        return index

    def round(self, key, first):
        index, full = self.order(key), self.full
        whole = tf.reshape(index[: full * self.batch_size], [full, self.batch_size])
        batches = tf.data.Dataset.from_tensor_slices(whole)
        if full < self.steps:
            batches = batches.concatenate(tf.data.Dataset.from_tensors(index[full * self.batch_size :]))

        def gather(rows, number):
            batch = self._gather(rows)
            return batch if self.transform is None else self.transform(batch, key, number)

        return numbered(batches.skip(first), first).map(plain(gather), num_parallel_calls=tf.data.AUTOTUNE)

    def block(self, order, key, first, count):
        """`count` batches of a round from the number `first` on, stacked: `[count, B, ...]`. All are full, or it is one.

        As `round`, but at once; `order` is a numpy array.
        """
        start = first * self.batch_size
        batches = self._take(order[start : start + count * self.batch_size])
        batches = [_shared(each.reshape(count, -1, *each.shape[1:])) for each in batches]
        batches = keras.tree.pack_sequence_as(self.arrays, batches)
        if self.transform is None:
            return batches
        return self._transformed(batches, tf.constant(key, tf.int64), tf.constant(first, tf.int64))

    @functools.cached_property
    def _transformed(self):
        """`transform` of stacked batches, as a graph."""
        transform = self.transform  # not by way of `self`, which would be kept alive by its own attribute

        def transformed(batches, key, first):
            count = keras.tree.flatten(batches)[0].shape[0]
            made = [
                transform(keras.tree.map_structure(lambda each, i=i: each[i], batches), key, first + i)
                for i in range(count)
            ]
            return keras.tree.map_structure(lambda *each: tf.stack(each), *made)

        return tf.function(plain(transformed))

    def _gather(self, rows):
        """Some rows of every array, float32 tensors."""
        arrays = keras.tree.flatten(self.arrays)
        taken = tf.numpy_function(weakly(self._take), [rows], [tf.float32] * len(arrays), stateful=False)
        for each, array in zip(taken, arrays, strict=True):
            each.set_shape([*rows.shape, *array.shape[1:]])
        return keras.tree.pack_sequence_as(self.arrays, taken)

    def _take(self, rows):
        """Some rows of every array, float32 numpy arrays that TensorFlow can use as they are."""
        return [_taken(each, rows) for each in keras.tree.flatten(self.arrays)]


def numbered(data, first):
    """(element, int64 number) of a data set of which the first `first` elements were skipped."""
    return tf.data.Dataset.zip(data, tf.data.Dataset.counter(start=first))


def one_round(feed, keys):
    """One round of a feed in each iteration, as a `tf.data.Dataset` that `fit` knows to read by step.

    Args:
        feed: `Feed`.
        keys: data set of one int64 scalar, the key of the iteration.
    """
    data = keys.flat_map(plain(lambda key: feed.round(key, tf.constant(0, tf.int64))))
    return _finished(feed, data, feed.steps)


def epoch(feed, step, steps_per_epoch=None):
    """The epoch that begins at a step of the training, read when it begins.

    Args:
        feed: `Feed`.
        step: function without arguments that gives the number of optimizer steps taken, an int64 scalar tensor.
        steps_per_epoch: None for a whole round; else that many batches, from where the training stands in its round.
    """
    zero = tf.constant(0, tf.int64)
    if steps_per_epoch is not None:
        checks.check_count("steps_per_epoch", steps_per_epoch)
    else:
        data = tf.data.Dataset.range(1).flat_map(plain(lambda _: feed.round(step(), zero)))
        return _finished(feed, data, feed.steps)

    def rounds(_):
        start, skipped = step() // feed.steps, step() % feed.steps
        return tf.data.Dataset.counter().flat_map(
            plain(lambda number: feed.round((start + number) * feed.steps, tf.where(number == 0, skipped, zero)))
        )

    return _finished(feed, tf.data.Dataset.range(1).flat_map(plain(rounds)).take(steps_per_epoch), steps_per_epoch)


class Blocks:
    """The batches of `epoch` by the block, for training that takes several steps at once.

    Args:
        feed: `ArrayFeed`.
        steps_per_epoch: as in `epoch`.
    """

    def __init__(self, feed, steps_per_epoch=None):
        self.feed, self.steps_per_epoch, self.left = feed, steps_per_epoch, 0
        row = sum(4 * math.prod(each.shape[1:]) for each in keras.tree.flatten(feed.arrays))
        self.most = max(1, _BLOCK // (feed.batch_size * row))

    def begin(self, step):
        """Begins an epoch, at a step of the training."""
        if self.steps_per_epoch is None:
            self._begin_round(step, 0)
            self.left = self.feed.steps
        else:
            skipped = step % self.feed.steps
            self._begin_round(step - skipped, skipped)
            self.left = self.steps_per_epoch

    def next(self, most):
        """(how many, the next batches stacked `[how many, B, ...]`): at most so many; (0, None) at the end of the epoch.

        How many is a power of two, since XLA compiles each number by itself.
        """
        if not self.left:
            return 0, None
        if self._number == self.feed.steps:
            self._begin_round(self._key + self.feed.steps, 0)
        if self._order is None:
            with tf.device("CPU:0"):  # as in `tf.data`
                self._order = self.feed.order(tf.constant(self._key, tf.int64)).numpy()
        count = max(1, min(most, self.most, self.left, self.feed.full - self._number))
        count = 1 << (count.bit_length() - 1)
        block = self.feed.block(self._order, self._key, self._number, count)
        self._number += count
        self.left -= count
        return count, block

    def _begin_round(self, key, number):
        self._key, self._number, self._order = key, number, None  # which is made when it is needed


def _finished(feed, data, steps):
    if feed.exact:
        data = data.apply(tf.data.experimental.assert_cardinality(steps))
    options = tf.data.Options()
    # Its thread is waited for when an iterator ends, at the end of each epoch: up to a second, of which it saves nothing.
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
    data = data.with_options(options).prefetch(_PREFETCHED)
    data.feed = feed  # for `fit`, and to keep it alive; whatever a user makes of the data set is one like any other
    return data


@contextlib.contextmanager
def reading(*data):
    """While data sets are read: a reader's own exception stands for what TensorFlow makes of it on the way.

    And of a feed that leaves examples out nobody knew the number of batches; Keras need not warn of that.
    """
    feeds = [each.feed for each in data if hasattr(each, "feed")]
    for feed in feeds:
        feed.failure = None  # of an earlier reading
    try:
        with warnings.catch_warnings():
            if not all(feed.exact for feed in feeds):
                warnings.filterwarnings("ignore", "Your input ran out of data")
            yield
    except tf.errors.OpError:
        for failure in (feed.failure for feed in feeds):
            if failure is not None:
                raise failure from None
        raise


def weakly(method):
    """A function that calls a bound method without keeping its object alive.

    TensorFlow keeps what `tf.numpy_function` is given until the process ends. The object lives as long as the data set
    that was made of it, which `_finished` sees to.
    """
    method = weakref.WeakMethod(method)
    return lambda *args: method()(*args)


def as_float(array):
    """A float32 tensor."""
    return tf.cast(tf.convert_to_tensor(array), tf.float32)


def _as_numpy(array):
    """The numpy array of numbers that an array is, by no copy where there is one."""
    array = np.asarray(array)
    if array.dtype.kind in "biuf":
        return array
    try:
        return as_float(array).numpy()
    except (TypeError, ValueError, tf.errors.OpError):
        raise ValueError(f"Examples must be numbers. Received: an array of dtype {array.dtype}.") from None


def _taken(array, rows):
    """Some rows of a numpy array, float32, where TensorFlow wants its tensors to lie."""
    shape = (len(rows), *array.shape[1:])
    size = 4 * math.prod(shape)
    buffer = np.empty(size + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    taken = buffer[start : start + size].view(np.float32).reshape(shape)
    if array.dtype == taken.dtype and array.flags.c_contiguous:  # else `take` would copy all of the array
        array.take(rows, axis=0, out=taken, mode="clip")  # in every other mode by way of a buffer
    else:
        np.copyto(taken, array[rows], casting="same_kind")
    return taken


def _shared(array):
    """A tensor that is a numpy array: `tf.convert_to_tensor` would copy it."""
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


class FeedingGuard(checks.NonFiniteGuard):
    """What `fit` adds to the callbacks: the guard, and the step at which each epoch begins."""

    blocks = None  # that are told, too

    def __init__(self):
        super().__init__()
        with tf.device("CPU:0"):  # where `tf.data` reads it
            self.first_step = tf.Variable(0, dtype=tf.int64, trainable=False, name="first_step")
        self.started = False

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        step = int(self.model.steps_taken.numpy())
        self.first_step.assign(step)
        if self.blocks is not None:
            self.blocks.begin(step)
        if not self.started:
            replicas.check_start(self.model, (self.params or {}).get("steps"))
        self.started = True
