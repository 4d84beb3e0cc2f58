"""`kvae.export.benchmark`: rows that hold what they say."""

import sys

import numpy as np
import pytest

import kvae.export

benchmark = sys.modules["kvae.export.benchmark"]


def test_bundle(image_bundle):
    out, report, _ = image_bundle
    rows = kvae.export.benchmark(out, threads=1, seconds=0.02)
    assert [row.file for row in rows] == list(report.models)
    by_file = {row.file: row for row in rows}
    assert by_file["litert/decoder_float32.tflite"].ratio == 1.0
    for row in rows:
        assert (row.format, row.precision) == (report.models[row.file].format, report.models[row.file].precision)
        assert row.num_bytes == report.models[row.file].num_bytes or row.format == "saved_model"  # and the requests
        assert row.images_per_second == pytest.approx(1000 / row.median_ms)
        assert row.ratio == pytest.approx(row.median_ms / by_file["litert/decoder_float32.tflite"].median_ms)
        # an interpreter takes some hundred kB, and these models no more than a few MB; TensorFlow's own is larger
        assert 1e4 < row.memory_bytes < (1e9 if row.format == "saved_model" else 5e7)
        # of 8 golden rows; the other probes of a report go further
        assert row.max_error <= max(1e-5, 2 * report.models[row.file].max_error)
    lines = str(rows).splitlines()
    assert len(lines) == 2 + len(rows) and lines[0].startswith("| file ") and "times float32" in lines[0]


def test_single_files(image_bundle):
    for name, kind in (("litert/decoder_int8.tflite", "tflite"), ("onnx/decoder.onnx", "onnx")):
        (row,) = kvae.export.benchmark(image_bundle[0] / name, seconds=0.02)
        assert (row.format, row.ratio, row.max_error) == (kind, 1.0, None)
        assert row.file == name.rpartition("/")[2]


def test_medians_of_turns():
    calls = []
    times = benchmark._take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, seconds=0.01)
    assert min(map(len, times.values())) >= 3 and len(calls) == 2 + sum(map(len, times.values()))
    assert "ab" in "".join(calls[2:]) and "ba" in "".join(calls[2:])


def test_memory_grows_with_the_model(tmp_path):
    import tensorflow as tf

    def memory(size):
        weights = tf.constant(np.random.default_rng(0).normal(size=(size, size)).astype("float32"))
        module = tf.Module()
        module.weights = tf.Variable(weights)
        decode = tf.function(
            lambda z: {"x_mean": z @ module.weights}, input_signature=[tf.TensorSpec([1, size], name="z")]
        )
        tf.saved_model.save(module, str(tmp_path / str(size)), signatures={"decode": decode})
        converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / str(size)))
        (tmp_path / "model.tflite").write_bytes(converter.convert())
        return benchmark.memory(tmp_path / "model.tflite", "tflite")

    # 2000 x 2000 weights are 16 MB, which the interpreter packs once more; 20 x 20 are nothing
    assert 12e6 < memory(2000) - memory(20) < 80e6


def test_refused(image_bundle, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no"):
        kvae.export.benchmark(tmp_path / "absent")
    with pytest.raises(ValueError, match="`threads` must be a whole number of at least 1"):
        kvae.export.benchmark(image_bundle[0], threads=0)
    (tmp_path / "decoder.tflite").write_bytes(b"junk")
    with pytest.raises(ValueError, match="cannot be read: it is damaged"):
        kvae.export.benchmark(tmp_path / "decoder.tflite")
