"""Packages that some exports need and kvae itself does not."""

import importlib

from kvae.export.report import MissingExtraError


def require(extra, *modules):
    """Imports modules: a tuple of them.

    Args:
        extra: name of the extra that brings them, in `setup.py`.
        modules: their full names.

    Raises:
        MissingExtraError: with the line that installs them.

    Example:
        >>> (onnxruntime,) = require("onnx", "onnxruntime")
    """
    try:
        return tuple(map(importlib.import_module, modules))
    except ImportError as error:
        packages = ", ".join(name.partition(".")[0] for name in modules)
        raise MissingExtraError(
            f'This needs {packages}, which cannot be imported: {error}. Install them by: pip install "kvae[{extra}]".'
        ) from error


def available(*modules):
    """Whether modules can be imported."""
    try:
        require("", *modules)
    except MissingExtraError:
        return False
    return True
