"""`keras.Model.export` for VAEs: the names that Keras has for the formats."""

from kvae import checks
from kvae.export.onnx import onnx
from kvae.export.saved_model import saved_model
from kvae.export.tflite import tflite

FORMATS = {"tf_saved_model": saved_model, "litert": tflite, "onnx": onnx}


def export(vae, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
    """Exports a VAE in a format that Keras has a name for, see `kvae.VAE.export`."""
    checks.check_choice("format", format, tuple(FORMATS))
    if input_signature is not None:
        raise ValueError(
            "A VAE is exported with the signatures of its own functions, decode, encode, and so on. Leave out "
            f"`input_signature`. Received: input_signature={input_signature!r}"
        )
    return FORMATS[format](vae, filepath, **kwargs)
