"""Exported models, run again: numpy in, numpy out, without Keras taking part in the computation."""

import math

import numpy as np

from kvae import checks
from kvae.export import outputs, runtimes
from kvae.export.quiet import quiet

MARKER = "saved_model.pb"  # the file that makes a folder a SavedModel
SUFFIX = ".tflite"


def load(path):
    """Loads what `kvae.export.saved_model` or `kvae.export.tflite` wrote.

    Args:
        path: folder of a SavedModel, or `.tflite` file.

    Returns:
        `Exported`.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is no such folder or file, is damaged, or decodes nothing.

    Example:
        >>> decoder = kvae.export.load("decoder.tflite")
        >>> decoder.decode(np.zeros([4, 16])).shape
        (4, 28, 28, 1)
    """
    path = outputs.as_path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no '{path}' (looked for '{path.absolute()}'). Give the path of an export.")
    if path.is_dir() and not (path / MARKER).exists():
        raise ValueError(
            f"The folder '{path}' holds no {MARKER}, so it is no SavedModel. Give the folder that "
            "kvae.export.saved_model wrote."
        )
    if not path.is_dir() and path.suffix != SUFFIX:
        raise ValueError(
            f"`path` must be the folder of a SavedModel or a {SUFFIX} file. Received: '{path}'. Whole Keras models are "
            "loaded by keras.models.load_model."
        )
    try:
        with quiet():
            runtime = (runtimes.SavedModelRuntime if path.is_dir() else runtimes.TFLiteRuntime)(path)
    except Exception as error:  # each format has its own kinds, some of them private
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"'{path}' cannot be read: it is damaged, incomplete or of another make. The reason given was: {reason} "
            "Copy it again, or export it again."
        ) from error
    if "decode" not in runtime.signatures:
        raise ValueError(
            f"'{path}' has no signature `decode`, so it was not exported by kvae. "
            f"It has: {_listed(runtime.signatures)}. Give the path of an export of kvae."
        )
    return Exported(path, runtime)


class Exported:
    """An exported model; made by `kvae.export.load`. Not to be called from several threads at once.

    Attributes:
        path: where it was loaded from.
        signatures: dict from the name of each function to its "inputs" and "outputs", dicts of shapes, with None for
            any number of rows. A file for a fixed number of rows is run as often as it takes.

    Example:
        >>> exported = kvae.export.load("saved")
        >>> exported.signatures["decode"]
        {'inputs': {'z': (None, 16)}, 'outputs': {'x_mean': (None, 28, 28, 1)}}
        >>> exported.sample(seed=1, n=16).shape
        (16, 28, 28, 1)
    """

    def __init__(self, path, runtime):
        self.path = path
        self.signatures = runtime.signatures
        self._runtime = runtime

    def __repr__(self):
        return f"<kvae.export.Exported '{self.path}' with {_listed(self.signatures)}>"

    def decode(self, z):
        """E[x|z] `[..., *data_shape]` of z `[..., D]`; of the pair (z, c) for a conditional model.

        Raises:
            ValueError: when the last axis of z is not `latent_dim` wide.
        """
        z, condition = self._split("decode", z, "z")
        width = self.signatures["decode"]["inputs"]["z"][-1]
        if z.ndim == 0 or z.shape[-1] != width:
            raise ValueError(f"`z` must have shape [..., {width}]. Received: {list(z.shape)}.")
        leading = z.shape[:-1]
        arrays = self._with_condition("decode", {"z": z.reshape(-1, width)}, condition, leading)
        x_mean = self.run("decode", **arrays)["x_mean"]
        return x_mean.reshape(*leading, *x_mean.shape[1:])

    def encode(self, x):
        """The posterior of x `[N, *data_shape]` or (x, c): a dict of its "mean" and, where known, "stddev", `[N, D]`."""
        return self._run_on_data("encode", x)

    def reconstruct(self, x):
        """E[x | z = E[z|x]] `[N, *data_shape]` of x `[N, *data_shape]` or (x, c)."""
        return self._run_on_data("reconstruct", x)["x_mean"]

    def sample(self, seed, n, condition=None):
        """Draws `[n, *data_shape]`, those that `vae.sample(n, seed=seed, condition=condition)` gives."""
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"`n` must be an int of at least 1. Received: n={n!r}")
        seed = np.uint32(checks.check_seed(seed) & 0xFFFFFFFF).view(np.int32)
        arrays = self._with_condition("sample", {"seed": seed, "n": n}, condition, (n,))
        return self.run("sample", **arrays)["x_mean"]

    def run(self, name, **inputs):
        """The outputs of a signature, a dict of numpy arrays, by the names and shapes in `signatures`.

        Raises:
            ValueError: if there is no such signature, or its inputs have other names or shapes.
        """
        shapes = self._inputs(name)
        if set(inputs) != set(shapes):
            raise ValueError(f"`{name}` takes the inputs {_listed(shapes)}. Received: {_listed(inputs) or 'none'}.")
        arrays = {key: np.asarray(inputs[key], self._runtime.dtypes[name][key]) for key in shapes}
        for key, shape in shapes.items():
            given = arrays[key].shape
            if len(given) != len(shape) or given[1:] != shape[1:]:
                wanted = ", ".join(map(str, ["batch", *shape[1:]] if shape else []))
                raise ValueError(f"`{key}` must have shape [{wanted}] for `{name}`. Received: {list(given)}.")
        rows = {each.shape[0] for each in arrays.values() if each.ndim}
        if rows == {0}:  # for which some kernels give another shape
            shapes = self.signatures[name]["outputs"]
            return {key: np.empty((0, *shape[1:]), "float32") for key, shape in shapes.items()}
        return self._runtime.run(name, arrays)

    def _run_on_data(self, name, x):
        x, condition = self._split(name, x, "x")
        return self.run(name, **self._with_condition(name, {"x": x}, condition, x.shape[:1]))

    def _inputs(self, name):
        if name not in self.signatures:
            raise ValueError(
                f"'{self.path}' has no signature `{name}`. It has: {_listed(self.signatures)}. "
                "kvae.export.saved_model writes all of them."
            )
        return self.signatures[name]["inputs"]

    def _split(self, name, values, key):
        """(values, condition or None) as float32 arrays."""
        if "c" not in self._inputs(name):
            return np.asarray(values, "float32"), None
        if not isinstance(values, (list, tuple)) or len(values) != 2:
            raise ValueError(f"A conditional model takes the pair ({key}, c). Received: {type(values).__name__}.")
        return tuple(np.asarray(each, "float32") for each in values)

    def _with_condition(self, name, arrays, condition, leading):
        """`arrays` and, for a conditional model, one condition for each row."""
        inputs = self._inputs(name)
        if ("c" in inputs) != (condition is not None):
            needs = f"needs a condition of shape {list(inputs['c'][1:])}" if "c" in inputs else "takes no condition"
            raise ValueError(f"The model {needs}. Received: condition={condition!r}.")
        if condition is None:
            return arrays
        shape, condition = inputs["c"][1:], np.asarray(condition, "float32")
        try:
            rows = np.broadcast_to(condition, (*leading, *shape))
        except ValueError:
            raise ValueError(
                f"`c` must have shape {[*leading, *shape]}, or {list(shape)} for all. Received: {list(condition.shape)}."
            ) from None
        return {**arrays, "c": rows.reshape(math.prod(leading), *shape)}


def _listed(names):
    return ", ".join(f"`{name}`" for name in names)
