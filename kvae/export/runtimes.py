"""What runs an exported model: one class for each format, which knows its signatures and nothing of Keras."""

import numpy as np
import tensorflow as tf


class SavedModelRuntime:
    """A SavedModel in TensorFlow.

    Attributes:
        signatures: as in `Exported`.
        dtypes: dict from the name of each function to the numpy types of its inputs.
    """

    def __init__(self, path):
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
            self.dtypes[name] = {key: spec.dtype.as_numpy_dtype for key, spec in specs.items()}

    def run(self, name, arrays):
        """The outputs of a signature for inputs of the right names, types and shapes."""
        outputs = self._functions[name](**{key: tf.constant(value) for key, value in arrays.items()})
        return {key: value.numpy() for key, value in outputs.items()}


class TFLiteRuntime:
    """A TFLite file in the LiteRT interpreter, on one thread.

    Attributes:
        signatures: as in `Exported`.
        dtypes: dict from the name of each function to the numpy types of its inputs.
    """

    def __init__(self, path):
        from ai_edge_litert.interpreter import Interpreter  # here, because a SavedModel does without

        # From memory, so that the file can be replaced while it is in use.
        interpreter = Interpreter(model_content=path.read_bytes(), num_threads=1)
        interpreter.allocate_tensors()
        self._functions = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
        self.signatures, self.dtypes = {}, {}
        for name, function in self._functions.items():
            details = {"inputs": function.get_input_details(), "outputs": function.get_output_details()}
            self.signatures[name] = {
                side: {key: _shape(each) for key, each in tensors.items()} for side, tensors in details.items()
            }
            self.dtypes[name] = {key: each["dtype"] for key, each in details["inputs"].items()}

    def run(self, name, arrays):
        """As `SavedModelRuntime.run`, row by row: a file for one row, given more, fails or falls to slower kernels."""
        rows = next(iter(arrays.values())).shape[0]
        shapes = self.signatures[name]["outputs"]
        outputs = {key: np.empty((rows, *shape[1:]), "float32") for key, shape in shapes.items()}
        for row in range(rows):
            one = {key: value[row : row + 1] for key, value in arrays.items()}
            for key, value in self._functions[name](**one).items():
                outputs[key][row] = value[0]
        return outputs


def _shape(details):
    return tuple(None if size < 0 else int(size) for size in details["shape_signature"])
