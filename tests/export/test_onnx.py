"""ONNX files as users get them: run by onnxruntime."""

import importlib

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from exporting import CASES, listing, make_ending_in, make_vae, run_without

import kvae
import kvae.export

ENDPOINTS = ("decode", "encode", "reconstruct", "sample", "score")


@pytest.fixture(scope="module")
def onnx_files(models, tmp_path_factory):
    """(folder, reports by (case, endpoint)): files `folder/case_endpoint.onnx`."""
    folder = tmp_path_factory.mktemp("onnx_files")
    wanted = [(case, "decode") for case in CASES]
    wanted += [(case, each) for case in ("conv_bernoulli", "conditional") for each in ENDPOINTS[1:]]
    return folder, {
        (case, endpoint): kvae.export.onnx(models[case], folder / f"{case}_{endpoint}.onnx", endpoint)
        for case, endpoint in wanted
    }


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("case", CASES)
def test_decode_in_onnxruntime(case, onnx_files, models, model_inputs):
    given = {name: model_inputs[case][name] for name in "zc" if name in model_inputs[case]}
    expected = models[case].decode(tuple(given.values()) if "c" in given else given["z"]).mean()
    runner = session(onnx_files[0] / f"{case}_decode.onnx")
    assert [each.name for each in runner.get_outputs()] == ["x_mean"]
    for rows in (1, len(expected)):  # the number of rows stayed free
        (got,) = runner.run(["x_mean"], {name: values[:rows] for name, values in given.items()})
        # 1e-5 of values in [0, 1] or of the order of one, as for the SavedModel
        np.testing.assert_allclose(got, expected[:rows], rtol=0, atol=1e-5)


def test_file_is_sound_and_names_its_parts(onnx_files):
    for path in onnx_files[0].glob("*.onnx"):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        assert {each.domain: each.version for each in model.opset_import}[""] == 18
        assert path.stem.endswith({each.key: each.value for each in model.metadata_props}["endpoint"])
    (z,) = session(onnx_files[0] / "conv_bernoulli_decode.onnx").get_inputs()
    assert (z.name, z.shape) == ("z", ["batch", 16])


def test_the_other_endpoints(onnx_files, models, model_inputs):
    vae, x = models["conv_bernoulli"], model_inputs["conv_bernoulli"]["x"]
    load = {each: kvae.export.load(onnx_files[0] / f"conv_bernoulli_{each}.onnx") for each in ENDPOINTS}
    np.testing.assert_allclose(load["encode"].encode(x)["mean"], vae.transform(x), atol=1e-5)
    np.testing.assert_allclose(load["encode"].encode(x)["stddev"], vae.encode(x).stddev(), atol=1e-5)
    np.testing.assert_allclose(load["reconstruct"].reconstruct(x), vae.reconstruct(x), atol=1e-5)
    # float32 sums over 784 pixels of some hundred nats
    np.testing.assert_allclose(load["score"].score(x, seed=5), kvae.evaluation.elbo(vae, x, seed=5), rtol=1e-5)
    assert load["sample"].signatures["sample"]["inputs"] == {"seed": (), "stream": ()}


def test_conditional_endpoints(onnx_files, models, model_inputs):
    vae, (x, c) = models["conditional"], (model_inputs["conditional"][name] for name in "xc")
    load = {each: kvae.export.load(onnx_files[0] / f"conditional_{each}.onnx") for each in ENDPOINTS}
    np.testing.assert_allclose(load["encode"].encode((x, c))["mean"], vae.transform((x, c)), atol=1e-5)
    np.testing.assert_allclose(load["reconstruct"].reconstruct((x, c)), vae.reconstruct((x, c)), atol=1e-5)
    expected = kvae.evaluation.elbo(vae, (x, c), seed=5)
    np.testing.assert_allclose(load["score"].score((x, c), seed=5), expected, rtol=1e-5)
    for condition in (c[0], c):
        expected = vae.sample(len(c), seed=1, condition=condition)
        np.testing.assert_allclose(load["sample"].sample(1, len(c), condition), expected, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 7, -3, 2**31 - 1, 2**32 - 3])
def test_sampler_draws_what_keras_draws(seed, onnx_files, models):
    exported = kvae.export.load(onnx_files[0] / "conv_bernoulli_sample.onnx")
    signed = np.uint32(seed & 0xFFFFFFFF).view(np.int32)
    z = np.concatenate([exported.run("sample", seed=signed, stream=stream)["z"] for stream in range(5)])
    # The words are equal to the bit; logarithm and cosine of another library differ in the last places of up to 5.8.
    np.testing.assert_allclose(z, kvae.random.normal(seed, np.arange(5), 0, 16), rtol=0, atol=1e-5)
    np.testing.assert_allclose(exported.sample(seed, 5), models["conv_bernoulli"].sample(5, seed=seed), atol=1e-5)


def test_runs_without_tensorflow(onnx_files, models):
    np.save(onnx_files[0] / "z.npy", np.ones((3, 4), "float32"))
    script = """
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("conv_normal_decode.onnx", providers=["CPUExecutionProvider"])
np.save("x.npy", session.run(None, {"z": np.load("z.npy")})[0])
"""
    run_without({"kvae", "keras", "tensorflow"}, script, onnx_files[0])
    expected = models["conv_normal"].decode(np.ones((3, 4))).mean()
    np.testing.assert_allclose(np.load(onnx_files[0] / "x.npy"), expected, atol=1e-5)


def test_report(onnx_files):
    folder, reports = onnx_files
    for (case, endpoint), report in reports.items():
        assert report.path == folder / f"{case}_{endpoint}.onnx"
        assert (report.format, report.precision) == ("onnx", "float32")
        assert report.num_bytes == report.path.stat().st_size
        assert 0 <= report.max_error <= 1e-5 and report.latency_ms > 0


class Lgamma(keras.layers.Layer):
    def call(self, values):
        return tf.math.lgamma(tf.abs(values) + 1.0)


def test_operations_that_onnx_does_not_have(tmp_path):
    vae = make_ending_in(Lgamma(name="lgamma"))
    with pytest.raises(kvae.export.UnsupportedOperationError, match=r"converted to ONNX: Lgamma \(in layer 'lgamma'\)"):
        kvae.export.onnx(vae, tmp_path / "decoder.onnx")
    assert listing(tmp_path) == []


def test_mixed_precision_is_exported_in_float32(tmp_path, dtype_policy):
    dtype_policy("mixed_float16")
    assert kvae.export.onnx(make_vae("dense", (6,)), tmp_path / "decoder.onnx").max_error <= 1e-5


@pytest.mark.parametrize("module", ["tf2onnx", "onnx", "onnxruntime"])
def test_missing_extra(module, tmp_path, monkeypatch):
    vae, import_module = make_vae("dense", (6,)), importlib.import_module

    def importing(name, package=None):
        if name == module:
            raise ImportError(f"No module named '{module}'")
        return import_module(name, package)

    monkeypatch.setattr(importlib, "import_module", importing)
    with pytest.raises(
        kvae.export.MissingExtraError, match=rf'No module named \'{module}\'.* pip install "kvae\[onnx\]"'
    ):
        kvae.export.onnx(vae, tmp_path / "decoder.onnx")
    assert listing(tmp_path) == []


def test_bad_input(tmp_path):
    vae = make_vae("dense", (6,))
    with pytest.raises(ValueError, match="`endpoint` must be one of 'decode', .* Received: endpoint='draw'"):
        kvae.export.onnx(vae, tmp_path / "a.onnx", "draw")
    with pytest.raises(ValueError, match=r"must end in \.onnx"):
        kvae.export.onnx(vae, tmp_path / "decoder.tflite")
    with pytest.raises(TypeError, match=r"must be a kvae\.VAE"):
        kvae.export.onnx("vae.keras", tmp_path / "a.onnx")
    (tmp_path / "old.onnx").write_text("old")
    with pytest.raises(FileExistsError, match="exists. Pass overwrite=True"):
        kvae.export.onnx(vae, tmp_path / "old.onnx")
    assert listing(tmp_path) == ["old.onnx"]
    kvae.export.onnx(vae, tmp_path / "old.onnx", overwrite=True)
    assert kvae.export.load(tmp_path / "old.onnx").decode(np.zeros((2, 3))).shape == (2, 6)


def test_damaged(onnx_files, tmp_path):
    whole = (onnx_files[0] / "conv_normal_decode.onnx").read_bytes()
    for damage in (b"", b"junk" * 100, whole[:1000]):
        (tmp_path / "decoder.onnx").write_bytes(damage)
        with pytest.raises(ValueError, match="cannot be read: it is damaged, incomplete or of another make"):
            kvae.export.load(tmp_path / "decoder.onnx")
