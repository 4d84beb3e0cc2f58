import gc
import tracemalloc
import weakref

import building
import numpy as np
import pytest
import tensorflow as tf

import kvae
from kvae import feeding

KINDS = {
    "float64": np.linspace(0, 1, 21).reshape(7, 3),
    "float32": np.linspace(0, 1, 21, dtype="float32").reshape(7, 3),
    "int": np.arange(6).reshape(2, 3),
    "bytes": np.arange(250, 256, dtype="uint8").reshape(2, 3),
    "bool": np.array([True, False]),
    "strided": np.arange(20.0).reshape(5, 4)[:, ::2],
    "column-major": np.asfortranarray(np.arange(12.0, dtype="float32").reshape(4, 3)),
    "big-endian": np.arange(3, dtype=">f4"),
    "float16": np.arange(3, dtype="float16"),
    "tensor": tf.constant([[1, 2], [3, 4]]),
    "bfloat16": tf.constant([1.0, 2.0], tf.bfloat16),
}


@pytest.mark.parametrize("array", KINDS.values(), ids=list(KINDS))
def test_arrays_of_every_kind_are_read_as_float32(array):
    feed = feeding.ArrayFeed(array, 2, seed=0, shuffle=False)
    zero = tf.constant(0, tf.int64)
    batches = list(feed.round(zero, zero))
    assert {each.dtype for each in batches} == {tf.float32}
    expected = np.asarray(tf.cast(tf.convert_to_tensor(array), tf.float32) if tf.is_tensor(array) else array, "float32")
    np.testing.assert_array_equal(np.concatenate(batches), expected)
    np.testing.assert_array_equal(feed.block(feed.order(zero).numpy(), 0, 0, 1)[0], expected[:2])


def test_what_is_no_number_is_refused():
    for array in (np.array(["3", "7"]), np.array([{}, None])):
        with pytest.raises(ValueError, match="must be numbers. Received: an array of dtype"):
            feeding.ArrayFeed(array, 2, seed=0)
    with pytest.raises(ValueError, match="`batch_size` must be a whole number of at least 1. Received: batch_size=0"):
        building.make_vae().fit(np.zeros((4, 8, 8, 1)), batch_size=0)


def test_arrays_are_read_where_they_lie(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(12, dtype="uint8").reshape(6, 2))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    feed = feeding.ArrayFeed(mapped, 4, seed=0, shuffle=False)
    assert np.shares_memory(feed.arrays, mapped)
    block = feed.block(np.arange(6), 0, 0, 1)
    np.testing.assert_array_equal(block, [[[0, 1], [2, 3], [4, 5], [6, 7]]])


@pytest.mark.parametrize("layout", ["column-major", "strided"])
def test_no_more_is_copied_than_a_batch(layout):
    array = np.zeros((1000, 2000), "float32", order="F") if layout == "column-major" else np.zeros((1000, 4000))[:, ::2]
    feed = feeding.ArrayFeed(array, 2, seed=0)
    tracemalloc.start()
    feed.block(np.arange(1000), 0, 0, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000  # bytes; a batch has 16,000, the array 8,000,000


@pytest.mark.parametrize("kind", ["fit", "dynamic_binarization"])
def test_arrays_are_let_go_of(kind):
    x = building.digits()[0][:32].copy()
    kept = weakref.ref(x)
    if kind == "fit":
        building.make_vae(compile_arguments={"run_eagerly": True}).fit(x, batch_size=16, verbose=0)
    else:
        batches = iter(kvae.data.dynamic_binarization(x, batch_size=16).map(lambda each: 1 - each))
        gc.collect()
        assert next(batches).shape == (16, 8, 8, 1)  # they hold on to what they are read from
        del batches
    del x
    gc.collect()
    assert kept() is None


def test_blocks_have_few_sizes_and_bounded_ones(monkeypatch):
    feed = feeding.ArrayFeed(np.zeros((100, 4), "float32"), 4, seed=0)

    def counts():
        blocks = feeding.Blocks(feed, 29)
        blocks.begin(0)
        return [count for count, _ in iter(lambda: blocks.next(16), (0, None))]

    assert counts() == [16, 8, 1, 4]
    monkeypatch.setattr(feeding, "_BLOCK", 4 * 16 * 3)
    assert set(counts()) == {2, 1}


def test_a_block_outlives_what_it_was_taken_from():
    feed = feeding.ArrayFeed(np.arange(4096.0).reshape(1024, 4), 256, seed=0, shuffle=False)
    blocks = [feed.block(np.arange(1024), 0, 0, 4) for _ in range(8)]
    feed.arrays = None
    gc.collect()
    for block in blocks:
        np.testing.assert_array_equal(np.reshape(block, [-1]), np.arange(4096.0))


def _noisy(batch, key, number):
    # Sums that float32 holds exactly, since graphs are free to add up in another order.
    return batch + 2.0**-10 * tf.cast(key, tf.float32) + 2.0**-5 * tf.cast(number, tf.float32)


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
    x, c = np.arange(8.0).reshape(8, 1), np.arange(8.0)
    feed = feeding.ArrayFeed(((x, c),), 2, seed=0, shuffle=False)
    blocks = feeding.Blocks(feed)
    blocks.begin(0)
    count, (((values, labels)),) = blocks.next(16)
    assert count == 4
    np.testing.assert_array_equal(values, x.reshape(4, 2, 1))
    np.testing.assert_array_equal(labels, c.reshape(4, 2))


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


def test_fit_takes_a_file_of_bytes_as_it_is(tmp_path):
    x, _ = building.digits()
    np.save(tmp_path / "x.npy", x[:200].astype("uint8"))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    losses = [
        building.make_vae().fit(each, batch_size=64, epochs=2, verbose=0).history["loss"] for each in (x[:200], mapped)
    ]
    assert losses[0] == losses[1]
