"""Arrays out of files, and their cut into training and test rows."""

import csv
from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Data(NamedTuple):
    """A data set in memory.

    Attributes:
        x_train: float32 `[N, *data_shape]`; images in [0, 1].
        y_train: labels `[N]`, or None.
        x_test: float32 `[M, *data_shape]`.
        y_test: labels `[M]`, or None.
    """

    x_train: np.ndarray
    y_train: np.ndarray | None
    x_test: np.ndarray
    y_test: np.ndarray | None


def read_arrays(path):
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {"x": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except Exception as error:  # numpy and zipfile raise many kinds
        raise ValueError(f"'{path}' is no readable {path.suffix} file of plain arrays: {error}") from None


def read_table(path):
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets mark their files
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"'{path}' is no readable .csv file: {error}") from None
    names, table = [], []
    for number, row in enumerate(rows):
        try:
            table.append([float(cell) if cell.strip() else np.nan for cell in row])
        except ValueError as error:
            if number > 0:
                raise ValueError(f"'{path}' must hold numbers. Received in row {number + 1}: {error}") from None
            names = row
    widths = {len(row) for row in [names, *table] if row}
    if not table or len(widths) > 1:
        raise ValueError(
            f"'{path}' must hold rows of one length. Received: {len(table)} rows of lengths {sorted(widths)}."
        )
    return {"x": np.array(table, dtype="float32")}


def read_images(folder):
    paths = sorted(each for each in folder.rglob("*") if each.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not paths:
        raise ValueError(f"There are no .png or .jpg images in the folder '{folder}'.")
    images = []
    for path in paths:
        try:
            images.append(tf.io.decode_image(path.read_bytes(), expand_animations=False).numpy())
        except tf.errors.InvalidArgumentError:
            raise ValueError(f"'{path}' is no readable image.") from None
        if images[-1].shape != images[0].shape:
            raise ValueError(
                f"All images must have one size and number of channels. Received: {list(images[0].shape)} in '{paths[0]}' "
                f"and {list(images[-1].shape)} in '{path}'."
            )
    return np.stack(images)


READERS = {".npz": read_arrays, ".npy": read_arrays, ".csv": read_table}


def from_arrays(arrays, path):
    if "x_train" in arrays and "x_test" in arrays:
        x_train, x_test = (_scaled(arrays[name], path) for name in ("x_train", "x_test"))
        if x_train.shape[1:] != x_test.shape[1:]:
            raise ValueError(
                f"x_train and x_test in '{path}' must hold examples of one shape. "
                f"Received: {list(x_train.shape)} and {list(x_test.shape)}."
            )
        y_train, y_test = (
            _labels(arrays, name, len(x), path) for name, x in (("y_train", x_train), ("y_test", x_test))
        )
        return Data(x_train, y_train, x_test, y_test)
    if "x" not in arrays and "x_train" not in arrays and len(arrays) != 1:
        raise ValueError(
            f"'{path}' must hold arrays x_train and x_test, or one array x. Received: {', '.join(sorted(arrays)) or 'none'}."
        )
    name = "x" if "x" in arrays else "x_train" if "x_train" in arrays else next(iter(arrays))
    x = _scaled(arrays[name], path)
    y = _labels(arrays, {"x": "y", "x_train": "y_train"}.get(name), len(x), path)
    if len(x) < 2:
        raise ValueError(f"'{path}' must hold at least two examples. Received: {len(x)}.")
    order = np.random.default_rng(0).permutation(len(x))
    train, test = np.split(order, [len(x) - max(1, len(x) // 10)])
    labels = (None, None) if y is None else (y[train], y[test])
    return Data(x[train], labels[0], x[test], labels[1])


def _labels(arrays, name, count, path):
    """The labels of that name, one for each of `count` examples, or None where there are none."""
    y = arrays.get(name)
    if y is not None and y.shape[:1] != (count,):
        raise ValueError(
            f"{name} in '{path}' must have a label for each of the {count} examples. Received: shape {list(y.shape)}."
        )
    return y[:, 0] if y is not None and y.shape == (count, 1) else y


def _scaled(x, path):
    if x.ndim < 2 or x.dtype.kind not in "uifb":
        raise ValueError(
            f"'{path}' must hold numbers, one example per row. Received: an array of shape {list(x.shape)} and dtype {x.dtype}."
        )
    if x.dtype == np.uint8:
        x = x.astype("float32") / 255
    return np.asarray(x[..., None] if x.ndim == 3 else x, dtype="float32")
