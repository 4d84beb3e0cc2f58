"""Data sets by name or from files, in float32."""

import os
import pathlib

import keras
import numpy as np

from kvae import checks
from kvae.data import files
from kvae.data.files import Data
from kvae.data.sprites import dsprites, sprites

# Data sets with known factors, of which `load` takes this many random examples for training and for test.
FACTORS = {"sprites": sprites, "dsprites": dsprites}
SUBSET = (20_000, 2_000)
NAMES = ("digits", "mnist", "fashion_mnist", *FACTORS)


def load(source):
    """A data set by name, or from a file.

    Args:
        source: "digits" (1,797 images of 8x8, part of scikit-learn), "mnist" or "fashion_mnist" (28x28; a file
            `mnist.npz` in `$KVAE_DATA_HOME`, else downloaded by `keras.datasets`), "sprites" or "dsprites" (64x64; 20,000
            random examples for training and 2,000 for test, labelled by shape); or the path of an `.npz` file (arrays
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
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"`source` must be a name or a path. Received: {type(source).__name__}. Arrays need no loading."
        )
    if source == "digits":
        return digits()
    if source in FACTORS:
        return FACTORS[source]().data(*SUBSET)
    if source in NAMES:
        return _named(source)
    path = pathlib.Path(source)
    if path.is_dir():
        return files.from_arrays({"x": files.read_images(path)}, path)
    read = files.READERS.get(path.suffix.lower())
    if read is None:
        raise ValueError(
            f"Unknown data set '{source}'.{checks.nearest(str(source), NAMES)} Known names: {', '.join(NAMES)}; or the path of "
            f"an {', '.join(files.READERS)} file or of a folder of images. Files of other kinds are for kvae.data.stream."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}'.")
    return files.from_arrays(read(path), path)


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


def _named(name):
    home = os.environ.get("KVAE_DATA_HOME")
    path = pathlib.Path(home or "", f"{name}.npz")
    if home and path.exists():
        return files.from_arrays(files.read_arrays(path), path)
    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # keras.utils.get_file raises a bare Exception
        raise ConnectionError(
            f"'{name}' could not be downloaded: {error}. Put a file {name}.npz with the arrays x_train, y_train, x_test and "
            "y_test into a folder and set KVAE_DATA_HOME to that folder."
            + (f" KVAE_DATA_HOME is {home}, where there is no {name}.npz." if home else "")
        ) from None
    return files.from_arrays({"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}, path)
