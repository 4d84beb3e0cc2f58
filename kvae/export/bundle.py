"""The bundle: one folder with a decoder in every format, what is known of it, and what is needed to use it."""

import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import shutil
import time
from importlib import metadata

import keras
import numpy as np

from kvae import checks, networks
from kvae.export import (
    card,
    converter,
    endpoints,
    float32,
    golden,
    loaded,
    manifest,
    outputs,
    parity,
    warmup,
)
from kvae.export.benchmark import Rows, measure
from kvae.export.extras import available, require
from kvae.export.onnx import onnx as export_onnx
from kvae.export.report import LatencyError, ParityError, StructureError, UnsupportedOperationError
from kvae.export.saved_model import saved_model
from kvae.export.tflite import tflite
from kvae.export.verification import Verification, check_latency, verify

_ONNX_MODULES = ("tf2onnx", "onnx", "onnxruntime")
_PRECISIONS = ("float32", "float16", "int8")
SNIPPETS = pathlib.Path(__file__).parent / "snippets"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What `bundle` made; printed as a table.

    Attributes:
        path: the folder.
        models: dict from each model's path in the bundle to its `Report`.
        rows: what `benchmark` measured of them.
        skipped: dict from what was left out to the reason.
        verification: what `verify` found.
        seconds: how long it took.
    """

    path: pathlib.Path
    models: dict
    rows: Rows
    skipped: dict
    verification: Verification
    seconds: float

    def __str__(self):
        left_out = [f"left out {name}: {reason}" for name, reason in self.skipped.items()]
        end = f"{self.path}: {len(self.models)} models, verified, in {self.seconds:.0f} s"
        return "\n".join([str(self.rows), *left_out, end])


def bundle(vae, out, precisions="auto", calibration=None, onnx="auto", overwrite=False):
    """Exports a VAE in every format, with everything that is needed to use it elsewhere.

        kvae_export.json                what is in it: versions, signatures, prior, likelihood, operations, digests, errors
        README.md, comparison.png       sizes, times and errors in a table; Keras and the exports side by side
        litert/decoder_PRECISION.tflite the decoder for phones, one for each precision
        litert/vae_float32.tflite       all functions: decode, encode, reconstruct, sample, score
        saved_model/1/                  the same for TensorFlow Serving, with requests to warm it up
        onnx/decoder.onnx               with the extra `onnx`
        golden/                         8 z with their x, and random numbers, to check another implementation by
        snippets/                       Python, Kotlin, Swift and C++ that run the decoder

    Everything is run, compared with the Keras model and measured, and the whole is verified, before it is moved to `out`.

    Args:
        vae: built `kvae.VAE`. One in mixed precision is exported in float32.
        out: folder to make, with its parents.
        precisions: of the decoders, see `kvae.export.tflite`. All that are named have to agree with the model; "auto" is
            float32 and, where they agree and int8 is not slowed down, float16 and int8.
        calibration: data for "int8_full", see there.
        onnx: True, False, or "auto" for True if the extra is installed.
        overwrite: whether a bundle that stands there may be replaced, once the new one is verified.

    Returns:
        `Bundle`.

    Raises:
        TypeError, ValueError: for what `kvae.export.tflite` refuses.
        UnsupportedOperationError: if the decoder uses operations that TFLite does not have. What the other functions or
            ONNX do not have is left out, and `skipped` says why.
        MissingExtraError: for onnx=True without the extra.
        FileExistsError: if `out` exists and may not be replaced, or is no bundle.
        OSError: if it cannot be written.
        VerificationError: of the kind that tells what went wrong. Nothing is left behind.

    Example:
        >>> print(kvae.export.bundle(vae, "out"))
    """
    start = time.perf_counter()
    model = float32.exportable(vae)
    optional = _PRECISIONS[1:] if precisions == "auto" else ()
    precisions = _PRECISIONS if precisions == "auto" else precisions
    precisions = [precisions] if isinstance(precisions, str) else list(dict.fromkeys(precisions))
    if not precisions:
        raise ValueError("`precisions` must name at least one. Received: none.")
    for each in precisions:
        checks.check_choice("precisions", each, converter.PRECISIONS)
    if calibration is not None and "int8_full" not in precisions:
        raise ValueError(
            f"`calibration` is for 'int8_full', which is not among precisions={precisions!r}. Leave it out."
        )
    checks.check_choice("onnx", onnx, ("auto", True, False))
    if onnx is True:
        require("onnx", *_ONNX_MODULES)
    with outputs.new_folder(out, overwrite, manifest.NAME) as folder:
        reports, skipped = _write_models(model, folder, precisions, optional, calibration, onnx)
        golden.write(folder / "golden", golden.make(model))
        shutil.copytree(SNIPPETS, folder / "snippets", ignore=shutil.ignore_patterns("__pycache__"))
        vectors = golden.read(folder / "golden")
        if not warmup.write(folder / "saved_model" / "1", vectors):
            skipped["warm-up requests"] = 'tensorflow-serving-api is not installed: pip install "kvae[serving]"'
        scale = parity.data_scale(model)
        kinds = {name: (each.format, each.precision) for name, each in reports.items()}
        # Without a SavedModel's memory, which takes seconds to measure: a process that imports TensorFlow.
        rows = measure(folder, kinds, vectors, scale, seconds=0.2, memory_of=("tflite", "onnx"))
        picture, shape = card.draw(model, folder, rows), vectors["x_mean"].shape[1:]
        (folder / "README.md").write_text(card.text(model, shape, rows, skipped, picture), encoding="utf-8")
        content = _content(model, shape, folder, reports, rows, skipped, scale)
        manifest.write(folder, {**content, "files": manifest.listing(folder)})
        verification = dataclasses.replace(verify(folder), path=pathlib.Path(out))
    reports = {name: dataclasses.replace(each, path=pathlib.Path(out, name)) for name, each in reports.items()}
    return Bundle(pathlib.Path(out), reports, rows, skipped, verification, time.perf_counter() - start)


def _write_models(vae, folder, precisions, optional, calibration, onnx):
    """({path: Report}, {what was left out: why})."""
    reports, skipped = {}, {}
    for precision in precisions:
        name, data = f"litert/decoder_{precision}.tflite", calibration if precision == "int8_full" else None
        try:
            reports[name] = tflite(vae, folder / name, precision=precision, calibration=data)
            if precision == "int8" and precision in optional:
                check_latency(*(loaded.load(folder / f"litert/decoder_{each}.tflite") for each in ("int8", "float32")))
        except (ParityError, LatencyError) as error:
            if precision not in optional:
                raise
            reports.pop(name, None)
            (folder / name).unlink(missing_ok=True)
            skipped[name] = str(error)
    name, wanted = "litert/vae_float32.tflite", endpoints.names(vae)
    unfit = (UnsupportedOperationError, StructureError)  # as the loop of a recurrent encoder is
    try:
        try:
            reports[name] = tflite(vae, folder / name, signatures=wanted)
        except unfit as error:
            skipped[f"{name}: score"] = str(error)
            wanted = [each for each in wanted if each != "score"]
            reports[name] = tflite(vae, folder / name, signatures=wanted)
    except unfit as error:
        skipped.pop(f"{name}: score", None)
        skipped[name] = str(error)
    reports["saved_model/1"] = saved_model(vae, folder / "saved_model" / "1")
    if onnx is True or (onnx == "auto" and available(*_ONNX_MODULES)):
        try:
            reports["onnx/decoder.onnx"] = export_onnx(vae, folder / "onnx" / "decoder.onnx")
        except UnsupportedOperationError as error:
            skipped["onnx/decoder.onnx"] = str(error)
    elif onnx == "auto":
        skipped["onnx/decoder.onnx"] = 'the extra is not installed: pip install "kvae[onnx]"'
    return reports, skipped


def _content(vae, shape, folder, reports, rows, skipped, scale):
    """What the manifest says, but for the files."""
    measured = {row.file: row for row in rows}
    return {
        "versions": versions(),
        "model": {
            "name": vae.name,
            "latent_dim": vae.latent_dim,
            "data_shape": list(vae.data_shape),
            "condition_shape": None if vae.condition_shape is None else list(vae.condition_shape),
            "num_classes": networks.num_classes(vae.encoder, vae.decoder),
            "decoder_parameters": vae.decoder.count_params(),
            "encoder_parameters": vae.encoder.count_params(),
        },
        "prior": {**_part(vae.prior), "noise_size": vae.prior.noise_size} if vae.generative else None,
        "posterior": _part(vae.posterior),
        "likelihood": {**_part(vae.likelihood), "support": _support(vae)},
        "preprocessing": _preprocessing(vae, shape),
        "random": {
            "generator": "Threefry2x32-20, and Box-Muller on words of 24 bits; see kvae.random",
            "known_answer": list(golden.KNOWN_ANSWERS[0]),
        },
        "parity_scale": scale,
        "models": {name: _model(vae, folder / name, report, measured[name]) for name, report in reports.items()},
        "skipped": skipped,
        "machine": machine(),
    }


def _model(vae, path, report, row):
    """What the manifest says of one model."""
    exported = loaded.load(path)
    content = {
        "format": report.format,
        "precision": report.precision,
        "bytes": row.num_bytes,
        "signatures": {
            name: {side: {key: _tensor(vae, exported, name, side, key) for key in sides[side]} for side in sides}
            for name, sides in exported.signatures.items()
        },
        "max_error": report.max_error,
        "tolerance": report.tolerance,
        "psnr": report.psnr if np.isfinite(report.psnr) else None,
        "min_psnr": report.min_psnr,
        "latency_ms": row.median_ms,
        "memory_bytes": row.memory_bytes,
    }
    if report.format == "tflite":
        content |= {
            "quantizer": report.quantizer,
            "num_weights": report.num_weights,
            "bytes_per_weight": converter.BYTES_PER_WEIGHT[report.precision],
            "operations": [[each.name, each.version, each.count] for each in report.operations],
        }
    return content


def _tensor(vae, exported, name, side, key):
    """Type, shape and range of an input or output."""
    ranges = {"seed": [-(2**31), 2**31 - 1], "n": [1, 2**31 - 1], "stream": [0, 2**31 - 1], "stddev": [0, None]}
    ranges |= {"x": _support(vae), "x_mean": _support(vae)}
    shape = list(exported.signatures[name][side][key])
    if len(shape) > 1 + len(vae.data_shape):  # the probabilities of classes
        ranges["x_mean"] = [0.0, 1.0]
    return {
        "dtype": exported.dtype(name, key),
        "shape": shape,
        "range": ranges.get(key),
    }


def _support(vae):
    """The bounds of the data as JSON has them: None for infinity."""
    if vae.likelihood.support is None:
        return None
    return [float(bound) if abs(bound) < float("inf") else None for bound in vae.likelihood.support]


def _preprocessing(vae, shape):
    support = _support(vae)
    inside = "any real numbers" if support is None or support == [None, None] else f"values in {support}"
    missing = " NaN means that a value was not observed." if vae.missing is not None else ""
    alike = "alike" if shape == tuple(vae.data_shape) else f"of shape {list(shape)}, with the probabilities of classes"
    return f"x is float32 of shape {list(vae.data_shape)}, {inside}, scaled as in training.{missing} x_mean is {alike}."


def _part(layer):
    """Class and arguments of a part."""
    config = keras.saving.serialize_keras_object(layer)["config"]
    config = {key: value for key, value in config.items() if key not in ("name", "trainable", "dtype")}
    return {"class": type(layer).__name__, "arguments": json.loads(json.dumps(config, default=str))}


def versions():
    """Of Python and of what exports are made with, by package."""
    packages = (
        "kvae",
        "tensorflow",
        "keras",
        "tensorflow-probability",
        "numpy",
        "ai-edge-litert",
        "ai-edge-quantizer",
        "tf2onnx",
        "onnxruntime",
    )
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine():
    """What the figures were measured on."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": 1,
    }


def _processor():
    """Its name: Linux tells it in a file alone."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
