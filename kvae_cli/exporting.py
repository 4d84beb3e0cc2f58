"""`kvae export`, `verify`, `benchmark` and `inspect`: the decoder leaves, and what left is looked at."""

import contextlib
import dataclasses
import json
import pathlib
import sys
from typing import Annotated

import typer

from kvae_cli import common
from kvae_cli.common import Model, Overwrite

Exported = Annotated[
    pathlib.Path, typer.Argument(help="A bundle, a .tflite or .onnx file, or the folder of a SavedModel.")
]


def export(
    model: Model,
    out: Annotated[
        pathlib.Path, typer.Argument(help="A folder for a bundle, or the name of one file, in .tflite or .onnx.")
    ],
    precision: Annotated[
        str | None,
        typer.Option(
            help="float32, float16, int8, int8_full; for a bundle several, with commas between them. By default "
            "float32, and for a bundle also float16 and int8, where they agree with the model."
        ),
    ] = None,
    calibration: Annotated[
        str | None, typer.Option(help="Data for int8_full, named as for train: what the activations are like.")
    ] = None,
    overwrite: Overwrite = False,
):
    """Export a decoder: run, compared with the model, measured and verified.

    Ends with code 3 if the format lacks an operation, 4 if a package is missing, and 5 if the export computes otherwise.
    """
    common.check_free(out, overwrite)
    if out.suffix not in (".tflite", ".onnx", ""):
        raise typer.BadParameter(f"OUT must end in .tflite or .onnx, or be the name of a folder. Received: '{out}'.")
    if out.suffix == ".onnx" and precision not in (None, "float32"):
        raise typer.BadParameter("--precision is of .tflite files and bundles: ONNX is exported in float32.")
    precisions = None if precision is None else [each.strip() for each in precision.split(",")]
    if calibration is not None and "int8_full" not in (precisions or ()):
        raise typer.BadParameter("--calibration is for --precision int8_full.")
    kvae, vae, loaded = common.load(model, calibration or "")
    for each in precisions or ():
        common.usage(kvae.checks.check_choice, "precision", each, kvae.export.PRECISIONS)
    if out.suffix == ".tflite" and len(precisions or [""]) > 1:
        raise typer.BadParameter(f"a file has one precision; a folder takes several. Received: '{precision}'.")
    options = {"overwrite": overwrite}
    if loaded is not None:
        test = common.test_data(kvae, vae, loaded)
        options["calibration"] = common.rows(test, slice(500))
    if out.suffix == ".onnx":
        print(kvae.export.onnx(vae, out, overwrite=overwrite))
    elif out.suffix == ".tflite":
        print(kvae.export.tflite(vae, out, *(precisions or ()), **options))
    else:
        print(kvae.export.bundle(vae, out, *([precisions] if precisions else ()), **options))


def verify(path: Exported):
    """Check an export, wherever it was copied to: ends with code 5 if it is damaged or computes otherwise."""
    kvae = common.import_kvae()
    print(_looked_up(kvae.export.verify, path))


def benchmark(
    path: Exported,
    threads: Annotated[int, typer.Option(min=1, help="Threads for each model.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
):
    """Measure the size, time, memory and error of each exported model on this machine."""
    kvae = common.import_kvae()
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # TensorFlow is at work already, when this is not a process of its own
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    rows = _looked_up(kvae.export.benchmark, path, threads)
    print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) if as_json else rows)


def inspect(path: Exported):
    """Show what an export is made of: signatures, operations with versions, bytes and metadata."""
    kvae = common.import_kvae()
    print(_looked_up(kvae.export.inspect, path))


def _looked_up(function, path, *arguments):
    """`function(path, *arguments)`; that there is no such path is wrong usage."""
    if not path.exists():
        raise typer.BadParameter(f"there is no '{path}'.")
    return function(path, *arguments)


# What the commands are made of


def export_all(kvae, vae, out):
    """Writes the bundle of a run: what its report says of the decoder."""
    report = kvae.export.bundle(vae, out)
    for left_out, reason in report.skipped.items():
        if left_out.startswith("litert/"):  # for the model's sake, not for a missing extra
            print(f"kvae: left out export/{left_out}: {reason}", file=sys.stderr)
    name = "litert/decoder_float32.tflite"
    decoder = report.models[name]
    return {
        "file": f"export/{name}",
        "bytes": decoder.num_bytes,
        "max_error": decoder.max_error,
        "latency_ms": round(decoder.latency_ms, 4),
        "seconds": round(report.seconds, 1),
    }
