"""TFLite: the decoder for phones and single-board computers. The one module that uses `tf.lite`."""

import difflib
import pathlib
import re
import tempfile

import tensorflow as tf

from kvae.export import endpoints, float32, graphs, loaded, outputs, verify
from kvae.export.quiet import quiet
from kvae.export.report import Report, UnsupportedOperationError

PRECISIONS = ("float32", "float16", "int8", "int8_full")
AVAILABLE = ("float32",)


def tflite(vae, path, precision="float32", overwrite=False):
    """Exports the decoder of a VAE as a TFLite file that any TFLite or LiteRT runtime can run.

    Its one signature `decode` maps z `[1, D]` to x_mean `[1, *data_shape]`, E[x|z]; that of a conditional model also
    takes c `[1, ...]`. It uses built-in operations only, and takes one row at a time: with a free number of rows it would
    run half as fast, and GPU delegates would refuse it. `kvae.export.load` loops over rows.

    The export is loaded, run and compared with the Keras model before it is moved to `path`.

    Args:
        vae: built `kvae.VAE`. One in mixed precision is exported in float32.
        path: file to make, with its parents; it ends in `.tflite`.
        precision: of the weights: "float32". Smaller ones are not available yet.
        overwrite: whether a file that stands there may be replaced, once the new one is verified.

    Returns:
        `Report`.

    Raises:
        TypeError: if `vae` is no `kvae.VAE`.
        ValueError: if it is not built, the network draws random numbers in inference, the path does not end in
            `.tflite`, or the precision is not available.
        UnsupportedOperationError: if the decoder uses operations that TFLite does not have; they are named.
        FileExistsError: if `path` exists and may not be replaced.
        OSError: if `path` cannot be written.
        ParityError: if the export does not compute what the VAE does. Nothing is left behind.

    Example:
        >>> print(kvae.export.tflite(vae, "decoder.tflite"))
        decoder.tflite: tflite float32, 440 kB, largest error 3.0e-07, decode 0.26 ms
    """
    _check_precision(precision)
    model = float32.exportable(vae)
    with outputs.new_file(path, loaded.SUFFIX, overwrite) as file:
        file.write_bytes(_convert(model))
        exported = loaded.load(file)
        return Report(
            path=pathlib.Path(path),
            format="tflite",
            precision=precision,
            max_error=verify.check_parity(model, exported, precision),
            num_bytes=outputs.size(file),
            latency_ms=verify.median_latency(exported),
        )


def _check_precision(precision):
    if precision in AVAILABLE:
        return
    known = ", ".join(f"'{each}'" for each in PRECISIONS)
    if precision in PRECISIONS:
        raise ValueError(f"precision='{precision}' is not available yet. Pass precision='float32'.")
    near = difflib.get_close_matches(str(precision).lower(), PRECISIONS, n=1, cutoff=0.4)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise ValueError(f"`precision` must be one of {known}. Received: precision={precision!r}.{hint}")


def _convert(vae):
    """The bytes of a file with the signature `decode`."""
    with tempfile.TemporaryDirectory() as folder:
        # By way of a SavedModel: from functions alone, the converter leaves variables behind and their values out.
        traced = endpoints.write(vae, folder, names=("decode",), batch_size=1)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["decode"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            with quiet():
                return converter.convert()
        except Exception as error:  # the converter's own kind is not public
            missing = _missing_operations(str(error))
            if not missing:
                raise RuntimeError(f"TensorFlow could not convert the decoder to TFLite: {error}") from error
            places = graphs.find(traced["decode"], vae, missing.__contains__) or ", ".join(sorted(missing))
        raise UnsupportedOperationError(
            f"The decoder uses operations that TFLite does not have: {places}. Nothing was written. Replace the layers by "
            "others of the same use (for instance erf by tanh, or an exact GELU by keras.activations.gelu with "
            "approximate=True), or export with kvae.export.saved_model, which takes all operations."
        )


def _missing_operations(message):
    """The operations that the converter's message says are not built in."""
    listed = re.findall(r"^(?:TF Select|Custom) ops: (.+)$", message, re.MULTILINE)
    refused = re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", message)
    return {name.strip() for line in listed for name in line.split(",")} | set(refused)
