"""`kvae export`: the decoder leaves."""

import pathlib
from typing import Annotated

import typer

from kvae_cli import common
from kvae_cli.common import Model, Overwrite


def export(
    model: Model,
    out: Annotated[pathlib.Path, typer.Argument(help="A name that ends in .tflite, or a folder for a SavedModel.")],
    overwrite: Overwrite = False,
):
    """Export a decoder as TFLite (by the name's ending) or SavedModel, run it and compare it with the model."""
    common.check_free(out, overwrite)
    if out.suffix not in (".tflite", ""):
        raise typer.BadParameter(f"OUT must end in .tflite, or be the name of a folder. Received: '{out}'.")
    kvae, vae, _ = common.load(model, "")
    export_to = kvae.export.tflite if out.suffix else kvae.export.saved_model
    print(export_to(vae, out, overwrite=overwrite))


# What the commands are made of


def export_all(kvae, vae, out):
    kvae.export.saved_model(vae, out / "saved_model")
    report = kvae.export.tflite(vae, out / "decoder.tflite")
    return {
        "file": "export/decoder.tflite",
        "bytes": report.num_bytes,
        "max_error": report.max_error,
        "latency_ms": round(report.latency_ms, 4),
    }
