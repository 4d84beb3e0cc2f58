"""Files that are read block by block: what is on disk may be larger than memory."""

import glob
import pathlib
import struct
import zipfile

import numpy as np
import tensorflow as tf
from tensorflow.python.lib.io._pywrap_record_io import RandomRecordReader

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
        self.runs = _runs(rows)
        self.sizes = np.array([last - first for first, last in self.runs])


class ArrayFile(Source):
    """An `.npy` file, or an array of an `.npz` file that was not compressed. Read, not mapped: no page of it stays."""

    def __init__(self, path, name="x", **_):
        self.path, begin = path, 0
        with path.open("rb") as file:
            if path.suffix == ".npz":
                begin = _member(path, name)
                file.seek(begin)
            try:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, fortran, self.dtype = read(file)
            except ValueError as error:
                raise ValueError(f"'{path}' is no readable {path.suffix} file of a plain array: {error}") from None
            self.offset = file.tell()
        if fortran and len(shape) > 1:
            raise ValueError(f"'{path}' holds its array column by column. Save numpy.ascontiguousarray(x).")
        if len(shape) < 2 or self.dtype.kind not in "uifb":
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
            rows = np.frombuffer(file.read((last - first) * self.stride), self.dtype).reshape(-1, *self.shape)
        return _finite(rows, lambda row: f"{self.path}: example {first + row}", bad)


def _member(path, name):
    """Where an array of an `.npz` file begins."""
    with zipfile.ZipFile(path) as archive:
        names = {each.removesuffix(".npy") for each in archive.namelist()}
        chosen = name if name in names else f"{name}_train" if f"{name}_train" in names else None
        if chosen is None and len(names) == 1:
            (chosen,) = names
        if chosen is None:
            raise ValueError(f"'{path}' must hold an array {name}. Received: {', '.join(sorted(names))}.")
        info = archive.getinfo(f"{chosen}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(
            f"'{path}' is compressed, so it can only be read as a whole. Save it by numpy.savez or, best, numpy.save."
        )
    with path.open("rb") as file:  # the local header gives the length of the name and of the extra field
        file.seek(info.header_offset + 26)
        return info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))


class Images(Source):
    """PNG and JPEG files in a folder and those below it, brought to one size."""

    dtype = np.dtype("uint8")

    def __init__(self, paths, shape=None, **_):
        self.paths = paths
        given = tuple(shape or ())
        self.shape = given if len(given) == 3 else (*given, *self._first_size()[len(given) :])
        self._cut(len(paths))

    def _first_size(self):
        for path in self.paths:
            try:
                return tf.io.decode_image(path.read_bytes(), expand_animations=False).shape
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

    def __init__(self, paths, name="x", shape=None, **_):
        self.paths, self.name, self.offsets = paths, name, [_record_offsets(path) for path in paths]
        if not any(map(len, self.offsets)):
            raise ValueError(f"There are no records in {', '.join(map(str, paths[:3]))}.")
        self.given_shape = None if shape is None else tuple(shape)
        self.shape = self.dtype = None
        failures = []
        for shard in range(len(paths)):
            example = self._read_from(shard, 0, 1, lambda name, reason: failures.append(f"{name}: {reason}"))
            if len(example):
                self.shape, self.dtype = example.shape[1:], example.dtype
                break
        else:
            raise ValueError(f"No record can be read. The first: {failures[0]}.")
        blocks = [_runs(len(offsets)) for offsets in self.offsets]
        self.blocks = [(shard, *run) for shard, runs in enumerate(blocks) for run in runs]
        self.sizes = np.array([last - first for _, first, last in self.blocks])

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
        return _finite(np.stack(rows), lambda row: f"{path}: record {first + row}", bad)

    def _parse(self, record):
        try:
            features = tf.train.Example.FromString(record).features.feature
        except Exception as error:  # protobuf's own kinds differ between its implementations
            raise BadExample("no tf.train.Example") from error
        if self.name not in features:
            raise BadExample(f"no feature '{self.name}'; it has {', '.join(sorted(features)) or 'none'}")
        feature = features[self.name]
        kind = feature.WhichOneof("kind")
        if kind == "bytes_list":
            row = self._from_bytes(feature.bytes_list.value[0], features)
        else:
            row = np.array(getattr(feature, kind).value, "float32")
        shape = self.given_shape or row.shape
        if row.size != np.prod(shape) or (self.shape is not None and tuple(shape) != tuple(self.shape)):
            raise BadExample(f"{row.size} values where {self.shape or shape} is expected")
        return row.reshape(shape)

    def _from_bytes(self, value, features):
        if value.startswith((b"\x89PNG", b"\xff\xd8")):
            try:
                return tf.io.decode_image(value, expand_animations=False).numpy()
            except tf.errors.OpError as error:
                raise BadExample("no readable image") from error
        dtype = features["dtype"].bytes_list.value[0].decode() if "dtype" in features else "uint8"
        if len(value) % np.dtype(dtype).itemsize:
            raise BadExample(f"{len(value)} bytes, which is no number of {dtype}")
        row = np.frombuffer(value, dtype)
        shape = tuple(features["shape"].int64_list.value) if "shape" in features else row.shape
        if row.size != np.prod(shape):
            raise BadExample(f"{row.size} values where {list(shape)} is expected")
        return row.reshape(shape)


def _runs(rows):
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


class CSV(Source):
    """A table of numbers, one example in a row; cells that are empty become NaN."""

    dtype = np.dtype("float32")

    def __init__(self, path, **_):
        self.path = path
        self.edges, self.sizes, self.firsts = _line_blocks(path)
        with path.open("rb") as file:
            head = file.readline()
        try:
            width, self.skip = len(_numbers(head.decode())), 0
        except (ValueError, UnicodeDecodeError):
            width, self.skip = len(head.split(b",")), 1
            self.sizes = self.sizes.copy()
            self.sizes[0] -= 1
        self.shape = (width,)
        if self.sizes.sum() < 1:
            raise ValueError(f"'{path}' must hold rows of numbers. Received: none.")

    def read(self, block, bad):
        with self.path.open("rb") as file:
            file.seek(self.edges[block])
            lines = file.read(self.edges[block + 1] - self.edges[block]).decode(errors="replace").splitlines()
        rows = []
        for number, line in enumerate(lines, start=1):
            if (block == 0 and number <= self.skip) or not line:
                continue
            try:
                row = _numbers(line)
                if len(row) != self.shape[0]:
                    raise ValueError(f"{len(row)} cells where {self.shape[0]} are expected")
                rows.append(row)
            except ValueError as error:
                bad(f"{self.path}: row {self.firsts[block] + number}", str(error))
        return np.array(rows, "float32").reshape(-1, *self.shape)


def _numbers(line):
    return [float(cell) if cell.strip() else np.nan for cell in line.strip("\r\n").split(",")]


def _line_blocks(path, at_once=1 << 24):
    """(edges in bytes, lines in each block, lines before each block) of a text file cut into runs of whole lines."""
    ends, begin = [], 0
    with path.open("rb") as file:
        while chunk := file.read(at_once):
            ends.append(begin + 1 + np.flatnonzero(np.frombuffer(chunk, "uint8") == ord("\n")))
            begin += len(chunk)
    ends = np.concatenate([*ends, [begin]] if begin and (not len(ends[-1]) or ends[-1][-1] < begin) else ends or [[0]])
    runs = _runs(len(ends))
    edges = np.array([0, *(ends[last - 1] for _, last in runs)], "int64")
    return edges, np.array([last - first for first, last in runs]), np.array([first for first, _ in runs])


class Parquet(Source):
    """Parquet files, one example in a row: all numeric columns, or one column of lists. Needs pyarrow."""

    def __init__(self, paths, name=None, **_):
        try:
            import pyarrow.parquet
        except ImportError:
            raise ImportError('Parquet files need pyarrow: pip install "kvae[parquet]".') from None
        self.paths, self.dtype, self._open = paths, np.dtype("float32"), pyarrow.parquet.ParquetFile
        self.footers = []
        for path in paths:
            try:
                with self._open(path) as file:
                    schema = file.schema_arrow
                    self.footers.append(file.metadata)
            except (OSError, pyarrow.ArrowInvalid) as error:
                raise ValueError(f"'{path}' is no readable Parquet file: {error}") from None
        self.blocks = [(file, group) for file, each in enumerate(self.footers) for group in range(each.num_row_groups)]
        self.sizes = np.array([self.footers[file].row_group(group).num_rows for file, group in self.blocks])
        types, number = pyarrow.types, lambda kind: types.is_integer(kind) or types.is_floating(kind)
        lists = [each.name for each in schema if types.is_nested(each.type) and number(each.type.value_type)]
        self.columns = [name] if name in lists else [each.name for each in schema if number(each.type)] or lists[:1]
        if not self.columns or not len(self.blocks):
            raise ValueError(
                f"'{paths[0]}' must hold rows with columns of numbers. Received: {', '.join(schema.names)}."
            )
        self.shape = self._rows(0).shape[1:]

    def read(self, block, bad):
        path = self.paths[self.blocks[block][0]]
        before = int(self.sizes[:block].sum())
        return _finite(self._rows(block), lambda row: f"{path}: row {before + row} of all files", bad)

    def _rows(self, block):
        file, group = self.blocks[block]
        # Opened anew, because one that is open must not be read from two threads at a time.
        with self._open(self.paths[file], metadata=self.footers[file]) as opened:
            table = opened.read_row_group(group, columns=self.columns, use_threads=False)
        columns = [each.to_numpy() for each in table.columns]
        rows = np.stack(columns[0]) if columns[0].dtype == object else np.stack(columns, axis=-1)
        return rows.astype("float32")


def _finite(rows, name, bad):
    """The rows without infinite values; NaN may mean missing."""
    if rows.dtype.kind != "f":
        return rows
    infinite = np.isinf(rows).reshape(len(rows), -1).any(axis=1)
    for row in np.flatnonzero(infinite):
        bad(name(row), "infinite values")
    return rows[~infinite] if infinite.any() else rows


_IMAGES = (".png", ".jpg", ".jpeg")
_RECORDS = (".tfrecord", ".tfrecords")


def open_source(path, **options):
    """The `Source` of a file, a folder, or a pattern with `*`; one that is open already is given back."""
    if isinstance(path, Source):
        return path
    pattern = str(path)
    paths = (
        sorted(map(pathlib.Path, glob.glob(pattern, recursive=True)))
        if glob.has_magic(pattern)
        else [pathlib.Path(path)]
    )
    if not paths or not paths[0].exists():
        raise FileNotFoundError(f"There is nothing at '{path}'.")
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        paths = sorted(each for each in folder.rglob("*") if each.suffix.lower() in (*_IMAGES, *_RECORDS, ".parquet"))
        if not paths:
            raise ValueError(f"There are no images, TFRecord or Parquet files in the folder '{folder}'.")
    kinds = {_kind(each) for each in paths}
    if len(kinds) > 1 or None in kinds:
        raise ValueError(
            f"'{path}' must be an .npy, .npz, .csv, .tfrecord or .parquet file, or only images, TFRecord or Parquet files "
            f"in a folder. Received: {', '.join(sorted({each.suffix or each.name for each in paths}))}."
        )
    (kind,) = kinds
    if kind in (Images, Records, Parquet):
        return kind(paths, **options)
    if len(paths) > 1:
        raise ValueError(f"Only images, TFRecord and Parquet files can be many. Received: {len(paths)} of '{path}'.")
    return kind(paths[0], **options)


def _kind(path):
    suffix = path.suffix.lower()
    kinds = {".npy": ArrayFile, ".npz": ArrayFile, ".csv": CSV, ".parquet": Parquet}
    return Images if suffix in _IMAGES else Records if suffix in _RECORDS else kinds.get(suffix)
