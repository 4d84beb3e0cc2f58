"""Trained models: those that ship in `saved_models/` by name, and any other by path."""

import pathlib

import keras

HOME = pathlib.Path(__file__).resolve().parent.parent / "saved_models"


def names():
    """Names of the models that ship with a checkout, sorted; empty where kvae was installed without one."""
    return sorted(each.parent.name for each in HOME.glob("*/model.keras"))


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
    path = pathlib.Path(source)
    if not path.exists() and (HOME / path / "model.keras").is_file():
        path = HOME / path
    if path.is_dir():
        path = path / "model.keras"
    if not path.is_file():
        known = f"shipped models are {', '.join(names())}" if names() else f"models ship in a checkout, in {HOME}"
        raise FileNotFoundError(f"There is no model '{source}': no such file or folder with a model.keras; {known}.")
    try:
        model = keras.models.load_model(path)
    except Exception as error:  # zipfile, h5py and Keras raise many kinds
        raise ValueError(f"'{path}' is no readable .keras file: {error}") from error
    if not hasattr(model, "likelihood"):
        raise ValueError(f"'{path}' holds a {type(model).__name__}, not a kvae model.")
    return model
