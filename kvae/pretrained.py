"""Trained models: those that ship in `saved_models/` by name, and any other by path."""

import pathlib

import keras

HOME = pathlib.Path(__file__).resolve().parent.parent / "saved_models"


def names():
    """Names of the models that ship with a checkout, sorted; empty where kvae was installed without one."""
    return sorted(each.parent.name for each in HOME.glob("*/model.keras"))


def find(source):
    """The path of the `.keras` file that `load` reads; arguments and errors as there.

    A folder that holds no `model.keras`, such as an export that is called like the shipped model it is of, hides none.
    """
    path = pathlib.Path(source)
    for each in (path, path / "model.keras", HOME / path / "model.keras"):
        if each.is_file():
            return each
    known = f"shipped models are {', '.join(names())}" if names() else f"models ship in a checkout, in {HOME}"
    raise FileNotFoundError(f"There is no model '{source}': no such file or folder with a model.keras; {known}.")


def load(source):
    """A trained `kvae.VAE`.

    Args:
        source: name of a shipped model (see `names`), a `.keras` file, or a folder that holds `model.keras`, such as
            the output of `kvae train`.

    Returns:
        The model, compiled as it was saved.

    Raises:
        FileNotFoundError: when there is no such model; the message lists the names there are.
        ValueError: for a file that is damaged or holds another kind of model.

    Example:
        >>> vae = kvae.pretrained.load("digits_dense")
    """
    path = find(source)
    try:
        model = keras.models.load_model(path)
    except Exception as error:  # zipfile, h5py and Keras raise many kinds
        raise ValueError(f"'{path}' is no readable .keras file: {error}") from error
    if not hasattr(model, "likelihood"):
        raise ValueError(f"'{path}' holds a {type(model).__name__}, not a kvae model.")
    return model
