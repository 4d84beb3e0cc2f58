"""TFLite files as users get them: run by LiteRT in a process that has neither TensorFlow nor Keras."""

import importlib

import keras
import numpy as np
import pytest
from exporting import CASES, listing, make_ending_in, make_vae, run_without
from keras import layers

import kvae
import kvae.export

_SCRIPT = """
import glob, os
import numpy as np
from ai_edge_litert.interpreter import Interpreter

for path in glob.glob("*.npz"):
    name = path.removesuffix(".npz")
    inputs = {key: value for key, value in np.load(path).items() if key != "x"}
    decode = Interpreter(name + ".tflite").get_signature_runner("decode")
    rows = [decode(**{key: value[row : row + 1] for key, value in inputs.items()}) for row in range(len(inputs["z"]))]
    np.save(os.path.join("results", name), np.concatenate([row["x_mean"] for row in rows]))

assert not {"keras", "kvae", "tensorflow"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def results(tflite_files, model_inputs):
    folder, _ = tflite_files
    (folder / "results").mkdir()
    for name, arrays in model_inputs.items():
        np.savez(folder / name, **arrays)
    run_without({"kvae", "keras", "tf_keras", "tensorflow", "tensorflow_probability"}, _SCRIPT, folder)
    return {name: np.load(folder / "results" / f"{name}.npy") for name in model_inputs}


@pytest.mark.parametrize("case", CASES)
def test_runs_without_tensorflow(case, models, model_inputs, results):
    z, c = (model_inputs[case].get(name) for name in "zc")
    expected = models[case].decode(z if c is None else (z, c)).mean()
    # 1e-5 of values of the order of one: float32 rounding in sums of some hundred products is 1e-7 to 1e-6
    np.testing.assert_allclose(results[case], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_report(case, tflite_files, models):
    folder, reports = tflite_files
    report, vae = reports[case], models[case]
    assert report.path == folder / f"{case}.tflite"
    assert (report.format, report.precision) == ("tflite", "float32")
    assert 0 < report.max_error <= 1e-5
    assert report.latency_ms > 0
    # four bytes for each weight of the decoder and none for the encoder
    assert 0 < report.num_bytes - 4 * vae.decoder.count_params() < 20_000
    assert report.num_bytes == report.path.stat().st_size


@pytest.mark.parametrize("case", CASES)
def test_one_signature_of_fixed_shape_and_no_operation_that_needs_tensorflow(case, tflite_files):
    from ai_edge_litert.interpreter import Interpreter

    path = tflite_files[0] / f"{case}.tflite"
    shapes = kvae.export.load(path).signatures
    assert list(shapes) == ["decode"]
    assert all(shape[0] == 1 and None not in shape for side in shapes["decode"].values() for shape in side.values())
    operations = {each["op_name"] for each in Interpreter(str(path))._get_ops_details()}
    assert not any(name.startswith(("Flex", "CUSTOM", "VAR_HANDLE", "READ_VARIABLE")) for name in operations)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_other_precisions_are_exported_in_float32(policy, tmp_path, dtype_policy):
    dtype_policy(policy)
    vae = make_vae("conv", (8, 8, 1))
    weights = [each.copy() for each in vae.get_weights()]
    report = kvae.export.tflite(vae, tmp_path / "decoder.tflite")
    assert (report.precision, report.max_error <= 1e-5) == ("float32", True)
    assert vae.decoder.compute_dtype == policy.removeprefix("mixed_")
    z = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    got = kvae.export.load(report.path).decode(z)
    assert got.dtype == np.float32
    # bfloat16 has 8 bits: 0.004 at each of some layers, a quarter of which reaches the mean of a Bernoulli
    np.testing.assert_allclose(got, vae.decode(z).mean(), atol=5e-3)
    for before, after in zip(weights, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("ending", "where"),
    [
        ([layers.Activation(keras.ops.erf, name="odd")], "Erf (in layer 'odd')"),
        ([layers.Dense(6, activation=keras.ops.erf, name="dense_7")], "Erf (in layer 'dense_7')"),
        (
            [
                layers.Reshape((1, 1, 6)),
                layers.Conv2DTranspose(6, 2, dilation_rate=2, name="wide"),
                layers.Cropping2D(((0, 2), (0, 2))),
                layers.Reshape((6,)),
            ],
            "Conv2DBackpropInput (in layer 'wide')",
        ),
    ],
)
def test_operations_that_tflite_does_not_have_are_named(tmp_path, ending, where):
    with pytest.raises(kvae.export.UnsupportedOperationError, match="does not have") as caught:
        kvae.export.tflite(make_ending_in(*ending), tmp_path / "new" / "decoder.tflite")
    assert where in str(caught.value)
    assert len(str(caught.value)) < 600
    assert listing(tmp_path) == []


def test_several_operations_are_all_named(tmp_path):
    ending = [layers.Activation(keras.ops.erf, name="one"), layers.Activation(keras.ops.sinh, name="two")]
    with pytest.raises(kvae.export.UnsupportedOperationError, match=r"Erf \(in layer 'one'\), Sinh \(in layer 'two'\)"):
        kvae.export.tflite(make_ending_in(*ending), tmp_path / "decoder.tflite")


@pytest.mark.parametrize("name", ["decoder", "decoder.keras", "decoder.tflite.gz"])
def test_wrong_suffix(name, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.tflite"):
        kvae.export.tflite(make_vae(), tmp_path / name)


@pytest.mark.parametrize("statement", ["import kvae.export", "import kvae.export.tflite, kvae.export.saved_model"])
def test_functions_hide_the_modules_of_the_same_names(statement):
    names = {}
    exec(statement, names)
    assert callable(names["kvae"].export.tflite)
    assert callable(names["kvae"].export.saved_model)
    for name in ("tflite", "saved_model"):
        module = importlib.import_module(f"kvae.export.{name}")
        assert getattr(kvae.export, name) is getattr(module, name)
