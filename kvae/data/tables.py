"""Tables that are read block by block: CSV and Parquet."""

import csv
import itertools
import math

import numpy as np

from kvae.data.sources import Source, cut, finite, refuse_shape

# Parquet is read by its row groups, which are as large as its writer made them. One that is larger would not leave memory
# flat; files that have no more altogether are kept whole, and cut into smaller blocks.
_MOST_BYTES = 2**28


class CSV(Source):
    """A table of numbers, one example in a row; cells that are empty become NaN, and lines that are blank are no rows."""

    dtype = np.dtype("float32")

    def __init__(self, path, name=None, shape=None):
        refuse_shape(path, shape)
        self.path = path
        with path.open("rb") as file:
            lines = np.fromiter(
                ((len(line), not line.isspace()) for line in file), [("size", "int64"), ("row", "bool")]
            )
        runs = cut(len(lines))
        ends = np.cumsum(lines["size"])
        self.edges = np.array([0, *(ends[last - 1] for _, last in runs)], "int64")
        self.firsts = [first for first, _ in runs]
        rows = lines["row"].copy()
        if rows.any():
            self.header = int(rows.argmax())  # until it is seen to be a row
            with path.open("rb") as file:
                cells = _cells(next(itertools.islice(file, self.header, None)).decode(errors="replace"))
            try:
                list(map(_number, cells))
                self.header = -1
            except ValueError:
                rows[self.header] = False
        if not rows.any():
            raise ValueError(f"'{path}' must hold rows of numbers. Received: none.")
        self.shape = (len(cells),)
        self.sizes = np.array([np.count_nonzero(rows[first:last]) for first, last in runs], "int64")

    def read(self, block, bad):
        with self.path.open("rb") as file:
            file.seek(self.edges[block])
            lines = file.read(self.edges[block + 1] - self.edges[block]).decode(errors="replace").split("\n")
        rows = []
        for number, line in enumerate(lines, start=self.firsts[block]):
            if number == self.header or not line.strip():
                continue
            try:
                row = list(map(_number, _cells(line)))
                if len(row) != self.shape[0]:
                    raise ValueError(f"{len(row)} cells where {self.shape[0]} are expected")
                if any(map(math.isinf, row)):
                    raise ValueError("infinite values")
                rows.append(row)
            except ValueError as error:
                bad(f"{self.path}: row {number + 1}", str(error))
        return np.array(rows, "float32").reshape(-1, *self.shape)


def _cells(line):
    return next(csv.reader([line.strip("\ufeff\r\n")]))


def _number(cell):
    return float(cell) if cell.strip() else math.nan


class Parquet(Source):
    """Parquet files, one example in a row: all numeric columns, or one column of lists. Needs pyarrow."""

    dtype = np.dtype("float32")

    def __init__(self, paths, name="x", shape=None):
        try:
            import pyarrow.parquet
        except ImportError:
            raise ImportError('Parquet files need pyarrow: pip install "kvae[parquet]".') from None
        refuse_shape(paths[0], shape)
        self.paths, self._file, self.errors = paths, pyarrow.parquet.ParquetFile, (OSError, pyarrow.ArrowException)
        self.footers, schemas = [], []
        for path in paths:
            try:
                with self._file(path) as file:
                    schemas.append(file.schema_arrow)
                    self.footers.append(file.metadata)
            except self.errors as error:
                raise ValueError(f"'{path}' is no readable Parquet file: {error}") from None
        self.groups = [(file, group) for file, each in enumerate(self.footers) for group in range(each.num_row_groups)]
        self.sizes = np.array([self.footers[file].row_group(group).num_rows for file, group in self.groups], "int64")
        self.columns, self.is_list = _columns(pyarrow.types, schemas[0], name)
        if not self.columns or not self.sizes.sum():
            raise ValueError(
                f"'{paths[0]}' must hold rows with columns of numbers{'' if name == 'x' else f', or a column of lists {name}'}. "
                f"Received: {self.sizes.sum()} rows of {', '.join(schemas[0].names)}."
            )
        for path, schema in zip(paths, schemas, strict=True):
            if missing := [each for each in self.columns if each not in schema.names]:
                raise ValueError(f"'{path}' must have the columns of '{paths[0]}'. Received: one without {missing[0]}.")
        self.shape = (self._length() if self.is_list else len(self.columns),)
        self._keep()

    def _length(self):
        """Of the first list that is there."""
        for file, group in self.groups:
            with self._file(self.paths[file], metadata=self.footers[file]) as opened:
                for batch in opened.iter_batches(64, row_groups=[group], columns=self.columns, use_threads=False):
                    for each in batch.column(0).to_numpy(zero_copy_only=False):
                        if each is not None and len(each):
                            return len(each)
        raise ValueError(
            f"'{self.paths[0]}' must hold lists of numbers in the column {self.columns[0]}. All are empty."
        )

    def _keep(self):
        """Keeps all values of small files; else refuses row groups that do not fit into memory one beside the other."""
        width, self.kept = 4 * self.shape[0], None
        if self.sizes.max() * width > _MOST_BYTES:
            raise ValueError(
                f"'{self.paths[self.groups[self.sizes.argmax()][0]]}' has {self.sizes.max():,} rows in a row group, "
                f"{self.sizes.max() * width / 2**20:,.0f} MB, which would be in memory at once. Write it with smaller ones: "
                f"pyarrow.parquet.write_table(table, path, row_group_size={max(64, 2**24 // width)})."
            )
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)])
        self.files = np.cumsum([0, *(each.num_rows for each in self.footers)])
        if self.sizes.sum() * width <= _MOST_BYTES:
            try:
                self.kept = np.concatenate([self._values(*each) for each in self.groups])
            except self.errors:
                return  # the row group that is damaged is named when it is read
            self._cut(len(self.kept))
            self.starts = [first for first, _ in self.runs]

    def read(self, block, bad):
        first = self.starts[block]
        if self.kept is not None:
            return self._rows(self.kept[slice(*self.runs[block])], first, bad)
        file, group = self.groups[block]
        try:
            return self._rows(self._values(file, group), first, bad)
        except self.errors as error:
            bad(f"{self.paths[file]}: row group {group}", str(error))
            return np.empty((0, *self.shape), self.dtype)

    def _values(self, file, group):
        """What a row group holds: an array of the columns, or one of lists."""
        # Opened anew, because one that is open must not be read from two threads at a time.
        with self._file(self.paths[file], metadata=self.footers[file]) as opened:
            table = opened.read_row_group(group, columns=self.columns, use_threads=False)
        columns = [each.to_numpy() for each in table.columns]
        return columns[0] if self.is_list else np.stack(columns, axis=-1).astype("float32")

    def _rows(self, values, first, bad):
        def name(row):
            file = int(np.searchsorted(self.files, first + row, side="right")) - 1
            return f"{self.paths[file]}: row {first + row - self.files[file]}"

        if self.is_list:
            lengths = [0 if each is None else len(each) for each in values]
            for row in np.flatnonzero(np.not_equal(lengths, self.shape[0])):
                bad(name(row), f"{lengths[row]} values where {self.shape[0]} are expected")
            numbers = np.flatnonzero(np.equal(lengths, self.shape[0]))
            rows = np.array([values[row] for row in numbers], "float32").reshape(-1, *self.shape)
            return finite(rows, lambda row: name(numbers[row]), bad)
        return finite(values, name, bad)


def _columns(types, schema, name):
    """(names of the columns that make an example, whether it is one of lists)."""

    def is_number(kind):
        return types.is_integer(kind) or types.is_floating(kind)

    def is_list(kind):
        return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)

    lists = [each.name for each in schema if is_list(each.type) and is_number(each.type.value_type)]
    if name in lists:
        return [name], True
    if name != "x":
        return [], True
    numbers = [each.name for each in schema if is_number(each.type)]
    return (numbers, False) if numbers else (lists[:1], True)
