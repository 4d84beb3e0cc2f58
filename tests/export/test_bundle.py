"""The bundle as whoever gets it finds it: its layout, its manifest, and what runs from it without kvae."""

import hashlib
import importlib
import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from exporting import listing, make_ending_in, make_vae, randomised, run_without

import kvae
import kvae.export
from kvae.export import references

MODELS = {
    "litert/decoder_float32.tflite",
    "litert/decoder_float16.tflite",
    "litert/decoder_int8.tflite",
    "litert/vae_float32.tflite",
    "saved_model/1",
    "onnx/decoder.onnx",
}
GOLDEN = ("z", "x_mean", "noise", "threefry")


def files(folder):
    return {each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()}


def test_layout(image_bundle):
    out, report, _ = image_bundle
    expected = {"kvae_export.json", "README.md", "comparison.png", "golden/golden.npz", "golden/golden.json"}
    expected |= {name for name in MODELS if "." in name} | {f"golden/{name}.bin" for name in GOLDEN}
    expected |= {f"snippets/{name}" for name in ("decode.py", "Decoder.kt", "Decoder.swift", "decoder.cc")}
    saved = {each for each in files(out) if each.startswith("saved_model/1/")}
    assert files(out) == expected | saved
    assert {"saved_model/1/saved_model.pb", "saved_model/1/assets.extra/tf_serving_warmup_requests"} <= saved
    assert set(report.models) == MODELS and report.skipped == {}


def test_report(image_bundle):
    out, report, _ = image_bundle
    assert report.path == out and report.verification.path == out
    for name, each in report.models.items():
        assert each.path == out / name
    assert {row.file for row in report.rows} == MODELS
    assert str(report).splitlines()[-1].startswith(f"{out}: 6 models, verified, in ")


def test_manifest(image_bundle):
    out, report, vae = image_bundle
    content = json.loads((out / "kvae_export.json").read_text())
    assert set(content["files"]) == files(out) - {"kvae_export.json"}
    for name, recorded in content["files"].items():
        data = (out / name).read_bytes()
        assert recorded == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    assert {"kvae", "tensorflow", "keras", "python", "ai-edge-litert"} <= set(content["versions"])
    assert content["model"]["data_shape"] == [8, 8, 1] and content["model"]["latent_dim"] == 3
    assert content["model"]["decoder_parameters"] == vae.decoder.count_params()
    assert (content["prior"]["class"], content["likelihood"]["class"]) == ("StandardNormal", "Bernoulli")
    assert content["likelihood"]["support"] == [0.0, 1.0]
    assert "(8, 8, 1)" in content["preprocessing"] or "[8, 8, 1]" in content["preprocessing"]
    key, counter = (
        tuple(tf.constant(word, tf.uint32) for word in content["random"]["known_answer"][at : at + 2]) for at in (0, 2)
    )
    assert [int(word) for word in kvae.random.threefry2x32(key, counter)] == content["random"]["known_answer"][4:]

    decoder = content["models"]["litert/decoder_float32.tflite"]
    assert decoder["signatures"] == {
        "decode": {
            "inputs": {"z": {"dtype": "float32", "shape": [1, 3], "range": None}},
            "outputs": {"x_mean": {"dtype": "float32", "shape": [1, 8, 8, 1], "range": [0.0, 1.0]}},
        }
    }
    assert decoder["max_error"] == report.models["litert/decoder_float32.tflite"].max_error <= 1e-5
    assert decoder["latency_ms"] > 0 and content["machine"]["cpus"] >= 1
    assert ["LOGISTIC", 1, 1] in decoder["operations"]
    assert set(content["models"]["litert/vae_float32.tflite"]["signatures"]) == {
        "decode", "encode", "reconstruct", "sample", "score",
    }  # fmt: skip
    assert content["models"]["saved_model/1"]["signatures"]["sample"]["inputs"]["n"]["dtype"] == "int32"


def test_golden_vectors(image_bundle):
    out, _, vae = image_bundle
    with np.load(out / "golden" / "golden.npz") as file:
        arrays = dict(file)
    index = json.loads((out / "golden" / "golden.json").read_text())
    assert set(arrays) == set(index["arrays"]) == set(GOLDEN)
    for name, each in index["arrays"].items():
        assert each["byte_order"] == "little"
        raw = np.fromfile(out / "golden" / each["file"], np.dtype(each["dtype"]).newbyteorder("<"))
        np.testing.assert_array_equal(raw.reshape(each["shape"]), arrays[name])
    np.testing.assert_allclose(arrays["z"], kvae.random.normal(index["seed"], np.arange(8), 0, 3), atol=1e-6)
    np.testing.assert_allclose(arrays["x_mean"], vae.decode(arrays["z"]).mean(), atol=1e-6)
    np.testing.assert_allclose(arrays["x_mean"], vae.sample(8, seed=index["seed"]), atol=1e-6)
    assert arrays["threefry"].dtype == np.uint32
    # the words of each row are those that its noise is made of, by the formula of Box and Muller
    first, second = arrays["threefry"][3:, 4:].astype("float64").T // 256
    expected = np.sqrt(-2 * np.log((first + 1) / 2**24)) * np.cos(2 * np.pi * (second / 2**24 - 0.5))
    np.testing.assert_allclose(arrays["noise"][:, 0], expected, atol=2e-6)


def test_python_snippet_runs_alone(image_bundle, conditional_bundle):
    script = """
sys.dont_write_bytecode = True
sys.path.insert(0, "snippets")
import numpy as np
import decode

golden = np.load("golden/golden.npz")
decoder = decode.Decoder("litert/decoder_float32.tflite")
x_mean = decoder.decode(golden["z"], golden.get("c"))
assert np.abs(x_mean - golden["x_mean"]).max() < 1e-5, "decode"
if "c" not in golden:
    drawn = decode.Decoder("litert/vae_float32.tflite").sample(20260101, 8)
    assert np.abs(drawn - golden["x_mean"]).max() < 1e-5, "sample"
"""
    for out in (image_bundle[0], conditional_bundle[0]):
        run_without({"kvae", "keras", "tensorflow", "tf_keras"}, script, out)


def test_warm_up_requests_are_answered(image_bundle, conditional_bundle):
    from tensorflow_serving.apis import prediction_log_pb2

    for out in (image_bundle[0], conditional_bundle[0]):
        model = tf.saved_model.load(str(out / "saved_model" / "1"))  # whose variables go with it
        records = tf.data.TFRecordDataset(str(out / "saved_model/1/assets.extra/tf_serving_warmup_requests"))
        sizes = []
        for record in records.as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            assert request.model_spec.signature_name == "decode"
            inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
            sizes.append(len(model.signatures["decode"](**inputs)["x_mean"]))
        assert sizes == [1, 8]


def test_card(image_bundle, conditional_bundle):
    text = (image_bundle[0] / "README.md").read_text()
    assert all(name in text for name in MODELS)
    assert "![comparison](comparison.png)" in text and "not compiled here" in text and "Left out" not in text
    assert (image_bundle[0] / "comparison.png").read_bytes().startswith(b"\x89PNG")
    text = (conditional_bundle[0] / "README.md").read_text()
    assert "comparison.png" not in text and not (conditional_bundle[0] / "comparison.png").exists()
    assert "and c `[1, 4]`" in text


# What is loaded from it


def test_load_picks_float32_with_all_functions(image_bundle):
    out, _, vae = image_bundle
    exported = kvae.export.load(out)
    assert exported.path == out / "litert" / "vae_float32.tflite" and "vae_float32.tflite" in repr(exported)
    x = kvae.data.binarize(np.random.default_rng(0).random((3, 8, 8, 1)), seed=0)
    np.testing.assert_allclose(exported.decode(np.ones((2, 3))), vae.decode(np.ones((2, 3))).mean(), atol=1e-5)
    np.testing.assert_allclose(exported.encode(x)["mean"], vae.transform(x), atol=1e-5)
    np.testing.assert_allclose(exported.reconstruct(x), vae.reconstruct(x), atol=1e-5)
    np.testing.assert_allclose(exported.sample(-5, 3), vae.sample(3, seed=-5), atol=1e-5)
    # one row at a time, each with the noise of the first; sums over 64 pixels of some ten nats
    expected = [kvae.evaluation.elbo(vae, each[None], seed=4)[0] for each in x]
    np.testing.assert_allclose(exported.score(x, seed=4), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"precision": "int8"}, "litert/decoder_int8.tflite"),
        ({"format": "saved_model"}, "saved_model/1"),
        ({"format": "onnx"}, "onnx/decoder.onnx"),
        ({"format": "tflite", "precision": "float16", "threads": 2}, "litert/decoder_float16.tflite"),
    ],
)
def test_load_what_is_asked_for(image_bundle, arguments, expected):
    exported = kvae.export.load(image_bundle[0], **arguments)
    assert exported.path == image_bundle[0] / expected
    assert exported.decode(np.zeros((2, 3))).shape == (2, 8, 8, 1)


def test_load_what_is_not_there(image_bundle):
    out = image_bundle[0]
    with pytest.raises(ValueError, match="no model of format=None and precision='int4'. It has: tflite float32, "):
        kvae.export.load(out, precision="int4")
    with pytest.raises(ValueError, match="format='onnx' and precision='int8'"):
        kvae.export.load(out, format="onnx", precision="int8")
    with pytest.raises(ValueError, match="is no bundle"):
        kvae.export.load(out / "onnx" / "decoder.onnx", precision="float32")
    with pytest.raises(ValueError, match="`threads` must be a whole number of at least 1"):
        kvae.export.load(out, threads=0)


# What is left out, and refused


def test_overwriting_without_the_extras(tmp_path, monkeypatch, one_process):
    import_module = importlib.import_module

    def importing(name, package=None):
        if name.partition(".")[0] in ("tf2onnx", "tensorflow_serving"):
            raise ImportError(f"No module named '{name}'")
        return import_module(name, package)

    monkeypatch.setattr(importlib, "import_module", importing)
    vae = make_vae("dense", (6,))
    with pytest.raises(kvae.export.MissingExtraError, match=r'pip install "kvae\[onnx\]"'):
        kvae.export.bundle(vae, tmp_path / "out", precisions=["float32"], onnx=True)
    assert listing(tmp_path) == []
    (tmp_path / "out").mkdir()
    for name in ("kvae_export.json", "old"):
        (tmp_path / "out" / name).touch()
    report = kvae.export.bundle(vae, tmp_path / "out", precisions=["float32"], overwrite=True)
    assert not (tmp_path / "out" / "old").exists()
    assert set(report.skipped) == {"onnx/decoder.onnx", "warm-up requests"}
    assert not (tmp_path / "out" / "onnx").exists()
    assert 'left out onnx/decoder.onnx: the extra is not installed: pip install "kvae[onnx]"' in str(report)
    assert 'pip install "kvae[serving]"' in (tmp_path / "out" / "README.md").read_text()


class Digamma(keras.layers.Layer):
    def call(self, values):
        return tf.math.digamma(tf.abs(values) + 1.0)


def test_operations_that_tflite_does_not_have(tmp_path, one_process):
    with pytest.raises(kvae.export.UnsupportedOperationError, match="Digamma"):
        kvae.export.bundle(make_ending_in(Digamma()), tmp_path / "out")
    assert listing(tmp_path) == []
    encoder = keras.Sequential([keras.Input((6,)), Digamma(), keras.layers.Dense(6)])
    vae = randomised(kvae.VAE(encoder, kvae.networks.dense_decoder(3, (6,))))
    report = kvae.export.bundle(vae, tmp_path / "out", precisions=["float32"], onnx=False)
    (name,) = report.skipped
    assert name == "litert/vae_float32.tflite" and "Digamma" in report.skipped[name]
    assert kvae.export.load(tmp_path / "out").path.name == "decoder_float32.tflite"


def test_a_recurrent_encoder_is_left_out(tmp_path, one_process):
    recurrent = keras.layers.GRU(4, return_sequences=True)
    encoder = keras.Sequential([keras.Input((5, 2)), recurrent, keras.layers.Flatten(), keras.layers.Dense(6)])
    vae = randomised(kvae.VAE(encoder, kvae.networks.dense_decoder(3, (5, 2))))
    report = kvae.export.bundle(vae, tmp_path / "out", precisions="float32", onnx=False)
    assert "recurrent layer has none with unroll=True" in report.skipped["litert/vae_float32.tflite"]
    assert set(report.models) == {"litert/decoder_float32.tflite", "saved_model/1"}


def test_a_precision_that_is_too_coarse_is_left_out_unless_it_was_asked_for(tmp_path, monkeypatch, one_process):
    monkeypatch.setattr(references, "MIN_PSNR", {**references.MIN_PSNR, "int8": 300.0})
    report = kvae.export.bundle(make_vae("dense", (6,)), tmp_path / "out", onnx=False)
    assert list(report.skipped) == ["litert/decoder_int8.tflite"]
    assert "does not agree with the Keras model: the PSNR" in report.skipped["litert/decoder_int8.tflite"]
    assert "litert/decoder_float16.tflite" in report.models
    assert [each.name for each in (tmp_path / "out" / "litert").iterdir() if "int8" in each.name] == []
    with pytest.raises(kvae.export.ParityError, match="the PSNR of x_mean"):
        kvae.export.bundle(make_vae("dense", (6,)), tmp_path / "other", precisions=["float32", "int8"], onnx=False)
    assert not (tmp_path / "other").exists()


def test_an_int8_decoder_that_is_slow_is_left_out(tmp_path, monkeypatch, one_process):
    monkeypatch.setattr(sys.modules["kvae.export.verification"], "ratio", lambda exported, baseline: 39.0)
    report = kvae.export.bundle(make_vae("dense", (6,)), tmp_path / "out", onnx=False)
    assert "39.0 times as long" in report.skipped["litert/decoder_int8.tflite"]
    assert not (tmp_path / "out" / "litert" / "decoder_int8.tflite").exists()
    assert "39.0 times as long" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(kvae.export.LatencyError):
        kvae.export.bundle(make_vae("dense", (6,)), tmp_path / "other", precisions=("float32", "int8"), onnx=False)


def test_probabilities_of_classes(tmp_path, one_process):
    likelihood = kvae.likelihoods.Categorical(5)
    encoder = kvae.networks.dense_encoder((6, 4, 1), 3)
    vae = randomised(kvae.VAE(encoder, kvae.networks.dense_decoder(3, (6, 4, 5)), likelihood))
    kvae.export.bundle(vae, tmp_path / "out", precisions="float32", onnx=False)
    content = json.loads((tmp_path / "out" / "kvae_export.json").read_text())
    signatures = content["models"]["litert/vae_float32.tflite"]["signatures"]
    assert signatures["reconstruct"]["inputs"]["x"]["range"] == [0.0, 4.0]
    assert signatures["reconstruct"]["outputs"]["x_mean"]["range"] == [0.0, 1.0]
    assert content["preprocessing"].endswith("x_mean is of shape [6, 4, 1, 5], with the probabilities of classes.")
    assert "x_mean\n`[1, 6, 4, 1, 5]`" in (tmp_path / "out" / "README.md").read_text()


def test_labels_in_the_card(tmp_path, one_process):
    networks = (
        kvae.networks.dense_encoder((6,), 3, num_classes=4),
        kvae.networks.dense_decoder(3, (6,), num_classes=4),
    )
    kvae.export.bundle(randomised(kvae.VAE(*networks)), tmp_path / "out", precisions="float32", onnx=False)
    assert "and c `[1]` and gives" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "kvae_export.json").read_text())["model"]["num_classes"] == 4


def test_bad_input(tmp_path):
    vae = make_vae("dense", (6,))
    with pytest.raises(TypeError, match=r"must be a kvae\.VAE"):
        kvae.export.bundle("vae.keras", tmp_path / "out")
    with pytest.raises(ValueError, match="`precisions` must be one of 'float32', .* Received: precisions='int4'"):
        kvae.export.bundle(vae, tmp_path / "out", precisions=["float32", "int4"])
    with pytest.raises(ValueError, match="`calibration` is for 'int8_full', which is not among precisions="):
        kvae.export.bundle(vae, tmp_path / "out", calibration=np.zeros((9, 6)))
    with pytest.raises(ValueError, match="at least one"):
        kvae.export.bundle(vae, tmp_path / "out", precisions=[])
    with pytest.raises(ValueError, match="`onnx` must be one of 'auto'"):
        kvae.export.bundle(vae, tmp_path / "out", onnx="maybe")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written"):
        kvae.export.bundle(vae, tmp_path / "file" / "out")
    assert listing(tmp_path) == ["file"]


def test_folders_of_others_are_not_replaced(tmp_path):
    vae = make_vae("dense", (6,))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").touch()
    with pytest.raises(FileExistsError, match="Pass overwrite=True"):
        kvae.export.bundle(vae, tmp_path / "thesis")
    with pytest.raises(FileExistsError, match=r"holds no kvae_export\.json.*left alone"):
        kvae.export.bundle(vae, tmp_path / "thesis", overwrite=True)
    assert listing(tmp_path) == ["thesis", "thesis/chapter.txt"]


def test_never_half_a_bundle(tmp_path, monkeypatch):
    def fail(vae, folder, *arguments):
        (folder / "half").touch()
        raise kvae.export.ParityError("it computes otherwise")

    monkeypatch.setattr(sys.modules["kvae.export.bundle"], "_write_models", fail)
    with pytest.raises(kvae.export.ParityError):
        kvae.export.bundle(make_vae("dense", (6,)), tmp_path / "new" / "out")
    assert listing(tmp_path) == []
