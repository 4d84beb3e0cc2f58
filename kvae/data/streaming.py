"""Data larger than memory: batches that are read, shuffled and prepared while the model trains."""

import contextlib
import logging
import os
import pathlib
import shutil

import numpy as np
import tensorflow as tf

from kvae import checks, feeding
from kvae.data import binarization
from kvae.data.opening import open_source
from kvae.data.sources import BadExample, DataSet

# Examples among which the order is entirely random; at most so many, and at most so many bytes.
_WINDOW_ROWS, _WINDOW_BYTES = 16_384, 64 * 2**20
# Of every ten examples of a data set, those of each part.
_TENTHS = {"test": (0,), "validation": (1,), "train": range(2, 10)}

_log = logging.getLogger("kvae")


def stream(
    source,
    batch_size=128,
    seed=0,
    shuffle=True,
    part=None,
    transform=None,
    on_error="raise",
    name="x",
    shape=None,
):
    """Batches of examples from files that need not fit in memory.

    Blocks of at most 64 neighbouring examples are read in parallel, in an order that is random over the whole source,
    and their examples are shuffled in windows of up to 16,384 examples or 64 MB: an example meets in its batch others
    from a few hundred random places. Memory stays at a few windows, whatever the size of the source. Parquet files of more
    than 256 MB are read by their row groups in place of blocks, so these should be of some thousand rows at most.

    In `fit` the order and all that is drawn are functions of the seed and the step of the training, so an interrupted
    training goes on with the batches it would have seen; `steps_per_epoch` cuts a long round into epochs.

    Args:
        source: path of an `.npy` file, an `.npz` file that is not compressed, a `.csv` or `.parquet` file, a `.tfrecord`
            file; a pattern such as "shards/*.tfrecord"; or a folder of images (PNG, JPEG), TFRecord or Parquet files.
            uint8 is divided by 255. Or a `tf.data.Dataset` of single examples that yields the same ones each time: it is
            shuffled in windows alone, and a round that is resumed reads what came before. Or the `feed.source` of another
            stream, whose files are not gone through again.
        batch_size: int.
        seed: int.
        shuffle: False for the order of the files, and the same draws in each round, as for validation.
        part: None for all examples; "validation" or "test" for a tenth of the blocks each, "train" for the rest: the same
            ones each time.
        transform: None; "binarize" draws each value from Bernoulli(x) anew in every round; "dequantize" adds uniform
            noise to uint8 values k, (k + u) / 256, which makes of them a density on [0, 1]. Or a function of a batch
            `[B, *shape]` that gives x or, for a conditional model, ((x, c),): to take a condition out of a row, scale
            columns, crop. The same batch must always give the same.
        on_error: "raise" at an image, record or row that cannot be read, or "skip" it; `skipped` of the data set's feed
            counts them, and each is named in the log "kvae". Not for a data set: see its `ignore_errors`.
        name: array of an `.npz` file, feature of TFRecord examples, or list column of a Parquet file.
        shape: (height, width) or (height, width, channels) that images are brought to, by default that of the first; or
            the shape of the numbers in TFRecord examples.

    Returns:
        `tf.data.Dataset` of float32 batches x, or of what `transform` gives.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: for a file that is damaged or of another kind; at once, or when `fit` comes to it, with its name.
        ImportError: for Parquet without pyarrow.

    References: uniform dequantisation, Theis et al. 2016, arXiv:1511.01844, section 3.1; see `dynamic_binarization`.

    Example:
        >>> train = kvae.data.stream("faces/", batch_size=128, shape=(64, 64, 3), part="train")
        >>> held_out = kvae.data.stream("faces/", shape=(64, 64, 3), part="test", shuffle=False)
        >>> vae.fit(train, epochs=20, steps_per_epoch=1000, validation_data=held_out)
        >>> rows = kvae.data.stream("table.csv", transform=lambda rows: ((rows[:, 1:], rows[:, 0]),))  # labels first
    """
    checks.check_choice("part", part, (None, "train", "validation", "test"))
    if not callable(transform):
        checks.check_choice("transform", transform, (None, "binarize", "dequantize"))
    checks.check_choice("on_error", on_error, ("raise", "skip"))
    seed = checks.check_seed(seed)
    source = open_source(source, name=name, shape=shape)
    kind = DataSetFeed if isinstance(source, DataSet) else StreamFeed
    feed = kind(source, batch_size, seed, shuffle, part, transform, on_error == "skip")
    if shuffle:
        keys = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)
    else:
        keys = tf.data.Dataset.from_tensors(tf.constant(0, tf.int64))
    return feeding.one_round(feed, keys)


class StreamFeed(feeding.Feed):
    """The feed of `stream`.

    Attributes:
        rows: examples in a round.
        skipped: dict from the name of each example that was left out to the reason.
    """

    def __init__(self, source, batch_size, seed, shuffle, part, transform, skip):
        self.source, self.seed, self.shuffle, self.transform = source, seed, shuffle, transform
        self.batch_size = checks.check_count("batch_size", batch_size)
        self.exact, self.skipped = not skip, {}
        if transform == "dequantize" and source.dtype != np.uint8:
            raise ValueError(f"transform='dequantize' is for values 0 to 255 of dtype uint8. Received: {source.dtype}.")
        self.rows = self._choose(part)
        self.steps = -(-self.rows // batch_size)
        stride = int(np.prod(source.shape)) * source.dtype.itemsize
        batches = max(1, min(_WINDOW_ROWS, _WINDOW_BYTES // stride, self.rows) // batch_size)
        self.window = batches * batch_size

    def _choose(self, part):
        """Sets the blocks of a part, and gives the number of their examples."""
        self.blocks = np.flatnonzero(self.source.sizes)
        if part is not None:
            if len(self.blocks) < 3:
                raise ValueError(f"Too few blocks of examples to set some aside: {len(self.blocks)}. Three are needed.")
            order = np.random.default_rng(0).permutation(self.blocks)
            tenth = max(1, len(order) // 10)
            ranges = {"test": (0, tenth), "validation": (tenth, 2 * tenth), "train": (2 * tenth, None)}
            self.blocks = np.sort(order[slice(*ranges[part])])
        return int(self.source.sizes[self.blocks].sum())

    def round(self, key, first):
        window = first * self.batch_size // self.window  # of those before nothing is needed
        data = self._windows(key, window)
        if self.shuffle:
            data = feeding.numbered(data, window).map(
                feeding.plain(
                    lambda rows, number: tf.random.experimental.stateless_shuffle(rows, self._seed(key, 1 + number))
                )
            )
        data = data.rebatch(self.batch_size).skip(first - window * (self.window // self.batch_size))
        return feeding.numbered(data, first).map(
            feeding.plain(lambda rows, number: self._prepare(rows, key, number)), num_parallel_calls=tf.data.AUTOTUNE
        )

    def _windows(self, key, window):
        """The examples in windows `window`, `window + 1`, ... of the round of a key, as they are on disk."""
        blocks, sizes = tf.constant(self.blocks), tf.constant(self.source.sizes[self.blocks])
        key = key if self.shuffle else tf.zeros_like(key)
        if self.shuffle:
            order = tf.random.experimental.stateless_shuffle(tf.range(len(self.blocks)), seed=self._seed(key, 0))
            blocks, sizes = tf.gather(blocks, order), tf.gather(sizes, order)
        # Windows before are not read: only the blocks from the one in which the window begins.
        ends = tf.cumsum(sizes)
        begin = tf.searchsorted(ends, tf.reshape(window * self.window, [1]), side="right")[0]
        surplus = window * self.window - tf.concat([[0], ends], axis=0)[begin]

        data = tf.data.Dataset.from_tensor_slices(blocks[begin:])
        data = data.map(feeding.plain(self._read), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return self._from_row(data, surplus).rebatch(self.window)

    def _from_row(self, data, surplus):
        """The data without the first `surplus` rows, all of which are in its first block."""
        cut = tf.data.Dataset.zip(data, tf.data.Dataset.counter())
        return cut.map(feeding.plain(lambda rows, number: rows[tf.where(number == 0, surplus, 0) :]))

    def _seed(self, key, number):
        seed = tf.stack([tf.constant(self.seed, tf.int64), key])
        return tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int64))

    def _read(self, block):
        rows = tf.numpy_function(feeding.weakly(self._read_block), [block], tf.as_dtype(self.source.dtype))
        return tf.ensure_shape(rows, [None, *self.source.shape])

    def _read_block(self, block):
        try:
            return self.source.read(int(block), self._skip if not self.exact else self._refuse)
        except Exception as error:
            self.failure = error
            raise

    def _skip(self, name, reason):
        if name not in self.skipped:
            self.skipped[name] = reason
            _log.warning("left out %s: %s (%d so far)", name, reason, len(self.skipped))

    @staticmethod
    def _refuse(name, reason):
        raise BadExample(f"{name}: {reason}. Mend or remove it, or pass on_error='skip'.")

    def _prepare(self, rows, key, number):
        x = tf.cast(rows, tf.float32)
        if self.transform == "dequantize":
            return (x + binarization.uniform(x, self.seed, key, number)) / 256.0
        if rows.dtype == tf.uint8:
            x = x / 255.0
        if callable(self.transform):
            return self.transform(x)
        return binarization.draw(x, self.seed, key, number) if self.transform == "binarize" else x


class DataSetFeed(StreamFeed):
    """The feed of `stream` where the source is a `tf.data.Dataset`. A part is every tenth example, or the rest."""

    def _choose(self, part):
        if not self.exact:
            raise ValueError(
                "on_error='skip' is for files. Apply `ignore_errors` to the data set before it is streamed."
            )
        self.tenths, rows = _TENTHS.get(part), self.source.num_rows
        if part is not None and rows < 3:
            raise ValueError(f"Too few examples to set some aside: {rows}. Three are needed.")
        return rows if part is None else sum(len(range(tenth, rows, 10)) for tenth in self.tenths)

    def _windows(self, key, window):
        data = self.source.data
        if self.tenths is not None:
            chosen = tf.constant(list(self.tenths), tf.int64)
            data = data.enumerate().filter(feeding.plain(lambda number, _: tf.reduce_any(number % 10 == chosen)))
            data = data.map(feeding.plain(lambda _, row: row))
        return data.batch(self.window).skip(window)


def write_records(x, folder, num_shards=1):
    """Writes an array as TFRecord files that `stream` reads without being told shape and dtype: all of it or nothing.

    Args:
        x: array `[N, *data_shape]`, or an iterable of examples.
        folder: to make.
        num_shards: how many files; example i goes into file i modulo that.

    Raises:
        FileExistsError: if the folder exists.
        ValueError: for an example that does not hold numbers.

    Example:
        >>> kvae.data.write_records(x_train, "shards", num_shards=8)
    """
    folder, num_shards = pathlib.Path(folder), checks.check_count("num_shards", num_shards)
    if folder.exists():
        raise FileExistsError(f"'{folder}' exists. Remove it, or name another folder.")
    aside = folder.with_name(f".{folder.name}-{os.getpid()}")
    aside.mkdir(parents=True)
    try:
        _write_records(x, [aside / f"{shard:05d}-of-{num_shards:05d}.tfrecord" for shard in range(num_shards)])
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside)
        raise


def _write_records(x, paths):
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(tf.io.TFRecordWriter(str(path))) for path in paths]
        for number, row in enumerate(x):
            row = np.ascontiguousarray(row)
            if row.dtype.kind not in "uifb":
                raise ValueError(f"`x` must hold numbers. Received: an example of dtype {row.dtype}.")
            features = {
                "x": tf.train.Feature(bytes_list=tf.train.BytesList(value=[row.tobytes()])),
                "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=row.shape)),
                "dtype": tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(row.dtype).encode()])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writers[number % len(paths)].write(example.SerializeToString())
