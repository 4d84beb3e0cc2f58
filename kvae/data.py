"""Data by name or from files, in float32, and binarisation."""

import csv
import os
import pathlib
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kvae import checks, inputs

NAMES = ("digits", "mnist", "fashion_mnist")


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


def load(source):
    """A data set by name, or from a file.

    Args:
        source: "digits" (1,797 images of 8x8, part of scikit-learn), "mnist" or "fashion_mnist" (28x28; a file
            `mnist.npz` in `$KVAE_DATA_HOME`, else downloaded by `keras.datasets`); or the path of an `.npz` file (arrays
            `x_train`, `x_test`, optionally `y_train`, `y_test`; or one array `x`), of an `.npy` file, of a `.csv` file of
            numbers (with or without a line of names), or of a folder of PNG or JPEG images of one size.

    Returns:
        `Data`. Images of dtype uint8 are divided by 255 and get a channel axis. Where a file has no test rows, a tenth
        is set aside at random, the same rows each time.

    Raises:
        ValueError: for an unknown name or a file that is damaged or of another kind.
        FileNotFoundError: for a file that is not there.
        ConnectionError: when a download fails; the message says where to put the file.

    Example:
        >>> data = kvae.data.load("digits")
        >>> data.x_train.shape, data.x_test.shape
        ((1500, 8, 8, 1), (297, 8, 8, 1))
    """
    if source == "digits":
        return digits()
    if source in NAMES:
        return _named(source)
    path = pathlib.Path(source)
    if path.is_dir():
        return _from_arrays({"x": _read_images(path)}, path)
    if path.suffix not in _READERS:
        raise ValueError(
            f"Unknown data set '{source}'. Known names: {', '.join(NAMES)}; or the path of an {', '.join(_READERS)} file or "
            "of a folder of images."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}'.")
    return _from_arrays(_READERS[path.suffix](path), path)


def digits():
    """The 8x8 digits that come with scikit-learn: 1,500 for training and 297 for test, values k/16 in [0, 1]."""
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x, y = images[order].reshape(-1, 8, 8, 1).astype("float32") / 16, labels[order]
    return Data(x[:1500], y[:1500], x[1500:], y[1500:])


def mnist():
    """MNIST: 60,000 and 10,000 images `[28, 28, 1]` in [0, 1]; see `load`."""
    return _named("mnist")


def fashion_mnist():
    """Fashion-MNIST: 60,000 and 10,000 images `[28, 28, 1]` in [0, 1]; see `load`."""
    return _named("fashion_mnist")


def binarize(x, seed=0):
    """Draws each value from Bernoulli(x): black-and-white data whose mean is x.

    Args:
        x: array in [0, 1].
        seed: int.

    Returns:
        float32 array of zeros and ones, of the shape of x.

    Raises:
        ValueError: for values outside [0, 1].

    Example:
        >>> x_test = kvae.data.binarize(data.x_test, seed=777)
    """
    x = _unit_interval(x)
    return (np.random.default_rng(seed).random(x.shape, dtype="float32") < x).astype("float32")


def dynamic_binarization(x, batch_size=128, seed=0, shuffle=True, condition=None):
    """Batches of x drawn anew from Bernoulli(x) in every epoch, the usual way to train on grey images of digits.

    Reference: Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks", section 6.

    Args:
        x: array `[N, ...]` in [0, 1].
        batch_size: int.
        seed: int; the same seed gives the same sequence of epochs.
        shuffle: whether each epoch has an order of its own.
        condition: optional array `[N, ...]`, for conditional models.

    Returns:
        `tf.data.Dataset` of float32 batches x, or ((x, condition),).

    Raises:
        ValueError: for values outside [0, 1].

    Example:
        >>> vae.fit(kvae.data.dynamic_binarization(data.x_train, batch_size=128), epochs=20)
    """

    def draw(batch, key, number):
        mean, *rest = batch
        uniform = tf.random.stateless_uniform(tf.shape(mean), seed=[key, number])
        x = tf.cast(uniform < mean, tf.float32)
        return ((x, *rest),) if rest else x

    arrays = (_unit_interval(x),) if condition is None else (_unit_interval(x), np.asarray(condition))
    keys = tf.data.Dataset.random(seed=checks.check_seed(seed), rerandomize_each_iteration=True).take(1)
    return inputs.batches(arrays, batch_size, seed, keys, shuffle, draw)


def _unit_interval(x):
    x = np.asarray(x)
    checks.check_values(x)
    if x.min() < 0 or x.max() > 1:
        raise ValueError(
            f"`x` must lie in [0, 1] to be binarised. Received: values from {x.min():g} to {x.max():g} of dtype {x.dtype}. "
            "For images of 0 to 255: x.astype('float32') / 255."
        )
    return x


def _named(name):
    home = os.environ.get("KVAE_DATA_HOME")
    path = pathlib.Path(home or "", f"{name}.npz")
    if home and path.exists():
        return _from_arrays(_read_arrays(path), path)
    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # keras.utils.get_file raises a bare Exception
        raise ConnectionError(
            f"'{name}' could not be downloaded: {error}. Put a file {name}.npz with the arrays x_train, y_train, x_test and "
            "y_test into a folder and set KVAE_DATA_HOME to that folder."
            + (f" KVAE_DATA_HOME is {home}, where there is no {name}.npz." if home else "")
        ) from None
    return _from_arrays({"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}, path)


def _read_arrays(path):
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {"x": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except Exception as error:  # numpy and zipfile raise many kinds
        raise ValueError(f"'{path}' is no readable {path.suffix} file of plain arrays: {error}") from None


def _read_table(path):
    try:
        with path.open(newline="", encoding="utf-8") as file:
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


def _read_images(folder):
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


_READERS = {".npz": _read_arrays, ".npy": _read_arrays, ".csv": _read_table}


def _from_arrays(arrays, path):
    if "x_train" in arrays and "x_test" in arrays:
        x_train, x_test = (_scaled(arrays[name], path) for name in ("x_train", "x_test"))
        return Data(x_train, arrays.get("y_train"), x_test, arrays.get("y_test"))
    if "x" not in arrays and "x_train" not in arrays and len(arrays) != 1:
        raise ValueError(
            f"'{path}' must hold arrays x_train and x_test, or one array x. Received: {', '.join(sorted(arrays)) or 'none'}."
        )
    name = "x" if "x" in arrays else "x_train" if "x_train" in arrays else next(iter(arrays))
    x, y = _scaled(arrays[name], path), arrays.get(name.replace("x", "y", 1)) if name != "y" else None
    if len(x) < 2:
        raise ValueError(f"'{path}' must hold at least two examples. Received: {len(x)}.")
    order = np.random.default_rng(0).permutation(len(x))
    train, test = np.split(order, [len(x) - max(1, len(x) // 10)])
    labels = (None, None) if y is None else (y[train], y[test])
    return Data(x[train], labels[0], x[test], labels[1])


def _scaled(x, path):
    if x.ndim < 2 or x.dtype.kind not in "uifb":
        raise ValueError(
            f"'{path}' must hold numbers, one example per row. Received: an array of shape {list(x.shape)} and dtype {x.dtype}."
        )
    if x.dtype == np.uint8:
        x = x.astype("float32") / 255
    return np.asarray(x[..., None] if x.ndim == 3 else x, dtype="float32")
