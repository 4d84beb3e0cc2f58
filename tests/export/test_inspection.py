"""`kvae.export.inspect`: what is read from the files alone."""

import sys
import zipfile

import pytest

import kvae.export


def test_tflite(image_bundle):
    found = kvae.export.inspect(image_bundle[0] / "litert" / "decoder_float32.tflite")
    assert found.format == "tflite" and found.num_bytes == found.path.stat().st_size
    assert found.signatures == {"decode": {"inputs": {"z": (1, 3)}, "outputs": {"x_mean": (1, 8, 8, 1)}}}
    operations = {name: (version, count) for name, version, count in found.operations}
    assert operations["LOGISTIC"] == (1, 1) and operations["TRANSPOSE_CONV"][0] <= 3
    assert "min_runtime_version" in found.metadata
    text = str(found)
    assert (
        "decode(z [1, 3]) -> x_mean [1, 8, 8, 1]" in text and "| LOGISTIC " in text and "min_runtime_version: " in text
    )


def test_attached_metadata(image_bundle, tmp_path):
    path = tmp_path / "decoder.tflite"
    path.write_bytes((image_bundle[0] / "litert" / "decoder_float32.tflite").read_bytes())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("labels.txt", "zero")
    assert kvae.export.inspect(path).metadata["labels.txt"] == "zero"


def test_onnx_and_saved_model(image_bundle):
    found = kvae.export.inspect(image_bundle[0] / "onnx" / "decoder.onnx")
    assert ("Sigmoid", 18, 1) in found.operations and found.metadata["endpoint"] == "decode"
    assert "decode(z [batch, 3]) -> x_mean [batch, 8, 8, 1]" in str(found)
    found = kvae.export.inspect(image_bundle[0] / "saved_model" / "1")
    assert "Conv2DBackpropInput" in {name for name, _, _ in found.operations}
    assert found.metadata["tags"] == "serve" and set(found.signatures) >= {"decode", "sample"}


def test_bundle(image_bundle):
    found = kvae.export.inspect(image_bundle[0])
    assert [each.format for each in found].count("tflite") == 4 and len(found) == 6
    assert str(found).count("| operation ") == 6


def test_bundle_without_the_extra(image_bundle, monkeypatch):
    monkeypatch.setattr(sys.modules["kvae.export.inspection"], "available", lambda *modules: False)
    assert {each.format for each in kvae.export.inspect(image_bundle[0])} == {"tflite", "saved_model"}


def test_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no"):
        kvae.export.inspect(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"holds no saved_model\.pb"):
        kvae.export.inspect(tmp_path)
