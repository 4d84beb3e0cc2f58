"""Files that are read block by block: what is on disk may be larger than memory."""

import struct
import zipfile

import numpy as np
import tensorflow as tf
from tensorflow.python.lib.io._pywrap_record_io import RandomRecordReader

from kvae import checks

# Examples of a block are read in one go and stay together until the shuffle, so a block is small against a window.
_MOST_ROWS, _LEAST_BLOCKS = 64, 100


class BadExample(ValueError):
    """An example that cannot be read; the message names it."""


class Source:
    """Base class: examples on disk in blocks. A subclass sets the attributes and gives `read`.

    Attributes:
        shape: shape of one example, as on disk.
        dtype: numpy dtype of the examples.
        sizes: int64 `[num_blocks]`, examples in each block.
    """

    def read(self, block, bad):
        """The examples of a block `[n, *shape]`; `bad(name, reason)` is told of each that is left out."""
        raise NotImplementedError

    def _cut(self, rows):
        """Sets `sizes`, and `runs` as `_runs` gives them, for `rows` examples of which any run can be read."""
        self.runs = cut(rows)
        self.sizes = np.array([last - first for first, last in self.runs], "int64")


class ArrayFile(Source):
    """An `.npy` file, or an array of an `.npz` file that was not compressed. Read, not mapped: no page of it stays."""

    def __init__(self, path, name="x", shape=None):
        refuse_shape(path, shape)
        self.path = path
        with path.open("rb") as file:
            try:
                if path.suffix.lower() == ".npz":
                    file.seek(_member(path, name))
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, fortran, self.stored = read(file)
            except (ValueError, zipfile.BadZipFile) as error:
                raise ValueError(f"'{path}' is no readable {path.suffix} file of a plain array: {error}") from None
            self.offset = file.tell()
        self.dtype = self.stored.newbyteorder("=")  # TensorFlow knows no other order of the bytes
        if fortran and len(shape) > 1:
            raise ValueError(f"'{path}' holds its array column by column. Save numpy.ascontiguousarray(x).")
        if len(shape) < 2 or 0 in shape or self.dtype.kind not in "uifb" or self.dtype.itemsize > 8:
            raise ValueError(
                f"'{path}' must hold numbers, one example per row. Received: an array of shape {list(shape)} and dtype "
                f"{self.dtype}."
            )
        self.shape = tuple(shape[1:])
        self.stride = int(np.prod(self.shape)) * self.dtype.itemsize
        if path.stat().st_size < self.offset + shape[0] * self.stride:
            raise ValueError(f"'{path}' is cut short: its header tells of {shape[0]} examples. Copy it again.")
        self._cut(shape[0])

    def read(self, block, bad):
        first, last = self.runs[block]
        with self.path.open("rb") as file:
            file.seek(self.offset + first * self.stride)
            content = file.read((last - first) * self.stride)
        if len(content) < (last - first) * self.stride:
            raise ValueError(f"'{self.path}' has become shorter since it was opened. Open the stream anew.")
        rows = np.frombuffer(content, self.stored).astype(self.dtype, copy=False).reshape(-1, *self.shape)
        return finite(rows, lambda row: f"{self.path}: example {first + row}", bad)


def _member(path, name):
    """Where an array of an `.npz` file begins."""
    with zipfile.ZipFile(path) as archive:
        names = {each.removesuffix(".npy") for each in archive.namelist() if each.endswith(".npy")}
        chosen = name if name in names else f"{name}_train" if f"{name}_train" in names else None
        if chosen is None and len(names) == 1:
            (chosen,) = names
        if chosen is None:
            raise ValueError(f"it must hold an array {name}. Received: {', '.join(sorted(names)) or 'none'}.")
        info = archive.getinfo(f"{chosen}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(
            "it is compressed, so it can only be read as a whole. Save it by numpy.savez or, best, numpy.save."
        )
    with path.open("rb") as file:  # the local header gives the length of the name and of the extra field
        file.seek(info.header_offset + 26)
        return info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))


class Images(Source):
    """PNG and JPEG files in a folder and those below it, brought to one size."""

    dtype = np.dtype("uint8")

    def __init__(self, paths, name=None, shape=None):
        self.paths = paths
        if shape is None:
            self.shape = self._first_size()
        else:
            given = checked_shape(shape)
            if len(given) not in (2, 3) or given[2:] not in ((), (1,), (3,), (4,)):
                raise ValueError(
                    "`shape` of images must be (height, width) or (height, width, channels) with 1, 3 or 4 channels. "
                    f"Received: shape={shape!r}"
                )
            self.shape = given if len(given) == 3 else (*given, self._first_size()[2])
        self._cut(len(paths))

    def _first_size(self):
        for path in self.paths:
            try:
                *size, channels = tf.io.decode_image(path.read_bytes(), expand_animations=False).shape
                return (*size, 1 if channels == 2 else channels)  # TensorFlow does not bring others to grey and alpha
            except (OSError, tf.errors.OpError):
                continue  # reading will name it
        raise ValueError(f"None of the {len(self.paths)} images in '{self.paths[0].parent}' can be read.")

    def read(self, block, bad):
        images = []
        for path in self.paths[slice(*self.runs[block])]:
            try:
                images.append(self._image(path))
            except (OSError, tf.errors.OpError):
                bad(str(path), "no readable image")
        return np.stack(images) if images else np.empty((0, *self.shape), self.dtype)

    def _image(self, path):
        image = tf.io.decode_image(path.read_bytes(), channels=self.shape[-1], expand_animations=False)
        if image.shape[:2] != self.shape[:2]:
            image = tf.image.resize(image, self.shape[:2], antialias=True)
            image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
        return image.numpy()


class Records(Source):
    """TFRecord files of `tf.train.Example`s: what `write_records` writes, encoded images, or lists of numbers."""

    def __init__(self, paths, name="x", shape=None):
        self.paths, self.name, self.offsets = paths, name, [_record_offsets(path) for path in paths]
        if not any(map(len, self.offsets)):
            raise ValueError(f"There are no records in {', '.join(map(str, paths[:3]))}.")
        self.given_shape = None if shape is None else checked_shape(shape)
        self.shape = self.dtype = None
        first = self._first()
        self.shape, self.dtype = first.shape, first.dtype
        blocks = [cut(len(offsets)) for offsets in self.offsets]
        self.blocks = [(shard, *run) for shard, runs in enumerate(blocks) for run in runs]
        self.sizes = np.array([last - first for _, first, last in self.blocks], "int64")

    def _first(self):
        """The first example that can be read, among some of each file."""
        failures = []
        for shard, offsets in enumerate(self.offsets):
            for number in range(min(len(offsets), _MOST_ROWS)):
                found = self._read_from(
                    shard, number, number + 1, lambda name, reason: failures.append(f"{name}: {reason}")
                )
                if len(found):
                    return found[0]
        raise ValueError(f"No record can be read. The first: {failures[0]}.")

    def read(self, block, bad):
        return self._read_from(*self.blocks[block], bad)

    def _read_from(self, shard, first, last, bad):
        rows, path = [], self.paths[shard]
        for number, record in _records(path, self.offsets[shard], first, last, bad):
            try:
                rows.append(self._parse(record))
            except BadExample as error:
                bad(f"{path}: record {number}", str(error))
        if not rows:
            return np.empty((0, *(self.shape or ())), self.dtype or "float32")
        return finite(np.stack(rows), lambda row: f"{path}: record {first + row}", bad)

    def _parse(self, record):
        try:
            features = tf.train.Example.FromString(record).features.feature
        except Exception as error:  # protobuf's own kinds differ between its implementations
            raise BadExample("no tf.train.Example") from error
        if self.name not in features:
            raise BadExample(f"no feature '{self.name}'; it has {', '.join(sorted(features)) or 'none'}")
        kind = features[self.name].WhichOneof("kind")
        values = getattr(features[self.name], kind).value if kind else ()
        if not len(values):
            raise BadExample(f"no values in '{self.name}'")
        row = self._from_bytes(values[0], features) if kind == "bytes_list" else np.array(values, "float32")
        shape = self.given_shape or row.shape
        if not row.size or row.size != np.prod(shape) or (self.shape is not None and tuple(shape) != tuple(self.shape)):
            raise BadExample(f"{row.size} values where {self.shape or shape} is expected")
        if self.dtype is not None and row.dtype != self.dtype:
            raise BadExample(f"{row.dtype} where {self.dtype} is expected")
        return row.reshape(shape)

    def _from_bytes(self, value, features):
        if value.startswith((b"\x89PNG", b"\xff\xd8")):
            try:
                return tf.io.decode_image(value, expand_animations=False).numpy()
            except tf.errors.OpError as error:
                raise BadExample("no readable image") from error
        try:
            dtype = np.dtype(features["dtype"].bytes_list.value[0].decode() if "dtype" in features else "uint8")
            row = np.frombuffer(value, dtype).astype(dtype.newbyteorder("="), copy=False)
        except (TypeError, ValueError, IndexError) as error:
            raise BadExample(f"{len(value)} bytes and a dtype that do not fit: {error}") from error
        if dtype.kind not in "uifb" or dtype.itemsize > 8:
            raise BadExample(f"values of dtype {dtype}, which are no numbers")
        shape = tuple(features["shape"].int64_list.value) if "shape" in features else row.shape
        if row.size != np.prod(shape):
            raise BadExample(f"{row.size} values where {list(shape)} is expected")
        return row.reshape(shape)


def cut(rows):
    """`rows` examples cut into blocks: a list of (first, last + 1)."""
    size = int(np.clip(rows // _LEAST_BLOCKS, 1, _MOST_ROWS))
    return [(first, min(first + size, rows)) for first in range(0, rows, size)]


def _record_offsets(path):
    """Where the records of a TFRecord file begin; the length of each stands before it."""
    offsets, size = [], path.stat().st_size
    with path.open("rb") as file:
        while (at := file.tell()) < size:
            header = file.read(12)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else size
            if at + 16 + length > size:
                raise ValueError(
                    f"'{path}' is cut short or no TFRecord file: record {len(offsets)} would end beyond the file. Copy or "
                    "write it again."
                )
            offsets.append(at)
            file.seek(length + 4, 1)
    return np.array(offsets, "int64")


def _records(path, offsets, first, last, bad):
    """(number, bytes) of records; those whose checksum is wrong are told to `bad`."""
    # TensorFlow's public readers begin at the beginning of a file. This one, which they are made of, checks the same
    # checksums and begins anywhere.
    reader = RandomRecordReader(str(path))
    for number in range(first, last):
        try:
            yield number, reader.read(int(offsets[number]))[0]
        except tf.errors.DataLossError:
            bad(f"{path}: record {number}", "its checksum is wrong")
        except IndexError:
            raise ValueError(f"'{path}' has become shorter since it was opened. Open the stream anew.") from None


def finite(rows, name, bad):
    """The rows without infinite values; NaN may mean missing."""
    if rows.dtype.kind != "f":
        return rows
    infinite = np.isinf(rows).any(axis=tuple(range(1, rows.ndim)))
    for row in np.flatnonzero(infinite):
        bad(name(row), "infinite values")
    return rows[~infinite] if infinite.any() else rows


class DataSet(Source):
    """A `tf.data.Dataset` of single examples. It has no blocks: it is gone through from its beginning."""

    def __init__(self, data, name=None, shape=None):
        refuse_shape("a data set", shape)
        spec, self.data = data.element_spec, data
        if not isinstance(spec, tf.TensorSpec) or spec.shape.rank is None or None in spec.shape or not spec.shape.rank:
            raise ValueError(
                "A data set must yield single examples x of a known shape, without batches and labels: see `unbatch` and "
                f"`map` of tf.data.Dataset. Received: elements {spec}."
            )
        self.shape, self.dtype = tuple(spec.shape), np.dtype(spec.dtype.as_numpy_dtype)
        if 0 in self.shape or self.dtype.kind not in "uifb":
            raise ValueError(f"A data set must yield numbers. Received: elements {spec}.")
        rows = int(data.cardinality())
        if rows == tf.data.INFINITE_CARDINALITY:
            raise ValueError(
                "A data set must come to an end, as one round of it is an epoch: see `take` of tf.data.Dataset."
            )
        if rows == tf.data.UNKNOWN_CARDINALITY:
            rows = int(data.reduce(tf.constant(0, tf.int64), lambda count, _: count + 1))
        if not rows:
            raise ValueError("The data set is empty: it yields no example.")
        self.num_rows = rows


def checked_shape(shape):
    """`shape` as a tuple of whole numbers of at least 1, else ValueError."""
    return tuple(
        checks.check_count("shape", each) for each in (shape if isinstance(shape, (tuple, list)) else (shape,))
    )


def refuse_shape(path, shape):
    """Raises where a shape is asked for that a kind of file cannot take."""
    if shape is not None:
        raise ValueError(f"`shape` is for images and TFRecord files: '{path}' has its own. Received: shape={shape!r}")
