"""How fast exported models are on this machine, how large, and how much memory they take."""

import dataclasses
import os
import statistics
import subprocess
import sys
import time

import numpy as np

from kvae import checks
from kvae.export import golden, loaded, manifest, outputs
from kvae.export.extras import available
from kvae.export.tables import table

BASELINE = ("tflite", "float32")


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of one exported model.

    Attributes:
        file: its path, within the bundle.
        format: "tflite", "saved_model" or "onnx".
        precision: of the weights.
        num_bytes: size on disk.
        median_ms: median milliseconds of one image (or of the first function, for a file that decodes nothing).
        images_per_second: its inverse.
        memory_bytes: by how much loading it and running it once lets the resident memory grow of a new process that has
            imported its runtime; None where the system does not tell.
        max_error: largest difference to the golden vectors, in the units of `Report.max_error`; None without.
        ratio: time in units of that of the baseline, the float32 TFLite file, or the first file where there is none.
    """

    file: str
    format: str
    precision: str
    num_bytes: int
    median_ms: float
    images_per_second: float
    memory_bytes: int | None
    max_error: float | None
    ratio: float


class Rows(tuple):
    """Of `Row`; printed as a table."""

    def __str__(self):
        header = ["file", "precision", "kB", "ms", "images/s", "times float32", "memory MB", "max error"]
        return table(header, [_cells(row) for row in self])


def benchmark(path, threads=1, seconds=1.0):
    """Measures every model of a bundle, or a single export: `decode` of one z at a time.

    The models take turns, so that a machine whose speed drifts treats them alike. A SavedModel runs on the threads that
    TensorFlow is set to use.

    Args:
        path: a bundle, a `.tflite` or `.onnx` file, or the folder of a SavedModel.
        threads: int, that TFLite and ONNX may use.
        seconds: how long each model is measured.

    Returns:
        `Rows`, a tuple of `Row`.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is no export, or is damaged.
        MissingExtraError: for an ONNX file by itself, without onnxruntime. In a bundle it is left out.

    Example:
        >>> print(kvae.export.benchmark("out"))
    """
    path = outputs.as_path(path)
    threads = checks.check_count("threads", threads)
    kinds, vectors, scale = _models(path)
    rows = measure(path, kinds, vectors, scale, threads, seconds)
    return rows if manifest.is_bundle(path) else Rows([dataclasses.replace(rows[0], file=path.name)])


def measure(
    folder, kinds, vectors=None, scale=1.0, threads=1, seconds=1.0, memory_of=("tflite", "onnx", "saved_model")
):
    """As `benchmark`, of models `{path in the folder: (format, precision)}`, with golden vectors to compare with."""
    exported = {name: loaded.load(folder / name, threads=threads) for name in kinds}
    times = _take_turns({name: _call(each) for name, each in exported.items()}, seconds)
    medians = {name: 1000 * statistics.median(each) for name, each in times.items()}
    baseline = next((name for name, kind in kinds.items() if kind == BASELINE), next(iter(kinds)))
    return Rows(
        Row(
            file=name,
            format=kind,
            precision=precision,
            num_bytes=outputs.size(folder / name),
            median_ms=medians[name],
            images_per_second=1000 / medians[name],
            memory_bytes=memory(folder / name, kind, threads) if kind in memory_of else None,
            max_error=_error(exported[name], vectors, scale),
            ratio=medians[name] / medians[baseline],
        )
        for name, (kind, precision) in kinds.items()
    )


def ratio(exported, baseline, seconds=0.2):
    """How many times as long one decoder takes as another, in turns: a ratio of medians."""
    times = _take_turns({"exported": _call(exported), "baseline": _call(baseline)}, seconds)
    return statistics.median(times["exported"]) / statistics.median(times["baseline"])


def memory(path, kind, threads=1):
    """Bytes by which a new process grows that loads a model and runs it once; None where the system does not tell."""
    script = _RESIDENT + _RUN_ONCE[kind] + _PRINT_GROWTH
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", script, str(path), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"'{path}' did not run in a process of its own: {reason(done)}")
    grown = int(done.stdout.split()[-1])
    return grown if grown > 0 else None


def reason(done):
    """Why a process failed: its last words, or where it was killed and had none, its code."""
    return (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}."])[-1]


def _models(path):
    """({file: (format, precision)}, golden vectors or None, what errors are measured against)."""
    if not manifest.is_bundle(path):
        loaded.load(path)  # raises for what is no export
        kind = loaded.format_of(path)
        return {".": (kind, "-" if kind == "tflite" else "float32")}, None, None
    content = manifest.read(path)
    models = {
        name: (each["format"], each["precision"])
        for name, each in content["models"].items()
        if each["format"] != "onnx" or available("onnxruntime")
    }
    return models, golden.read(path / "golden"), content["parity_scale"]


def _call(exported):
    """One run of `decode`, or of the first function, on a single row of zeros."""
    name = "decode" if "decode" in exported.signatures else next(iter(exported.signatures))
    shapes = exported.signatures[name]["inputs"]
    inputs = {key: np.zeros([size or 1 for size in shape], "float32") for key, shape in shapes.items()}
    return lambda: exported.run(name, **inputs)


def _take_turns(calls, seconds):
    """{name: seconds of each call}; in each round every one is called for a hundredth of `seconds`."""
    times = {name: [] for name in calls}
    for call in calls.values():
        call()  # the first one also allocates
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end or len(next(iter(times.values()))) < 3:
        for name, call in calls.items():
            turn = time.perf_counter() + seconds / 100
            while True:
                start = time.perf_counter()
                call()
                stop = time.perf_counter()
                times[name].append(stop - start)
                if stop > turn:
                    break
    return times


def _error(exported, reference, scale):
    if reference is None or "decode" not in exported.signatures:
        return None
    inputs = {key: reference[key] for key in exported.signatures["decode"]["inputs"]}
    return float(np.abs(exported.run("decode", **inputs)["x_mean"] - reference["x_mean"]).max() / scale)


def _cells(row):
    return [
        row.file,
        row.precision,
        f"{row.num_bytes / 1000:.0f}",
        f"{row.median_ms:.3g}",
        f"{row.images_per_second:.0f}",
        f"{row.ratio:.2f}",
        "-" if row.memory_bytes is None else f"{row.memory_bytes / 1e6:.1f}",
        "-" if row.max_error is None else f"{row.max_error:.1e}",
    ]


_RESIDENT = """
import os, resource, sys
import numpy as np

def resident():
    if os.path.exists("/proc/self/statm"):
        return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS tells the largest so far, in bytes

path, threads = sys.argv[1], int(sys.argv[2])
"""
_RUN_ONCE = {
    "tflite": """
from ai_edge_litert.interpreter import Interpreter
before = resident()
interpreter = Interpreter(model_path=path, num_threads=threads)
names = interpreter.get_signature_list()
run = interpreter.get_signature_runner("decode" if "decode" in names else next(iter(names)))
run(**{key: np.zeros(each["shape"], each["dtype"]) for key, each in run.get_input_details().items()})
""",
    "onnx": """
import onnxruntime
before = resident()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
kinds = {"tensor(float)": "float32", "tensor(int32)": "int32"}
shapes = {each.name: [size if isinstance(size, int) else 1 for size in each.shape] for each in session.get_inputs()}
session.run(None, {each.name: np.zeros(shapes[each.name], kinds[each.type]) for each in session.get_inputs()})
""",
    "saved_model": """
import tensorflow as tf
before = resident()
model = tf.saved_model.load(path)
run = model.signatures["serving_default"]
specs = run.structured_input_signature[1]
run(**{key: tf.zeros([size or 1 for size in spec.shape], spec.dtype) for key, spec in specs.items()})
""",
}
_PRINT_GROWTH = "print(resident() - before)"
