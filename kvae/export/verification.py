"""Whether an export is what it was when it was made, and computes what it should: without the Keras model."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf

from kvae import random
from kvae.export import flatbuffer, golden, loaded, manifest, outputs, parity
from kvae.export.benchmark import ratio, reason
from kvae.export.extras import available
from kvae.export.report import DamageError, LatencyError, ParityError, ReloadError, SamplerError, StructureError

# Slower than this many times float32, an int8 file has lost its fast kernels; noise of the machine is less.
MAX_INT8_RATIO = 5.0
# Between samplers: a unit in the last place of 4 is 5e-7, and log, sqrt and cos of two libraries differ by a few.
SAMPLER_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that was found to be right: its name, and what was seen."""

    name: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Verification:
    """All checks of an export, in order; printed one to a line."""

    path: pathlib.Path
    checks: tuple

    def __str__(self):
        width = max(len(each.name) for each in self.checks)
        lines = [f"  {each.name:{width}}  {each.detail}" for each in self.checks]
        return "\n".join([f"{self.path}: verified", *lines])


def verify(path):
    """Checks an export, from wherever it was copied, without the Keras model that it came from.

    Of a bundle, in this order: that no file is missing, changed or exchanged and the manifest was not edited; structure and
    size; operations and their versions; that every model runs at 64 draws from the prior, at zero and at +-3, to finite
    values; that it agrees with the golden vectors of the Keras model, and with the SavedModel at the draws; known answers
    of the random numbers; that the SavedModel runs in a process without Keras and kvae; and that int8 is not more than
    5 times slower than float32. ONNX files are left out where onnxruntime is not installed, and the report says so.

    Of a single export: structure, that it runs to finite values, and the process without Keras.

    Args:
        path: a bundle, a `.tflite` or `.onnx` file, or the folder of a SavedModel.

    Returns:
        `Verification`, what was checked.

    Raises:
        FileNotFoundError: if there is nothing.
        DamageError: names the files that are missing or changed, or what was edited.
        StructureError: other signatures, shapes, operations or sizes than recorded, or what GPU delegates refuse.
        ParityError: values that are not finite, or too far off.
        SamplerError, ReloadError, LatencyError: what their names say.

    Example:
        >>> print(kvae.export.verify("out"))
    """
    path = outputs.as_path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no '{path}' (looked for '{path.absolute()}'). Give the path of an export.")
    if path.is_dir() and not (path / loaded.MARKER).exists():
        return Verification(path, tuple(_checks_of_bundle(path, manifest.read(path))))
    return Verification(path, tuple(_checks_of_file(path)))


def _checks_of_bundle(path, content):
    yield Check("files", _check_files(path, content["files"]))
    models = {name: each for name, each in content["models"].items() if _can_run(each["format"])}
    exported = {name: _load(path / name) for name in models}
    yield Check("structure", _check_structure(path, models, exported))
    yield Check("operations", _check_operations(path, models))
    vectors = golden.read(path / "golden")
    yield Check("golden vectors", _check_golden(models, exported, vectors, content["parity_scale"]))
    yield Check("64 prior draws, 0, +-3", _check_draws(models, exported, vectors, content["parity_scale"]))
    yield Check("sampler", _check_sampler(exported, vectors, content["random"]))
    for name, each in models.items():
        if each["format"] == "saved_model":
            yield Check("without Keras", check_reload(path / name, vectors))
    yield Check("onnxruntime", _onnx_detail(content["models"], models))
    yield Check("latency", _check_latency(models, exported))


def _checks_of_file(path):
    exported = _load(path)
    kind = loaded.format_of(path)
    if kind == "tflite":
        flatbuffer.check_structure(path.read_bytes())
    yield Check("structure", f"{kind} with {', '.join(exported.signatures)}")
    if "decode" in exported.signatures:
        shapes = exported.signatures["decode"]["inputs"]
        z = _with_corners(random.normal(golden.SEED, tf.range(parity.NUM_DRAWS), 0, shapes["z"][-1]).numpy())
        others = {key: _zeros(shape, z) for key, shape in shapes.items() if key != "z"}
        for values in exported.run("decode", z=z, **others).values():
            _check_finite(path.name, values)
        yield Check("decode", f"finite at {len(z)} z")
    if kind == "saved_model":
        yield Check("without Keras", check_reload(path))


def _check_files(path, files):
    """Raises `DamageError` that names every file that is not as it was."""
    present = manifest.listing(path)
    owners = {each["sha256"]: name for name, each in files.items()}
    problems = []
    for name, recorded in files.items():
        found = present.get(name)
        if found is None:
            problems.append(f"{name} is missing")
        elif found["sha256"] == recorded["sha256"]:
            continue
        elif found["sha256"] in owners:
            problems.append(f"{name} was exchanged: it is {owners[found['sha256']]}")
        elif found["bytes"] != recorded["bytes"]:
            problems.append(f"{name} has {found['bytes']} bytes instead of {recorded['bytes']}")
        else:
            problems.append(f"{name} was changed: same size, other bytes")
    if problems:
        raise DamageError(f"The bundle '{path}' is damaged: {'; '.join(problems)}. Copy it again, or export it again.")
    return f"{len(files)} files, {sum(each['bytes'] for each in files.values()) / 1000:,.0f} kB, as they were written"


def _can_run(kind):
    return kind != "onnx" or available("onnxruntime")


def _load(path):
    try:
        return loaded.load(path)
    except ValueError as error:
        raise DamageError(str(error)) from error


def _check_structure(path, models, exported):
    for name, recorded in models.items():
        found = signatures(exported[name])
        expected = {
            key: {side: {each: tensor["shape"] for each, tensor in tensors.items()} for side, tensors in sides.items()}
            for key, sides in recorded["signatures"].items()
        }
        if found != expected:
            raise StructureError(f"{name} has other signatures than recorded: {found} instead of {expected}.")
        if recorded["format"] == "tflite":
            flatbuffer.check_structure(
                (path / name).read_bytes(), recorded["num_weights"], recorded["bytes_per_weight"]
            )
        if outputs.size(path / name) != recorded["bytes"]:
            raise StructureError(f"{name} has {outputs.size(path / name)} bytes instead of {recorded['bytes']}.")
    return f"{len(models)} models of the recorded signatures and sizes"


def signatures(exported):
    """The shapes of an export's signatures, as JSON has them."""
    return {
        name: {side: {key: list(shape) for key, shape in tensors.items()} for side, tensors in sides.items()}
        for name, sides in exported.signatures.items()
    }


def _check_operations(path, models):
    kinds = set()
    for name, recorded in models.items():
        if recorded["format"] == "tflite":
            found = [
                [each.name, each.version, each.count] for each in flatbuffer.operations((path / name).read_bytes())
            ]
            if found != recorded["operations"]:
                raise StructureError(f"{name} has the operations {found} instead of {recorded['operations']}.")
            kinds |= {(each[0], each[1]) for each in found}
    return ", ".join(f"{name} {version}" for name, version in sorted(kinds))


def _check_golden(models, exported, vectors, scale):
    inputs, details = {key: vectors[key] for key in ("z", "c") if key in vectors}, []
    for name, recorded in models.items():
        if "decode" in exported[name].signatures:
            x_mean = exported[name].run("decode", **inputs)["x_mean"]
            # The ratio that was asked for is that of all probes, not of these few.
            largest = {**recorded, "min_psnr": None}
            details.append(_compare(name, largest, x_mean, vectors["x_mean"], scale, "the golden vectors"))
    return "largest errors " + ", ".join(details)


def _check_draws(models, exported, vectors, scale):
    """All models against the SavedModel, or the first in float32 where there is none."""
    decoders = [name for name in models if "decode" in exported[name].signatures]
    first = min(
        decoders, key=lambda name: (models[name]["format"] != "saved_model", models[name]["precision"] != "float32")
    )
    inputs = _draws(exported[first], vectors)
    reference = exported[first].run("decode", **inputs)["x_mean"]
    _check_finite(first, reference)
    details = [
        _compare(name, models[name], exported[name].run("decode", **inputs)["x_mean"], reference, scale, first)
        for name in decoders
        if name != first
    ]
    return f"largest differences from {first} " + ", ".join(details)


def _draws(exported, vectors):
    """z `[67, D]`, and c where there is one."""
    count = parity.NUM_DRAWS
    conditions = {} if "c" not in vectors else {"c": np.resize(vectors["c"], (count, *vectors["c"].shape[1:]))}
    if "sample" in exported.signatures and "n" in exported.signatures["sample"]["inputs"]:
        z = exported.run("sample", seed=golden.SEED, n=count, **conditions)["z"]
    else:
        z = np.resize(vectors["z"], (count, vectors["z"].shape[1]))
    inputs = {"z": _with_corners(z), **conditions}
    return {key: np.resize(value, (len(inputs["z"]), *value.shape[1:])) for key, value in inputs.items()}


def _with_corners(z):
    return np.concatenate([z, np.float32([[0.0], [3.0], [-3.0]]) * np.ones_like(z[:1])])


def _zeros(shape, z):
    return np.zeros([len(z), *shape[1:]] if shape else [], "float32")


def _compare(name, recorded, x_mean, reference, scale, other):
    """The error in words; raises if it is too large."""
    _check_finite(name, x_mean)
    error = float(np.abs(x_mean - reference).max() / scale)
    psnr = parity.psnr(x_mean, reference, scale)
    if error > recorded["tolerance"] or (recorded["min_psnr"] and psnr < recorded["min_psnr"]):
        raise ParityError(
            f"{name} does not agree with {other}: the largest error is {error:.2g} and the PSNR {psnr:.1f} dB, where "
            f"{recorded['tolerance']:g} and {recorded['min_psnr'] or 0:.0f} dB are allowed. It was exported with "
            f"{recorded['max_error']:.2g}; another version of the runtime may compute otherwise."
        )
    return f"{error:.1e} ({name})"


def _check_finite(name, values):
    if not np.isfinite(values).all():
        raise ParityError(f"{name} gives {int((~np.isfinite(values)).sum())} NaN or infinite values of {values.size}.")


def _check_sampler(exported, vectors, recorded):
    """Known answers of Threefry, and the golden z from every model that samples."""
    for row in np.concatenate([vectors["threefry"], np.array([recorded["known_answer"]], "uint32")]).tolist():
        if golden.words(row[:4]) != tuple(row[4:]):
            raise SamplerError(
                f"Threefry of {[hex(word) for word in row[:4]]} is {[hex(word) for word in golden.words(row[:4])]}, and "
                f"the bundle has {[hex(word) for word in row[4:]]}."
            )
    details = []
    for name, each in exported.items():
        if "sample" in each.signatures:
            z = _golden_draws(each, vectors)
            error = float(np.abs(z - vectors["z"]).max())
            if not error <= SAMPLER_TOLERANCE * max(1.0, float(np.abs(vectors["z"]).max())):
                raise SamplerError(f"{name} draws other z than kvae.random: the largest difference is {error:.2g}.")
            details.append(f"z to {error:.1e} ({name})")
    return ", ".join([f"{len(vectors['threefry'])} answers of Threefry2x32-20", *details])


def _golden_draws(exported, vectors):
    rows, conditions = len(vectors["z"]), {key: vectors[key] for key in ("c",) if key in vectors}
    if "n" in exported.signatures["sample"]["inputs"]:
        return exported.run("sample", seed=golden.SEED, n=rows, **conditions)["z"]
    drawn = [
        exported.run("sample", seed=golden.SEED, stream=row, **{key: c[row : row + 1] for key, c in conditions.items()})
        for row in range(rows)
    ]
    return np.concatenate([each["z"] for each in drawn])


_RELOAD = """
import importlib.machinery, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("keras", "kvae", "tf_keras", "tensorflow_probability"):
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is blocked")

sys.meta_path.insert(0, Blocker())
import numpy as np
import tensorflow as tf

model, inputs = tf.saved_model.load(sys.argv[1]), dict(np.load(sys.argv[2]))
specs = model.signatures["serving_default"].structured_input_signature[1]
given = {name: tf.constant(inputs[name]) if name in inputs else tf.zeros([2, *spec.shape[1:]]) for name, spec in specs.items()}
results = model.signatures["serving_default"](**given)
if "sample" in model.signatures:
    c = {"c": given["c"][:1]} if "c" in given else {}
    draws = [model.signatures["sample"](seed=tf.constant(seed), n=tf.constant(1), **c)["z"] for seed in (1, 1, 2)]
    results["again"], results["other"] = draws[0] - draws[1], draws[0] - draws[2]
np.savez(sys.argv[3], **results)
"""


def check_reload(path, vectors=None):
    """Runs a SavedModel in a process that cannot import Keras, kvae and TFP: what was seen, in words.

    Raises:
        ReloadError: if it fails there, gives other values than `vectors`, or a seed means nothing to its sampler.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, results = pathlib.Path(folder, "given.npz"), pathlib.Path(folder, "results.npz")
        np.savez(given, **(vectors or {}))
        command = [sys.executable, "-c", _RELOAD, str(path), str(given), str(results)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise ReloadError(f"'{path}' does not run without Keras: {reason(done)}")
        with np.load(results) as file:
            outcome = dict(file)
    if vectors is not None:
        error = float(np.abs(outcome["x_mean"] - vectors["x_mean"]).max())
        # relative to the values, which need not lie in [0, 1]
        if not error <= parity.TOLERANCES["float32"] * max(1.0, float(np.abs(vectors["x_mean"]).max())):
            raise ReloadError(f"'{path}' gives other values without Keras: the largest difference is {error:.2g}.")
    if "again" in outcome and (outcome["again"].any() or not outcome["other"].all()):
        raise ReloadError(f"The seed of '{path}' does not decide what is sampled.")
    return "loaded and run in a process of its own" + ("; the seed decides the sample" if "again" in outcome else "")


def _onnx_detail(recorded, models):
    names = [name for name, each in recorded.items() if each["format"] == "onnx"]
    if not names:
        return "the bundle has no ONNX file"
    return f"ran {', '.join(names)}" if set(names) <= set(models) else "not installed, ONNX left out"


def _check_latency(models, exported):
    """int8 against float32, in turns."""
    chosen = {
        each["precision"]: exported[name]
        for name, each in models.items()
        if each["format"] == "tflite" and list(exported[name].signatures) == ["decode"]
    }
    if not {"float32", "int8"} <= set(chosen):
        return "no pair of float32 and int8 to compare"
    return check_latency(chosen["int8"], chosen["float32"])


def check_latency(int8, float32):
    """How many times as long an int8 decoder takes as one in float32, in words; raises `LatencyError` if it is too slow."""
    times = ratio(int8, float32)
    if times > MAX_INT8_RATIO:
        raise LatencyError(
            f"The int8 decoder takes {times:.1f} times as long as float32, more than {MAX_INT8_RATIO:g}: it runs without "
            "its fast kernels on this machine. Use the float16 or float32 file."
        )
    return f"int8 takes {times:.2f} times as long as float32"
