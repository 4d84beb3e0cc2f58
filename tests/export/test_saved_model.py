"""SavedModels as users get them: run by TensorFlow in a process that has no Keras."""

import numpy as np
import pytest
from exporting import CASES, make_ending_in, make_vae, run_without
from keras import layers

import kvae
import kvae.export

_SCRIPT = """
import glob, os
import numpy as np
import tensorflow as tf

for path in glob.glob("*.npz"):
    name = path.removesuffix(".npz")
    inputs = {key: tf.constant(value) for key, value in np.load(path).items()}
    condition = {"c": inputs["c"]} if "c" in inputs else {}
    model = tf.saved_model.load(name)
    seed, n = tf.constant(-7), tf.constant(len(inputs["z"]))
    calls = {
        "serving_default": {"z": inputs["z"]},
        "decode": {"z": inputs["z"]},
        "encode": {"x": inputs["x"]},
        "reconstruct": {"x": inputs["x"]},
        "sample": {"seed": seed, "n": n},
        "score": {"x": inputs["x"], "seed": seed},
    }
    outputs = {}
    for signature, arguments in calls.items():
        for key, value in model.signatures[signature](**arguments, **condition).items():
            outputs[signature + "/" + key] = value.numpy()
    one = {key: value[:1] for key, value in {"z": inputs["z"], **condition}.items()}
    outputs["another batch size"] = model.signatures["decode"](**one)["x_mean"].numpy()
    np.savez(os.path.join("results", name), **outputs)

assert not {"keras", "kvae", "tf_keras"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def results(saved_models, model_inputs):
    folder, _ = saved_models
    (folder / "results").mkdir()
    for name, arrays in model_inputs.items():
        np.savez(folder / name, **arrays)
    run_without({"kvae", "keras", "tf_keras", "tensorflow_probability"}, _SCRIPT, folder)
    return {name: dict(np.load(folder / "results" / f"{name}.npz")) for name in model_inputs}


@pytest.mark.parametrize("case", CASES)
def test_runs_without_keras(case, models, model_inputs, results):
    vae, given, got = models[case], model_inputs[case], results[case]
    x, z, c = (given.get(name) for name in "xzc")
    posterior = vae.encode(x if c is None else (x, c))
    decoded = vae.decode(z if c is None else (z, c)).mean()
    expected = {
        "decode/x_mean": decoded,
        "serving_default/x_mean": decoded,
        "another batch size": decoded[:1],
        "encode/mean": posterior.mean(),
        "encode/stddev": posterior.stddev(),
        "reconstruct/x_mean": vae.reconstruct(x if c is None else (x, c)),
        "sample/x_mean": vae.sample(len(z), seed=-7, condition=c),
        "score/elbo": kvae.evaluation.elbo(vae, x if c is None else (x, c), seed=-7),
        "sample/z": kvae.random.normal(-7, np.arange(len(z)), 0, vae.latent_dim),
    }
    assert set(got) == set(expected)
    for name, value in expected.items():
        # 1e-5 of values of the order of one: float32 rounding in sums of some hundred products is 1e-7 to 1e-6;
        # and of an ELBO, which is a sum over all values of x
        scale = np.abs(value).max() if name == "score/elbo" else 1.0
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-5 * scale, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_report(case, saved_models):
    folder, reports = saved_models
    report = reports[case]
    assert report.path == folder / case
    assert (report.format, report.precision) == ("saved_model", "float32")
    assert 0 <= report.max_error <= 1e-5
    assert report.latency_ms > 0
    assert report.num_bytes == sum(each.stat().st_size for each in report.path.rglob("*") if each.is_file())
    assert str(report).startswith(f"{report.path}: saved_model float32, ")
    assert "\n" not in str(report)


def test_signatures_and_no_others(saved_models):
    exported = kvae.export.load(saved_models[0] / "conditional")
    c = (None, 4)
    assert exported.signatures == {
        "decode": {"inputs": {"z": (None, 3), "c": c}, "outputs": {"x_mean": (None, 6)}},
        "encode": {"inputs": {"x": (None, 6), "c": c}, "outputs": {"mean": (None, 3), "stddev": (None, 3)}},
        "reconstruct": {"inputs": {"x": (None, 6), "c": c}, "outputs": {"x_mean": (None, 6)}},
        "sample": {"inputs": {"seed": (), "n": (), "c": c}, "outputs": {"x_mean": (None, 6), "z": (None, 3)}},
        "score": {"inputs": {"x": (None, 6), "seed": (), "c": c}, "outputs": {"elbo": (None,)}},
    }


def test_holds_the_weights_of_the_networks_and_nothing_else(saved_models, models):
    import tensorflow as tf

    vae = models["conv_bernoulli"]
    variables = tf.train.list_variables(str(saved_models[0] / "conv_bernoulli" / "variables" / "variables"))
    sizes = sum(int(np.prod(shape)) for name, shape in variables if "OBJECT_GRAPH" not in name)
    assert sizes == vae.encoder.count_params() + vae.decoder.count_params()


def test_missing_values_may_stay_missing(tmp_path):
    vae = make_vae("dense", (6,), missing="fill")
    kvae.export.saved_model(vae, tmp_path / "saved")
    x = np.array([[0, 1, np.nan, 1, np.nan, 0]], "float32")
    exported = kvae.export.load(tmp_path / "saved")
    np.testing.assert_allclose(exported.encode(x)["mean"], vae.encode(x).mean(), atol=1e-6)
    np.testing.assert_array_equal(exported.encode(x)["mean"], exported.encode(np.nan_to_num(x))["mean"])


def test_mixed_precision_is_exported_in_float32(tmp_path, dtype_policy):
    dtype_policy("mixed_float16")
    vae = make_vae("dense", (6,))
    assert kvae.export.saved_model(vae, tmp_path / "saved").max_error <= 1e-5
    z = np.ones((4, 3))
    # float16 has 11 bits: 0.0005 at each of three layers, a quarter of which reaches the mean of a Bernoulli
    np.testing.assert_allclose(kvae.export.load(tmp_path / "saved").decode(z), vae.decode(z).mean(), atol=1e-3)


def test_layers_compute_as_in_inference(tmp_path):
    """Also those that TFLite does not have, such as the exact GELU."""
    vae = make_ending_in(layers.Dropout(0.5), layers.BatchNormalization(), layers.Activation("gelu"), layers.Dense(6))
    for layer in vae.decoder.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_variance.assign(np.full(6, 2.0))
    kvae.export.saved_model(vae, tmp_path / "saved")
    z = np.ones((4, 3), "float32")
    np.testing.assert_allclose(kvae.export.load(tmp_path / "saved").decode(z), vae.decode(z).mean(), atol=1e-6)
