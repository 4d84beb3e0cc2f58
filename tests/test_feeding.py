import gc

import numpy as np
import pytest
import tensorflow as tf

from kvae import feeding


@pytest.mark.parametrize(
    "array",
    [
        np.linspace(0, 1, 21).reshape(7, 3),
        np.arange(6).reshape(2, 3),
        np.array([True, False]),
        np.arange(20.0).reshape(5, 4)[:, ::2],
        np.asfortranarray(np.arange(12.0, dtype="float32").reshape(4, 3)),
        np.arange(3, dtype=">f4"),
        np.arange(3, dtype="float16"),
        np.zeros((0, 3)),
    ],
    ids=["float64", "int", "bool", "strided", "column-major", "big-endian", "float16", "empty"],
)
def test_a_data_set_in_memory_is_a_copy_of_its_own(array):
    tensor, expected = feeding.in_memory(array), array.astype("float32")
    array[...] = 0  # what a user does to the array afterwards is not seen by the training
    gc.collect()
    assert tensor.dtype == tf.float32
    np.testing.assert_array_equal(tensor, expected)


def test_what_is_no_number_is_refused():
    with pytest.raises(Exception, match="string"):
        feeding.in_memory(np.array(["3", "7"]))


def test_a_data_set_in_memory_may_be_read_only_or_no_numpy_array():
    array = np.ones((2, 3))
    array.flags.writeable = False
    np.testing.assert_array_equal(feeding.in_memory(array), array)
    np.testing.assert_array_equal(feeding.in_memory(tf.constant([1, 2])), [1.0, 2.0])


def _noisy(batch, key, number):
    return batch + 1e-3 * tf.cast(key, tf.float32) + 1e-1 * tf.cast(number, tf.float32)


@pytest.mark.parametrize("transform", [None, _noisy])
@pytest.mark.parametrize(
    ("rows", "steps_per_epoch", "begin"),
    [(11, None, 5), (12, None, 0), (3, None, 7), (11, 2, 4), (11, 5, 2), (12, 9, 7)],
    ids=["last shorter", "all full", "one short", "part of a round", "over the end", "several rounds"],
)
def test_blocks_are_the_batches_of_the_epoch(rows, steps_per_epoch, begin, transform):
    feed = feeding.ArrayFeed(np.arange(2.0 * rows).reshape(rows, 2), 4, seed=3, transform=transform)
    expected = list(feeding.epoch(feed, lambda: tf.constant(begin, tf.int64), steps_per_epoch))
    blocks = feeding.Blocks(feed, steps_per_epoch)
    for _ in range(2):  # an epoch is begun as often as one likes
        blocks.begin(begin)
        found = []
        while (block := blocks.next(2))[0]:
            count, batches = block
            assert count == len(batches) <= 2
            found.extend(batches)
        for batch, each in zip(found, expected, strict=True):
            np.testing.assert_array_equal(batch, each)


def test_blocks_keep_the_structure_of_their_arrays():
    x, c = np.arange(6.0).reshape(6, 1), np.arange(6.0)
    feed = feeding.ArrayFeed(((x, c),), 2, seed=0, shuffle=False)
    blocks = feeding.Blocks(feed)
    blocks.begin(0)
    count, (((values, labels)),) = blocks.next(16)
    assert count == 3
    np.testing.assert_array_equal(values, x.reshape(3, 2, 1))
    np.testing.assert_array_equal(labels, c.reshape(3, 2))


@pytest.mark.parametrize("steps", [0, -1, 2.5])
def test_epochs_have_a_number_of_steps(steps):
    feed = feeding.ArrayFeed(np.zeros((4, 2)), 2, seed=0)
    with pytest.raises(ValueError, match="`steps_per_epoch` must be a whole number of at least 1"):
        feeding.epoch(feed, lambda: tf.constant(0, tf.int64), steps)


def test_a_failure_of_an_earlier_reading_is_not_told_again():
    data = feeding.one_round(feeding.ArrayFeed(np.zeros((4, 2)), 2, seed=0), tf.data.Dataset.range(1))
    data.feed.failure = ValueError("of before")
    with pytest.raises(tf.errors.InvalidArgumentError), feeding.reading(data):
        tf.debugging.assert_equal(1, 2)
