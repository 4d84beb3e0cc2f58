"""The converters and quantizers of TFLite: the one module that uses `tf.lite` and `ai_edge_quantizer`.

Which quantizer does what was measured: `ai_edge_quantizer` gives dynamic int8 files that run faster at the same error,
but static ones with ten times the error of TensorFlow's own converter.
"""

import importlib.util
import re
import warnings

import tensorflow as tf

from kvae.export import flatbuffer
from kvae.export.quiet import quiet

PRECISIONS = ("float32", "float16", "int8", "int8_full")
BYTES_PER_WEIGHT = {"float32": 4, "float16": 2, "int8": 1, "int8_full": 1}

_TENSORFLOW, _AI_EDGE = "tf.lite", "ai_edge_quantizer"


class MissingOperationsError(Exception):
    """The converter says that TFLite lacks some operations of the graph: `names`, as TensorFlow calls them."""

    def __init__(self, names):
        super().__init__(", ".join(sorted(names)))
        self.names = names


def convert(folder, signatures, precision, examples=None):
    """Converts a SavedModel.

    Args:
        folder: of the SavedModel.
        signatures: names of its functions that the file gets.
        precision: one of `PRECISIONS`.
        examples: for "int8_full", a function that gives an iterator of pairs (signature, dict of inputs).

    Returns:
        (bytes of the file, name of the quantizer or None).

    Raises:
        MissingOperationsError: if TFLite does not have some operations.
    """
    if precision == "int8_full":
        return flatbuffer.split_activations(_convert(folder, signatures, examples, quantized=True)), _TENSORFLOW
    # By name, so that kvae does not depend on it.
    if precision == "int8" and importlib.util.find_spec(_AI_EDGE) is None:
        return flatbuffer.split_activations(_convert(folder, signatures, quantized=True)), _TENSORFLOW
    data = flatbuffer.split_activations(_convert(folder, signatures))
    if precision == "int8":
        return _dynamic_int8(data), _AI_EDGE
    return (flatbuffer.halve_weights(data) if precision == "float16" else data), None


def _convert(folder, signatures, examples=None, quantized=False):
    # By way of a SavedModel: from functions alone, the converter leaves variables behind and their values out.
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=list(signatures))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if examples is not None:
        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the interpreter by which it finds ranges is to be removed
            return converter.convert()
    except Exception as error:  # the converter's own kind is not public
        missing = _missing_operations(str(error))
        if not missing:
            raise RuntimeError(f"TensorFlow could not convert the model to TFLite: {error}") from error
        raise MissingOperationsError(missing) from error


def _dynamic_int8(data):
    from ai_edge_quantizer import quantizer, recipe

    with quiet():
        quantized = quantizer.Quantizer(data, recipe.dynamic_wi8_afp32()).quantize(
            enable_progress_bar=False, enable_progress_report=False
        )
    return bytes(quantized.quantized_model)


def _missing_operations(message):
    """The operations that the converter's message says are not built in."""
    listed = re.findall(r"^(?:TF Select|Custom) ops: (.+)$", message, re.MULTILINE)
    refused = re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", message)
    return {name.strip() for line in listed for name in line.split(",")} | set(refused)
