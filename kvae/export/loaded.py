"""Exported models, run again: numpy in, numpy out, without Keras taking part in the computation."""

import math

import numpy as np

from kvae import checks
from kvae.export import endpoints, manifest, outputs, runtimes
from kvae.export.quiet import quiet
from kvae.export.report import MissingExtraError

MARKER = "saved_model.pb"  # the file that makes a folder a SavedModel
SUFFIX = ".tflite"
ONNX_SUFFIX = ".onnx"
RUNTIMES = {
    "tflite": runtimes.TFLiteRuntime,
    "saved_model": runtimes.SavedModelRuntime,
    "onnx": runtimes.OnnxRuntime,
}


def load(path, precision=None, format=None, threads=1):
    """Loads what a function of `kvae.export` wrote. Only the runtime of its format is imported.

    Args:
        path: a `.tflite` or `.onnx` file, the folder of a SavedModel, or a bundle.
        precision: of a bundle, which: "float32" by default.
        format: of a bundle, "tflite" (the default), "saved_model" or "onnx". Of the files that fit, the one with the most
            signatures is taken; `Exported.path` tells which.
        threads: int, that TFLite and ONNX may use.

    Returns:
        `Exported`.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is no such folder or file, is damaged, decodes nothing, or a bundle has nothing that fits.
        MissingExtraError: for ONNX without onnxruntime.

    Example:
        >>> decoder = kvae.export.load("decoder.tflite")
        >>> decoder.decode(np.zeros([4, 16])).shape
        (4, 28, 28, 1)
        >>> kvae.export.load("out", precision="int8")
        <kvae.export.Exported 'out/litert/decoder_int8.tflite' with `decode`>
    """
    path = outputs.as_path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no '{path}' (looked for '{path.absolute()}'). Give the path of an export.")
    threads = checks.check_count("threads", threads)
    if manifest.is_bundle(path):
        path = manifest.choose(path, precision, format)
    elif precision is not None or format is not None:
        raise ValueError(
            f"`precision` and `format` choose among the files of a bundle. '{path}' is no bundle: it holds no "
            f"{manifest.NAME}."
        )
    kind = format_of(path)
    try:
        with quiet():
            runtime = RUNTIMES[kind](path, threads)
    except MissingExtraError:
        raise
    except Exception as error:  # each format has its own kinds, some of them private
        raise ValueError(_unreadable(path, error)) from error
    if not set(runtime.signatures) & set(endpoints.ENDPOINTS):
        raise ValueError(
            f"'{path}' has none of the signatures {_listed(endpoints.ENDPOINTS)}, so it was not exported by kvae. "
            f"It has: {_listed(runtime.signatures) or 'none'}. Give the path of an export of kvae."
        )
    return Exported(path, runtime)


def format_of(path):
    """The format of an export, by what it is: "tflite", "onnx" or "saved_model".

    Raises:
        ValueError: if it is none of them.
    """
    if path.is_dir() and not (path / MARKER).exists():
        raise ValueError(
            f"The folder '{path}' holds no {MARKER} and no {manifest.NAME}, so it is no SavedModel and no bundle. Give the "
            "folder that kvae.export.saved_model or kvae.export.bundle wrote."
        )
    if path.is_dir():
        return "saved_model"
    suffixes = {SUFFIX: "tflite", ONNX_SUFFIX: "onnx"}
    if path.suffix not in suffixes:
        raise ValueError(
            f"`path` must be a bundle, the folder of a SavedModel, a {SUFFIX} file or a {ONNX_SUFFIX} file. "
            f"Received: '{path}'. Whole Keras models are loaded by keras.models.load_model."
        )
    return suffixes[path.suffix]


def _unreadable(path, error):
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"'{path}' cannot be read: it is damaged, incomplete or of another make. The reason given was: {reason} "
        "Copy it again, or export it again."
    )


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

    def dtype(self, name, key):
        """The name of the numpy type of an input or output of a function, such as "float32"."""
        return np.dtype(self._runtime.dtypes[name][key]).name

    def decode(self, z, seed=None):
        """E[x|z] `[..., *data_shape]` of z `[..., D]`; of the pair (z, c) for a conditional model.

        What else the export tells of p(x|z), if it was made so: its parameters, or a draw for the seed.

        Raises:
            ValueError: when the last axis of z is not `latent_dim` wide.
        """
        z, condition = self._split("decode", z, "z")
        width = self.signatures["decode"]["inputs"]["z"][-1]
        if z.ndim == 0 or z.shape[-1] != width:
            raise ValueError(f"`z` must have shape [..., {width}]. Received: {list(z.shape)}.")
        leading = z.shape[:-1]
        arrays = self._with_condition("decode", {"z": z.reshape(-1, width)}, condition, leading)
        x = _data(self.run("decode", **arrays, **self._address("decode", seed)))
        return x.reshape(*leading, *x.shape[1:])

    def encode(self, x):
        """The posterior of x `[N, *data_shape]` or (x, c): a dict of its "mean" and, where known, "stddev", `[N, D]`."""
        return self._run_on_data("encode", x)

    def reconstruct(self, x, seed=None):
        """E[x | z = E[z|x]] `[N, *data_shape]` of x `[N, *data_shape]` or (x, c); or what else, as for `decode`."""
        return _data(self._run_on_data("reconstruct", x, **self._address("reconstruct", seed)))

    def sample(self, seed, n, condition=None):
        """Draws `[n, *data_shape]`, those that `vae.sample(n, seed=seed, condition=condition)` gives."""
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"`n` must be an int of at least 1. Received: n={n!r}")
        arrays = self._with_condition("sample", {}, condition, (n,))
        return _data(self._samples(seed, n, arrays))

    def score(self, x, seed=0):
        """A bound on log p(x) `[N]` of x `[N, *data_shape]` or (x, c), in nats: the ELBO with one draw of z for each."""
        return self._run_on_data("score", x, **self._address("score", seed))["elbo"]

    def run(self, name, **inputs):
        """The outputs of a signature, a dict of numpy arrays, by the names and shapes in `signatures`.

        Raises:
            ValueError: if there is no such signature, or its inputs have other names or shapes.
        """
        shapes = self._inputs(name)
        if set(inputs) != set(shapes):
            raise ValueError(f"`{name}` takes the inputs {_listed(shapes)}. Received: {_listed(inputs) or 'none'}.")
        arrays = {key: _cast(key, inputs[key], self._runtime.dtypes[name][key]) for key in shapes}
        for key, shape in shapes.items():
            given = arrays[key].shape
            if len(given) != len(shape) or given[1:] != shape[1:]:
                wanted = ", ".join(map(str, ["batch", *shape[1:]] if shape else []))
                raise ValueError(f"`{key}` must have shape [{wanted}] for `{name}`. Received: {list(given)}.")
        rows = {each.shape[0] for each in arrays.values() if each.ndim}
        if len(rows) > 1:
            given = ", ".join(f"`{key}` {len(each)}" for key, each in arrays.items() if each.ndim)
            raise ValueError(f"`{name}` needs equally many rows of all its inputs. Received: {given}.")
        if rows == {0}:  # for which some kernels give another shape
            shapes, dtypes = self.signatures[name]["outputs"], self._runtime.dtypes[name]
            return {key: np.empty((0, *shape[1:]), dtypes[key]) for key, shape in shapes.items()}
        return self._runtime.run(name, arrays)

    def _samples(self, seed, n, conditions):
        seed = _as_int32(seed)
        if "n" in self._inputs("sample"):
            return self.run("sample", seed=seed, n=n, **conditions)
        # One row at a time: row i of a whole sample is stream i.
        rows = [
            self.run("sample", seed=seed, stream=row, **{key: each[row : row + 1] for key, each in conditions.items()})
            for row in range(n)
        ]
        return {key: np.concatenate([each[key] for each in rows]) for key in rows[0]}

    def _run_on_data(self, name, x, **others):
        x, condition = self._split(name, x, "x")
        return self.run(name, **self._with_condition(name, {"x": x}, condition, x.shape[:1]), **others)

    def _address(self, name, seed):
        """Where the noise comes from, for functions that draw: the seed, and the first row."""
        inputs = self._inputs(name)
        if ("seed" in inputs) != (seed is not None):
            raise ValueError(f"`{name}` {'needs a' if 'seed' in inputs else 'takes no'} seed. Received: seed={seed!r}")
        given = {} if seed is None else {"seed": _as_int32(seed), "stream": 0}
        return {key: value for key, value in given.items() if key in inputs}

    def _inputs(self, name):
        if name not in self.signatures:
            raise ValueError(
                f"'{self.path}' has no signature `{name}`. It has: {_listed(self.signatures)}. "
                "kvae.export.saved_model writes all of them, and load(bundle, format='saved_model') takes it from a bundle."
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


def _data(outputs):
    """What is told of p(x|z): the one output that is about x."""
    (key,) = set(outputs) & {"x_mean", "x_params", "x"}
    return outputs[key]


def _cast(name, values, dtype):
    values = np.asarray(values)
    with np.errstate(invalid="ignore"):  # NaN among them is refused below
        cast = values.astype(dtype)
    if cast.dtype.kind in "iu" and not np.array_equal(values, cast):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        raise ValueError(
            f"`{name}` must hold whole numbers from {low} to {high}. Received: {values.dtype} values of others."
        )
    return cast


def _as_int32(seed):
    return np.uint32(checks.check_seed(seed) & 0xFFFFFFFF).view(np.int32)


def _listed(names):
    return ", ".join(f"`{name}`" for name in names)
