"""TFLite files taken apart: operations are listed, what is wrong is named, and surgery changes no value."""

import functools
import pathlib
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from exporting import make_vae
from keras import layers

import kvae
import kvae.export
from kvae.export import endpoints, flatbuffer
from kvae.export.quiet import quiet


def convert(function, *specs, select=False):
    """The bytes that TensorFlow's converter makes of a function, as they are."""
    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.add_endpoint("decode", lambda *tensors: function(*tensors), list(specs))
        with quiet():
            archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["decode"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if select:
            converter.target_spec.supported_ops.append(tf.lite.OpsSet.SELECT_TF_OPS)
        with quiet():
            return converter.convert()


def run(data, **inputs):
    from ai_edge_litert.interpreter import Interpreter

    outputs = Interpreter(model_content=data, num_threads=1).get_signature_runner("decode")(**inputs)
    return next(iter(outputs.values()))


def decoder(activation="relu"):
    """Transposed convolutions with biases, which an untrained network has not, and a fused activation."""
    generator = np.random.default_rng(0)
    network = keras.Sequential(
        [
            keras.Input((16,), name="z"),
            layers.Reshape((4, 4, 1)),
            layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation=activation),
            layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation=activation),
            layers.Conv2D(1, 3, padding="same"),
        ]
    )
    network.set_weights([generator.normal(size=each.shape) for each in network.get_weights()])
    return network


Z = tf.TensorSpec([1, 16], name="z")


def versions(data, name):
    return [each.version for each in flatbuffer.operations(data) if each.name == name]


def shipped_decoder():
    return functools.partial(endpoints.decode, kvae.pretrained.load("mnist_conv"), form=endpoints.Form(batch_size=1))


def library_decoder():
    return functools.partial(endpoints.decode, make_vae("conv", (28, 28, 1), 16), form=endpoints.Form(batch_size=1))


@pytest.mark.parametrize(
    "make",
    [decoder, lambda: decoder("relu6"), shipped_decoder, library_decoder],
    ids=["relu", "relu6", "shipped", "library"],
)
def test_activations_become_operations_and_no_value_changes(make):
    data = convert(make(), Z)
    assert versions(data, "TRANSPOSE_CONV") == [4]
    with pytest.raises(kvae.export.StructureError, match="TRANSPOSE_CONV of version 4, where GPU delegates end at 3"):
        flatbuffer.check_structure(data)
    split = flatbuffer.split_activations(data)
    flatbuffer.check_structure(split)
    assert versions(split, "TRANSPOSE_CONV") == [3]
    z = np.random.default_rng(1).normal(size=(20, 1, 16)).astype("float32")
    for each in z:
        np.testing.assert_array_equal(run(split, z=each), run(data, z=each))
    assert flatbuffer.split_activations(split) == split


def test_operations_are_counted():
    data = flatbuffer.split_activations(convert(decoder(), Z))
    counts = {each.name: each.count for each in flatbuffer.operations(data)}
    assert counts == {"CONV_2D": 1, "RELU": 2, "RESHAPE": 1, "TRANSPOSE_CONV": 2}
    assert flatbuffer.signatures(data)["decode"]["inputs"] == {"z": ("float32", (1, 16))}


def test_operations_of_tensorflow_are_named():
    data = convert(tf.function(tf.math.erf), Z, select=True)
    with pytest.raises(kvae.export.StructureError, match="not built in: FlexErf"):
        flatbuffer.check_structure(data)


def test_variables_and_missing_weights_are_named():
    """A way to convert that leaves the weights out, without a word."""
    network = keras.Sequential([keras.Input((16,)), layers.Dense(4000)])
    function = tf.function(network, input_signature=[Z]).get_concrete_function()
    with quiet():
        data = tf.lite.TFLiteConverter.from_concrete_functions([function], network).convert()
    message = "variables, which weights must not be: READ_VARIABLE, VAR_HANDLE; .* bytes, fewer than the 230400 that its 64000"
    with pytest.raises(kvae.export.StructureError, match=message):
        flatbuffer.check_structure(data, num_params=64000)


def test_free_shapes_are_named():
    with pytest.raises(kvae.export.StructureError, match=r"\d+ tensors without a fixed shape.* the first decode_z"):
        flatbuffer.check_structure(convert(decoder(None), tf.TensorSpec([None, 16], name="z")))


@pytest.mark.parametrize("data", [b"", b"no model", b"x" * 1000])
def test_other_bytes(data):
    with pytest.raises(ValueError, match="no TFLite file"):
        flatbuffer.operations(data)


def test_half_weights_are_the_weights_rounded():
    """The oracle: the same file, of a network whose large kernels were rounded before."""
    network = decoder(None)
    kernel = network.layers[2].kernel  # 1152 values; the others have fewer
    halved = flatbuffer.halve_weights(convert(network, Z))
    kernel.assign(kernel.numpy().astype("float16").astype("float32"))
    rounded = convert(network, Z)
    assert len(rounded) - 2 * 1152 < len(halved) < len(rounded) - 2 * 1152 + 500
    z = np.random.default_rng(1).normal(size=(1, 16)).astype("float32")
    np.testing.assert_array_equal(run(halved, z=z), run(rounded, z=z))
    assert versions(halved, "DEQUANTIZE") == [3]


def test_weights_that_overflow_stay():
    network = decoder(None)
    network.layers[2].kernel.assign(1e5 * network.layers[2].kernel)
    data = convert(network, Z)
    z = np.ones((1, 16), "float32")
    np.testing.assert_array_equal(run(flatbuffer.halve_weights(data), z=z), run(data, z=z))


def test_rectifiers_of_int8_are_the_bound_of_the_numbers(tmp_path):
    """As operations of their own they would take four times as long."""
    path = kvae.export.tflite(make_vae("conv", (12, 12, 1)), tmp_path / "decoder.tflite", precision="int8_full").path
    data = pathlib.Path(path).read_bytes()
    assert versions(data, "TRANSPOSE_CONV") == [3]
    assert versions(data, "RELU") == []
