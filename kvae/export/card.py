"""The card of a bundle: what is in it, in words, figures and one picture."""

import numpy as np

from kvae.export import golden, loaded, parity

PICTURE = "comparison.png"


def draw(vae, folder, rows):
    """Draws E[x|z] of the golden z by Keras and by every TFLite decoder, one row each: whether it is image data."""
    vectors = golden.read(folder / "golden")
    shape = vectors["x_mean"].shape[1:]
    if shape != tuple(vae.data_shape) or not (len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3))):
        return False
    from kvae import plots  # here, because it brings matplotlib

    inputs = {key: vectors[key] for key in ("z", "c") if key in vectors}
    images = {"Keras": vectors["x_mean"]}
    for row in rows:
        if row.format == "tflite" and "decoder" in row.file:
            images[row.precision] = loaded.load(folder / row.file).run("decode", **inputs)["x_mean"]
    figure = plots.grid(
        np.concatenate(list(images.values())),
        columns=len(vectors["z"]),
        value_range=_value_range(vae, vectors["x_mean"]),
        row_labels=list(images),
    )
    figure.savefig(folder / PICTURE)
    return True


def _value_range(vae, x_mean):
    support = vae.likelihood.support
    if support is not None and np.isfinite(support).all():
        return tuple(support)
    return float(x_mean.min()), max(float(x_mean.max()), float(x_mean.min()) + 1e-6)


def text(vae, shape, rows, skipped, picture):
    """The README of a bundle, in Markdown; `shape` is that of one x_mean."""
    parts = ", ".join(type(each).__name__ for each in (vae.likelihood, vae.posterior, vae.prior))
    condition = "" if vae.condition_shape is None else f" and c `{[1, *vae.condition_shape]}`"
    lines = [
        f"# {vae.name}, exported",
        "",
        f"A variational autoencoder ({parts}): the decoder takes z `[1, {vae.latent_dim}]`{condition} and gives x_mean",
        f"`{[1, *shape]}`, E[x|z], all in float32. Details are in `kvae_export.json`.",
        "",
        str(rows),
        "",
        "Times are of one image at a time on one thread of the machine that `kvae_export.json` names (a SavedModel: on all of",
        "TensorFlow's threads); memory is what loading and one image add to a process; errors are the largest differences from",
        f"the Keras model at the {golden.ROWS} golden z. `kvae_export.json` has those at {parity.NUM_DRAWS} draws, at zero and at",
        "+-3, and what was allowed.",
        "",
    ]
    if picture:
        lines += ["E[x|z] of the same z, by Keras and by each file:", "", f"![comparison]({PICTURE})", ""]
    uses = {
        "litert/decoder_float32.tflite": "phones and single-board computers, to be sure",
        "litert/decoder_float16.tflite": "the same at half the size; GPUs compute in float16 anyway",
        "litert/decoder_int8.tflite": "the smallest and fastest on a CPU, where its error is small enough",
        "litert/decoder_int8_full.tflite": "accelerators that know whole numbers only",
        "litert/vae_float32.tflite": "all functions: decode, encode, reconstruct, sample, score",
        "saved_model/1": "TensorFlow Serving, which takes `saved_model` as the model and `1` as its version",
        "onnx/decoder.onnx": "onnxruntime, browsers, .NET; any number of rows",
    }
    lines += ["## Which file", "", *(f"- `{row.file}`: {uses[row.file]}" for row in rows), ""]
    lines += [
        "`snippets/` has a decoder in Python, which was run, and in Kotlin, Swift and C++, which were not compiled here: a",
        "phone, a Mac or the library of TensorFlow Lite is needed. TensorFlow Serving was not run either. `golden/` has",
        "inputs and outputs to check your own by.",
        "",
        "    pip install numpy ai-edge-litert",
        f"    python snippets/decode.py {next(row.file for row in rows)}",
        "",
        "With kvae: `kvae.export.load(FOLDER).decode(z)`, `kvae verify FOLDER`, `kvae benchmark FOLDER`, `kvae inspect FOLDER`.",
    ]
    if skipped:
        lines += ["", "## Left out", "", *(f"- {name}: {reason}" for name, reason in skipped.items())]
    return "\n".join(lines) + "\n"
