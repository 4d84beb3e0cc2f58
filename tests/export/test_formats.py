"""`vae.export`, as users of Keras know it."""

import numpy as np
import pytest
import tensorflow as tf
from exporting import listing, make_vae

import kvae
import kvae.export


@pytest.mark.parametrize(
    ("format", "name"), [("tf_saved_model", "saved"), ("litert", "decoder.tflite"), ("onnx", "decoder.onnx")]
)
def test_formats_of_keras(format, name, tmp_path):
    if format == "onnx":
        pytest.importorskip("tf2onnx")
    vae = make_vae("dense", (6,))
    report = vae.export(tmp_path / name, format=format)
    assert report.max_error <= 1e-5
    z = np.ones((1, 3), "float32")
    np.testing.assert_allclose(kvae.export.load(tmp_path / name).decode(z), vae.decode(z).mean(), atol=1e-5)


def test_arguments_go_to_the_exporter(tmp_path):
    encoder = kvae.networks.dense_encoder((6,), 3, params_size=3)
    autoencoder = kvae.Autoencoder(encoder, kvae.networks.dense_decoder(3, (6,)))
    path = tmp_path / "decoder.tflite"
    assert autoencoder.export(str(path), "litert", precision="float16").precision == "float16"
    with pytest.raises(FileExistsError, match="Pass overwrite=True"):
        autoencoder.export(str(path), "litert")


def test_what_is_refused(tmp_path):
    vae = make_vae("dense", (6,))
    with pytest.raises(ValueError, match="`format` must be one of 'tf_saved_model', 'litert', 'onnx'.*mean 'litert'"):
        vae.export(tmp_path / "decoder.tflite", format="lite_rt")
    with pytest.raises(ValueError, match="exported with the signatures of its own functions"):
        vae.export(tmp_path / "saved", input_signature=[tf.TensorSpec([None, 3])])
    assert listing(tmp_path) == []
