"""Data read from disk while a model trains: every example once a round, in an order that the step decides."""

import logging
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from building import make_vae

import kvae

N = 203  # no multiple of any batch or block


def examples():
    """uint8 `[N, 4, 4, 1]` whose first two values tell which example it is."""
    x = np.random.default_rng(0).integers(0, 256, (N, 4, 4, 1), dtype=np.uint8)
    x[:, 0, 0, 0], x[:, 0, 1, 0] = np.arange(N) % 256, np.arange(N) // 256
    return x


def numbers(batch):
    flat = np.round(np.reshape(batch, [len(batch), -1]) * 255).astype(int)
    return flat[:, 0] + 256 * flat[:, 1]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the same examples in every kind of file."""
    home, x = tmp_path_factory.mktemp("home"), examples()
    np.save(home / "x.npy", x)
    np.savez(home / "x.npz", labels=np.arange(N), x_train=x)
    kvae.data.write_records(x, home / "shards", num_shards=3)
    (home / "images" / "below").mkdir(parents=True)
    for number, image in enumerate(x):
        folder = home / "images" / ("below" if number % 2 else "")
        (folder / f"{number:05d}.png").write_bytes(tf.io.encode_png(image).numpy())
    np.savetxt(home / "x.csv", x.reshape(N, 16) / 255, delimiter=",", header=",".join("abcdefghijklmnop"), comments="")
    return home


KINDS = ["x.npy", "x.npz", "shards", "shards/*.tfrecord", "images", "x.csv"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_once_a_round(home, kind):
    data = kvae.data.stream(home / kind, batch_size=32)
    first, second = ([batch.numpy() for batch in data] for _ in range(2))
    assert [len(batch) for batch in first] == [32] * 6 + [11] == [len(batch) for batch in second]
    assert len(data) == 7
    orders = [np.concatenate([numbers(batch) for batch in batches]) for batches in (first, second)]
    assert all(sorted(order) == list(range(N)) for order in orders)
    assert (orders[0] != orders[1]).any()
    expected = examples()[orders[0]].reshape(N, -1) / 255
    np.testing.assert_allclose(np.concatenate(first).reshape(N, -1), expected, atol=1e-7)  # rounding of k / 255


@pytest.mark.parametrize("kind", ["x.npy", "shards"])
def test_a_round_from_the_middle_is_the_rest_of_the_round(home, kind):
    feed = kvae.data.stream(home / kind, batch_size=16, transform="binarize").feed
    feed.window = 48  # several windows, so that whole ones are skipped

    def batches(key, first):
        return [batch.numpy() for batch in feed.round(tf.constant(key, tf.int64), tf.constant(first, tf.int64))]

    for key in (0, 13):
        whole = batches(key, 0)
        assert len(whole) == feed.steps == 13
        for first in (1, 3, 7, 12):
            rest = batches(key, first)
            assert len(rest) == 13 - first
            for one, other in zip(rest, whole[first:], strict=True):
                np.testing.assert_array_equal(one, other)


def test_parts_are_disjoint_and_complete(home):
    parts = [
        np.concatenate([numbers(batch.numpy()) for batch in kvae.data.stream(home / "x.npy", part=part)])
        for part in ("train", "validation", "test")
    ]
    assert sorted(np.concatenate(parts)) == list(range(N))
    assert [len(part) for part in parts] == [N - 40, 20, 20] or len(parts[1]) >= N // 10 - 2
    again = kvae.data.stream(home / "x.npy", part="test", shuffle=False, seed=5)
    assert sorted(parts[2]) == sorted(np.concatenate([numbers(batch.numpy()) for batch in again]))


def test_the_shuffle_is_as_good_as_stated(home, tmp_path):
    """Neighbours on disk are far apart: the mean distance of two in a batch is that of two drawn at random, rows / 3."""
    rows = 20_000
    np.save(tmp_path / "x.npy", np.arange(rows, dtype="float32").reshape(rows, 1))
    feed = kvae.data.stream(tmp_path / "x.npy", batch_size=100).feed
    feed.window = 2_000
    order = np.concatenate(
        [batch.numpy()[:, 0] for batch in feed.round(tf.constant(0, tf.int64), tf.constant(0, tf.int64))]
    )
    distance = np.abs(np.diff(order)).mean()
    # 20,000 distances of standard deviation rows * 0.24, of which a window of 31 blocks has about 31 that are independent.
    assert abs(distance - rows / 3) < 4 * 0.24 * rows / np.sqrt(31 * 10)


def test_training_is_resumed_in_the_order_it_would_have_had(home, tmp_path):
    def fit(vae, epochs, **arguments):
        train = kvae.data.stream(home / "x.npy", batch_size=32, transform="binarize")
        return vae.fit(train, epochs=epochs, verbose=0, **arguments).history["loss"]

    for steps in ({}, {"steps_per_epoch": 5}):  # a round has 7
        whole = fit(make_vae((4, 4, 1)), 4, **steps)
        vae = make_vae((4, 4, 1))
        parts = fit(vae, 2, **steps)
        vae.save(tmp_path / "vae.keras")
        parts += fit(keras.models.load_model(tmp_path / "vae.keras"), 4, initial_epoch=2, **steps)
        assert parts == whole


def test_unshuffled_repeats_itself(home):
    data = kvae.data.stream(home / "x.npy", shuffle=False, transform="binarize")
    one, other = (np.concatenate([batch.numpy() for batch in data]) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert set(np.unique(one)) == {0.0, 1.0}


def test_transforms(home):
    x = examples().astype("float64")
    for transform, low, high in (("binarize", 0, 1), ("dequantize", 0, 1)):
        draws = np.mean(
            [
                np.concatenate(
                    [each.numpy() for each in feed.round(tf.constant(key, tf.int64), tf.constant(0, tf.int64))]
                )
                for feed in [kvae.data.stream(home / "x.npy", batch_size=N, shuffle=True, transform=transform).feed]
                for key in range(3)
            ]
        )
        assert low <= draws <= high
        expected = (x / 255).mean() if transform == "binarize" else ((x + 0.5) / 256).mean()
        assert abs(draws - expected) < 5 * 0.5 / np.sqrt(3 * x.size)  # standard deviation of a draw at most a half
    dequantized = next(iter(kvae.data.stream(home / "x.npy", batch_size=N, shuffle=False, transform="dequantize")))
    np.testing.assert_array_equal(np.floor(dequantized.numpy() * 256), x)
    with pytest.raises(ValueError, match="transform='dequantize' is for values 0 to 255"):
        kvae.data.stream(home / "x.csv", transform="dequantize")


def test_images_are_brought_to_one_size_and_colour(home):
    data = kvae.data.stream(home / "images", batch_size=4, shape=(6, 5, 3))
    assert next(iter(data)).shape == (4, 6, 5, 3)
    assert next(iter(kvae.data.stream(home / "images", shape=(6, 5)))).shape[1:] == (6, 5, 1)


def damaged_shards(folder):
    kvae.data.write_records(examples(), folder, num_shards=2)
    path = min(folder.iterdir())
    content = bytearray(path.read_bytes())
    content[content.index(examples()[40].tobytes()) + 3] ^= 1
    path.write_bytes(content)
    return path


def test_a_damaged_record_is_named(tmp_path, caplog):
    path = damaged_shards(tmp_path / "shards")
    vae = make_vae((4, 4, 1))
    with pytest.raises(ValueError, match=rf"{path}: record 20: its checksum is wrong. Mend or remove it"):
        vae.fit(kvae.data.stream(tmp_path / "shards", batch_size=32, transform="binarize"), verbose=0)
    with caplog.at_level(logging.WARNING, "kvae"):
        data = kvae.data.stream(tmp_path / "shards", batch_size=32, transform="binarize", on_error="skip")
        history = vae.fit(data, epochs=2, verbose=0, validation_data=data).history
    assert len(history["loss"]) == 2
    ((name, reason),) = data.feed.skipped.items()
    assert name.startswith(str(path)) and reason == "its checksum is wrong"
    assert [record.message for record in caplog.records] == [f"left out {name}: {reason} (1 so far)"]
    assert sum(len(batch) for batch in data) == N - 1


def test_a_damaged_image_or_row_is_named(home, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(examples()[:20]):
        (folder / f"{number}.png").write_bytes(tf.io.encode_png(image).numpy())
    (folder / "7.png").write_bytes(b"no image")
    data = kvae.data.stream(folder, on_error="skip")
    assert sum(len(batch) for batch in data) == 19
    assert data.feed.skipped == {str(folder / "7.png"): "no readable image"}
    (tmp_path / "x.csv").write_text("1,2\n3,4\n5,six\n7\n" + "8,9\n" * 10)
    data = kvae.data.stream(tmp_path / "x.csv", on_error="skip")
    assert sum(len(batch) for batch in data) == 12
    assert [name.rpartition(": ")[2] for name in sorted(data.feed.skipped)] == ["row 3", "row 4"]
    np.save(tmp_path / "x.npy", np.where(np.eye(10) > 0, np.inf, 0.0).astype("float32")[:, :3])
    data = kvae.data.stream(tmp_path / "x.npy", on_error="skip")
    assert sum(len(batch) for batch in data) == 7


def test_what_cannot_be_streamed_is_refused_at_once(home, tmp_path):
    np.savez_compressed(tmp_path / "compressed.npz", x=examples())
    np.save(tmp_path / "flat.npy", np.zeros(5))
    np.save(tmp_path / "columns.npy", np.asfortranarray(np.zeros((5, 4))))
    (tmp_path / "cut.npy").write_bytes((home / "x.npy").read_bytes()[:-10])
    (tmp_path / "cut.tfrecord").write_bytes(min((home / "shards").iterdir()).read_bytes()[:-10])
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty").mkdir()
    for name, message in {
        "compressed.npz": "is compressed",
        "flat.npy": "one example per row",
        "columns.npy": "column by column",
        "cut.npy": "is cut short: its header tells of 203 examples",
        "cut.tfrecord": "is cut short or no TFRecord file: record 67",
        "text.npy": "no readable .npy file",
        "empty": "There are no images, TFRecord or Parquet files",
    }.items():
        with pytest.raises(ValueError, match=message):
            kvae.data.stream(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="There is nothing at"):
        kvae.data.stream(tmp_path / "*.tfrecords")
    with pytest.raises(ValueError, match="`part` must be one of"):
        kvae.data.stream(home / "x.npy", part="held_out")
    with pytest.raises(ValueError, match="no feature 'image'; it has dtype, shape, x"):
        kvae.data.stream(home / "shards", name="image")


def test_parquet_needs_its_extra(home, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"")
    with pytest.raises(ImportError, match=r'pip install "kvae\[parquet\]"'):
        kvae.data.stream(tmp_path / "x.parquet")


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    x = examples().reshape(N, 16) / np.float32(255)
    table = pyarrow.table({f"pixel {number}": x[:, number] for number in range(16)} | {"name": ["a"] * N})
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=10)
    rows = np.concatenate([batch.numpy() for batch in kvae.data.stream(tmp_path / "x.parquet", batch_size=32)])
    np.testing.assert_allclose(rows[np.argsort(numbers(rows))], x, rtol=1e-6)
    parquet.write_table(pyarrow.table({"x": list(x)}), tmp_path / "lists.parquet", row_group_size=10)
    rows = np.concatenate([batch.numpy() for batch in kvae.data.stream(tmp_path / "lists.parquet", shuffle=False)])
    np.testing.assert_allclose(rows, x, rtol=1e-6)
