"""Data read from disk while a model trains: every example once a round, in an order that the step decides."""

import logging
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from building import make_vae

import kvae
from kvae import feeding

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


@pytest.mark.parametrize("kind", ["x.npy", "shards", "data set"])
def test_a_round_from_the_middle_is_the_rest_of_the_round(home, kind):
    source = tf.data.Dataset.from_tensor_slices(examples()) if kind == "data set" else home / kind
    feed = kvae.data.stream(source, batch_size=16, transform="binarize").feed
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
    assert all(len(part) in (19, 20) for part in parts[1:])  # ten blocks of two, of which one may have but one
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


def test_a_function_makes_pairs_for_a_conditional_model(tmp_path):
    labels = np.arange(N) % 3
    table = np.random.default_rng(0).integers(0, 2, (N, 6))
    table[:, 5] = labels == 1  # so that a label that is not that of its row is seen
    np.savetxt(tmp_path / "table.csv", np.column_stack([labels, table]), delimiter=",", fmt="%d")

    def stream(**arguments):
        return kvae.data.stream(
            tmp_path / "table.csv", batch_size=32, transform=lambda rows: ((rows[:, 1:], rows[:, 0]),), **arguments
        )

    ((x, c),) = next(iter(stream()))
    assert x.shape == (32, 6) and np.array_equal(c == 1, x[:, 5])
    encoder = kvae.networks.dense_encoder((6,), 2, hidden=(8,), num_classes=3)
    vae = kvae.VAE(encoder, kvae.networks.dense_decoder(2, (6,), hidden=(8,), num_classes=3))
    vae.compile(jit_compile=False)
    train, held_out = stream(part="train"), stream(part="test", shuffle=False)
    history = vae.fit(train, epochs=3, steps_per_epoch=2, validation_data=held_out, verbose=0).history
    assert np.isfinite(history["val_elbo"]).all() and len(history["loss"]) == 3
    with pytest.raises(ValueError, match="`transform` must be one of None, 'binarize', 'dequantize'"):
        kvae.data.stream(tmp_path / "table.csv", transform="grey")


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


def test_jpeg(tmp_path):
    levels = np.arange(0, 256, 16)
    for level in levels:  # of one grey each, which JPEG keeps but for rounding
        image = np.full((8, 8, 3), level, "uint8")
        (tmp_path / f"{level:03d}.jpg").write_bytes(tf.io.encode_jpeg(image, quality=100).numpy())
    data = kvae.data.stream(tmp_path, batch_size=len(levels), shape=(4, 4, 3))
    (batch,) = list(data)
    assert batch.shape == (16, 4, 4, 3)
    np.testing.assert_allclose(np.sort(np.mean(batch, axis=(1, 2, 3))) * 255, levels, atol=1)


def test_a_damaged_image_or_row_is_named(home, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(examples()[:20]):
        (folder / f"{number}.png").write_bytes(tf.io.encode_png(image).numpy())
    (folder / "7.png").write_bytes(b"no image")
    data = kvae.data.stream(folder, on_error="skip")
    assert sum(len(batch) for batch in data) == 19
    assert data.feed.skipped == {str(folder / "7.png"): "no readable image"}
    with pytest.raises(ValueError, match=r"7\.png: no readable image. Mend or remove it, or pass on_error='skip'"):
        make_vae((4, 4, 1)).fit(kvae.data.stream(folder, batch_size=32, transform="binarize"), verbose=0)
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


# Sources with something odd about them


def read(source, **arguments):
    """(all rows, what was skipped) of a stream in the order of its files."""
    data = kvae.data.stream(source, batch_size=4, shuffle=False, **arguments)
    with feeding.reading(data):
        batches = [batch.numpy() for batch in data]
    return np.concatenate(batches), data.feed.skipped


def write_features(path, *features):
    """A TFRecord file of examples whose feature x is given."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for each in features:
            example = tf.train.Example(features=tf.train.Features(feature={"x": each}))
            writer.write(example.SerializeToString())


def numbers_feature(*values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def test_a_data_set_is_a_source_like_any_other():
    x = examples()
    counted, uncounted = (
        tf.data.Dataset.from_tensor_slices(x),
        tf.data.Dataset.from_generator(lambda: x, output_signature=tf.TensorSpec(x.shape[1:], "uint8")),
    )
    for source in (counted, uncounted):
        data = kvae.data.stream(source, batch_size=32)
        orders = [np.concatenate([numbers(batch.numpy()) for batch in data]) for _ in range(2)]
        assert len(data) == 7 and all(sorted(order) == list(range(N)) for order in orders)
        assert (orders[0] != orders[1]).any() and (np.diff(orders[0]) != 1).mean() > 0.9
    parts = [numbers(read(counted, part=part)[0]) for part in ("test", "validation", "train")]
    assert [kvae.data.stream(counted, part=part).feed.rows for part in ("test", "validation", "train")] == [21, 21, 161]
    assert list(parts[0]) == list(range(0, N, 10)) and sorted(np.concatenate(parts)) == list(range(N))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.batch(4), "single examples x of a known shape.*unbatch"),
        (lambda data: data.map(lambda x: (x, 0)), "single examples x of a known shape.*map"),
        (lambda data: data.map(tf.strings.as_string), "must yield numbers"),
        (lambda data: data.repeat(), "must come to an end"),
        (lambda data: data.take(0), "it yields no example"),
    ],
)
def test_data_sets_that_cannot_be_streamed(change, message):
    data = tf.data.Dataset.from_tensor_slices(examples())
    with pytest.raises(ValueError, match=message):
        kvae.data.stream(change(data))
    with pytest.raises(ValueError, match="on_error='skip' is for files"):
        kvae.data.stream(data, on_error="skip")
    with pytest.raises(ValueError, match="Too few examples to set some aside: 2"):
        kvae.data.stream(data.take(2), part="test")


@pytest.mark.parametrize("dtype", [">f4", ">u2", "float64", "float16", "int64", "bool"])
def test_every_dtype_is_read_as_its_values(tmp_path, dtype):
    x = np.arange(40).reshape(10, 4).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    kvae.data.write_records(x, tmp_path / "shards")
    for source in (tmp_path / "x.npy", tmp_path / "shards"):
        np.testing.assert_array_equal(read(source)[0], x.astype("float32"))


def test_shards_may_be_empty_and_begin_with_a_damaged_record(tmp_path):
    path = damaged_shards(tmp_path / "shards")
    content = bytearray(path.read_bytes())
    content[40] ^= 1  # in the first record
    path.write_bytes(content)
    (tmp_path / "shards" / "0.tfrecord").write_bytes(b"")
    rows, skipped = read(tmp_path / "shards", on_error="skip")
    assert len(rows) == N - 2 and set(skipped) == {f"{path}: record 0", f"{path}: record 20"}
    with pytest.raises(ValueError, match=f"{path}: record (0|20): its checksum is wrong"):
        read(tmp_path / "shards")


def test_records_that_do_not_fit_the_others_are_named(tmp_path):
    path = tmp_path / "x.tfrecord"
    text = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"ab"]))
    write_features(path, numbers_feature(1, 2), tf.train.Feature(), text, numbers_feature(3), numbers_feature(4, 5))
    rows, skipped = read(path, on_error="skip")
    np.testing.assert_array_equal(rows, [[1, 2], [4, 5]])
    assert skipped == {  # in whatever order they were read
        f"{path}: record 1": "no values in 'x'",
        f"{path}: record 2": "uint8 where float32 is expected",
        f"{path}: record 3": "1 values where (2,) is expected",
    }
    with pytest.raises(ValueError, match="must hold numbers. Received: an example of dtype <U1"):
        kvae.data.write_records([np.zeros(2), np.array(["a"])], tmp_path / "mixed")
    assert not list(tmp_path.glob("*mixed*"))
    kvae.data.write_records(np.zeros((3, 2)), tmp_path / "new" / "shards")
    with pytest.raises(FileExistsError, match="exists. Remove it, or name another folder"):
        kvae.data.write_records(np.zeros((3, 2)), tmp_path / "new" / "shards")
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["shards"]


def test_lines_that_are_blank_are_no_rows(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b'\r\n"a, b",c\r\n"1",2\r\n\r\n3,4\r\n5,6\r\n7,8\r\n9,\r\n\r\n\r\n')
    data = kvae.data.stream(path, batch_size=1)
    assert len(data) == 5 == len(list(data))
    np.testing.assert_array_equal(read(path)[0], [[1, 2], [3, 4], [5, 6], [7, 8], [9, np.nan]])
    path.write_text("1,2\n3,inf\n\n5,6,7\n")
    rows, skipped = read(path, on_error="skip")
    np.testing.assert_array_equal(rows, [[1, 2]])
    assert skipped == {
        f"{path}: row 2": "infinite values",
        f"{path}: row 4": "3 cells where 2 are expected",
    }


def test_files_that_are_damaged_or_hold_nothing(tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros((0, 4)))
    np.save(tmp_path / "values.npy", np.zeros((4, 0)))
    np.save(tmp_path / "wide.npy", np.zeros((4, 2), "longdouble"))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "x.csv").write_text("a,b\n\n")
    for name, message in {
        "rows.npy": r"must hold numbers, one example per row. Received: an array of shape \[0, 4\]",
        "values.npy": r"must hold numbers.*shape \[4, 0\]",
        "wide.npy": "must hold numbers.*dtype float128",
        "text.npz": "text.npz' is no readable .npz file",
        "x.csv": "must hold rows of numbers. Received: none",
    }.items():
        with pytest.raises(ValueError, match=message):
            kvae.data.stream(tmp_path / name)


def test_shapes_are_for_what_can_take_them(home):
    for shape in (8, (8,), (8, 8, 2), (0, 8)):
        with pytest.raises(ValueError, match="`shape`"):
            kvae.data.stream(home / "images", shape=shape)
    for kind in ("x.npy", "x.csv"):
        with pytest.raises(ValueError, match="`shape` is for images and TFRecord files"):
            kvae.data.stream(home / kind, shape=(4, 4))


def test_grey_images_with_transparency_are_grey(tmp_path):
    image = np.full((3, 3, 2), 102, "uint8")
    (tmp_path / "x.png").write_bytes(tf.io.encode_png(image).numpy())
    np.testing.assert_allclose(read(tmp_path)[0], np.full((1, 3, 3, 1), 0.4), rtol=1e-6)


def test_a_file_that_became_shorter_is_named(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((300, 2)))
    kvae.data.write_records(np.zeros((300, 2)), tmp_path / "shards")
    for path in (tmp_path / "x.npy", *(tmp_path / "shards").iterdir()):
        data = kvae.data.stream(path)
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(ValueError, match=f"'{path}' has become shorter"), feeding.reading(data):
            list(data)


def test_a_name_may_look_like_a_pattern(tmp_path):
    np.save(tmp_path / "x[1].npy", np.ones((3, 2)))
    np.testing.assert_array_equal(read(tmp_path / "x[1].npy")[0], np.ones((3, 2)))


def test_parquet_as_it_is_found(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "x.parquet"
    table = pyarrow.table({"a": np.arange(200.0), "s": [{"q": 1}] * 200, "b": -np.arange(200.0)})
    parquet.write_table(table, path)  # one row group, as small files have
    parts = [read(path, part=part)[0] for part in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [160, 20, 20]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)[:, 0]), np.arange(200))
    with pytest.raises(ValueError, match="a column of lists pixels. Received: 200 rows of a, s, b"):
        kvae.data.stream(path, name="pixels")
    monkeypatch.setattr(kvae.data.tables, "_MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="has 200 rows in a row group.*row_group_size="):
        kvae.data.stream(path)

    parquet.write_table(table, path, row_group_size=50)  # read group by group
    np.testing.assert_array_equal(read(path)[0][:, 0], np.arange(200))
    content = bytearray(path.read_bytes())
    content[30:60] = bytes(30)
    path.write_bytes(content)
    rows, skipped = read(path, on_error="skip")
    assert len(rows) == 150 and list(skipped) == [f"{path}: row group 0"]

    (tmp_path / "two").mkdir()
    parquet.write_table(table, tmp_path / "two" / "1.parquet")
    parquet.write_table(table.drop(["b"]), tmp_path / "two" / "2.parquet")
    with pytest.raises(ValueError, match=r"2.parquet' must have the columns of .*1.parquet'. Received: one without b"):
        kvae.data.stream(tmp_path / "two")
    lists = tmp_path / "lists.parquet"
    parquet.write_table(pyarrow.table({"x": [None, [1.0, 2.0], [3.0], [4.0, 5.0]]}), lists)
    rows, skipped = read(lists, on_error="skip")
    np.testing.assert_array_equal(rows, [[1, 2], [4, 5]])
    assert skipped == {
        f"{lists}: row 0": "0 values where 2 are expected",
        f"{lists}: row 2": "1 values where 2 are expected",
    }
