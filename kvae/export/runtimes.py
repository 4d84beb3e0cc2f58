"""What runs an exported model: one class for each format, which knows its signatures and nothing of Keras.

Each imports its own runtime, and only when it is made. All have the same two attributes and one method:

    signatures    as in `Exported`
    dtypes        dict from the name of each function to the numpy types of its inputs and outputs, by name
    run           the outputs of a signature for inputs of the right names, types and shapes, as numpy arrays
"""

import numpy as np

from kvae.export.extras import require


class SavedModelRuntime:
    """A SavedModel in TensorFlow, on the threads that TensorFlow is set to use."""

    def __init__(self, path, threads=1):
        import tensorflow as tf

        self._constant = tf.constant
        self._model = tf.saved_model.load(str(path))  # keeps the variables alive
        # The default of a server is one of the others under a second name.
        self._functions = {key: each for key, each in self._model.signatures.items() if key != "serving_default"}
        self.signatures, self.dtypes = {}, {}
        for name, function in self._functions.items():
            specs = function.structured_input_signature[1]
            self.signatures[name] = {
                "inputs": {key: tuple(spec.shape) for key, spec in specs.items()},
                "outputs": {key: tuple(spec.shape) for key, spec in function.structured_outputs.items()},
            }
            both = {**specs, **function.structured_outputs}
            self.dtypes[name] = {key: spec.dtype.as_numpy_dtype for key, spec in both.items()}

    def run(self, name, arrays):
        outputs = self._functions[name](**{key: self._constant(value) for key, value in arrays.items()})
        return {key: value.numpy() for key, value in outputs.items()}


class TFLiteRuntime:
    """A TFLite file in the LiteRT interpreter. Whole numbers of 8 bits at its ends are made from and into float32."""

    def __init__(self, path, threads=1):
        from ai_edge_litert.interpreter import Interpreter

        # From memory, so that the file can be replaced while it is in use.
        interpreter = Interpreter(model_content=path.read_bytes(), num_threads=threads)
        interpreter.allocate_tensors()
        self._functions = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
        self._inputs = {name: each.get_input_details() for name, each in self._functions.items()}
        self._outputs = {name: each.get_output_details() for name, each in self._functions.items()}
        self.signatures = {
            name: {
                "inputs": {key: _shape(each) for key, each in self._inputs[name].items()},
                "outputs": {key: _shape(each) for key, each in self._outputs[name].items()},
            }
            for name in self._functions
        }
        self.dtypes = {
            name: {key: np.float32 if _scale(each) else each["dtype"] for key, each in tensors.items()}
            for name, tensors in ((name, self._inputs[name] | self._outputs[name]) for name in self._functions)
        }

    def run(self, name, arrays):
        """As many rows at a time as the file takes: given others, it fails or falls to slower kernels."""
        arrays = {key: _quantized(value, self._inputs[name][key]) for key, value in arrays.items()}
        sizes = {key: shape[0] for key, shape in self.signatures[name]["inputs"].items() if shape}
        rows = {arrays[key].shape[0] for key in sizes}
        if not rows or rows == set(sizes.values()) or None in sizes.values():
            return self._invoke(name, arrays)
        (number,), (size,), results = rows, set(sizes.values()), []
        for start in range(0, number, size):
            part = {key: _rows(value, start, size) if key in sizes else value for key, value in arrays.items()}
            if "stream" in part:  # that of the first row
                part["stream"] = np.int32(part["stream"] + start)
            results.append(self._invoke(name, part))
        return {key: np.concatenate([each[key] for each in results])[:number] for key in results[0]}

    def _invoke(self, name, arrays):
        outputs = self._functions[name](**arrays)
        return {key: _dequantized(value, self._outputs[name][key]) for key, value in outputs.items()}


class OnnxRuntime:
    """An ONNX file in onnxruntime: a single function, whose name the file tells in its metadata."""

    def __init__(self, path, threads=1):
        (onnxruntime,) = require("onnx", "onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        name = self._session.get_modelmeta().custom_metadata_map.get(
            "endpoint", self._session.get_modelmeta().graph_name
        )
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.signatures = {
            name: {
                side: {
                    each.name: tuple(size if isinstance(size, int) else None for size in each.shape) for each in values
                }
                for side, values in (("inputs", inputs), ("outputs", outputs))
            }
        }
        kinds = {"tensor(float)": np.float32, "tensor(int32)": np.int32}
        self.dtypes = {name: {each.name: kinds[each.type] for each in [*inputs, *outputs]}}

    def run(self, name, arrays):
        outputs = self.signatures[name]["outputs"]
        return dict(zip(outputs, self._session.run(list(outputs), arrays), strict=True))


def _rows(values, start, size):
    return np.resize(values[start : start + size], (size, *values.shape[1:]))


def _shape(details):
    return tuple(None if size < 0 else int(size) for size in details["shape_signature"])


def _scale(details):
    """What a unit of an 8-bit tensor is worth; zero for tensors of other types."""
    return details["quantization"][0] if details["dtype"] in (np.int8, np.uint8) else 0.0


def _quantized(values, details):
    if not _scale(details):
        return values
    scale, zero = details["quantization"]
    limits = np.iinfo(details["dtype"])
    return np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(details["dtype"])


def _dequantized(values, details):
    scale, zero = details["quantization"]
    return (values.astype("float32") - zero) * np.float32(scale) if _scale(details) else values
