"""Files of smaller precisions: their size, their error, what is quantized, and what is refused."""

import importlib.util

import keras
import numpy as np
import pytest
from exporting import listing, make_conditional_vae, make_vae, randomised
from keras import layers

import kvae
import kvae.export
from kvae.export import references

SMALLER = ("float16", "int8", "int8_full")


@pytest.fixture(scope="module")
def vae():
    """A decoder of 530k weights: the sizes that are asked for are those of large models."""
    decoder = keras.Sequential([keras.Input((16,)), layers.Dense(512, activation="relu"), layers.Dense(1024)])
    return randomised(kvae.VAE(kvae.networks.dense_encoder((1024,), 16), decoder))


@pytest.fixture(scope="module")
def files(vae, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {
        each: kvae.export.tflite(vae, folder / f"{each}.tflite", precision=each)
        for each in kvae.export.PRECISIONS
    }  # fmt: skip


@pytest.mark.parametrize(("precision", "ratio"), [("float16", 0.52), ("int8", 0.32), ("int8_full", 0.32)])
def test_size(files, vae, precision, ratio):
    assert vae.decoder.count_params() > 500_000
    assert files[precision].num_bytes <= ratio * files["float32"].num_bytes


@pytest.mark.parametrize("precision", SMALLER)
def test_error_is_within_the_tolerance_and_measured_as_told(files, vae, precision):
    report = files[precision]
    assert report.max_error <= report.tolerance == references.TOLERANCES[precision]
    assert report.psnr >= references.MIN_PSNR[precision] >= report.min_psnr
    z, _ = references.probes(vae)
    errors = kvae.export.load(report.path).decode(z) - vae.decode(z).mean().numpy()
    # the error is a float32 difference of numbers of the order of one
    assert np.abs(errors).max() == pytest.approx(report.max_error, abs=1e-6)
    assert -10 * np.log10((errors**2).mean()) == pytest.approx(report.psnr, abs=0.01)
    assert report.max_error > 10 * files["float32"].max_error  # something was rounded


def test_reports(files):
    for precision, report in files.items():
        assert report.precision == precision
        assert report.signatures["decode"]["inputs"] == {"z": ("float32", (1, 16))}
        assert report.signatures["decode"]["outputs"] == {"x_mean": ("float32", (1, 1024))}
        assert report.num_weights == 16 * 512 + 512 * 1024
        assert {each.name for each in report.operations} >= {"FULLY_CONNECTED", "LOGISTIC"}
        assert all(each.is_builtin for each in report.operations)
        assert report.rescaling == {}
    assert [files[each].quantizer for each in kvae.export.PRECISIONS] == [None, None, "ai_edge_quantizer", "tf.lite"]
    assert "tflite int8 by ai_edge_quantizer, " in str(files["int8"])
    assert ", PSNR " in str(files["int8"])


def test_int8_without_the_extra(vae, files, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ai_edge_quantizer" else find(name))
    report = kvae.export.tflite(vae, tmp_path / "decoder.tflite", precision="int8")
    assert report.quantizer == "tf.lite"
    assert report.num_bytes <= 0.32 * files["float32"].num_bytes
    assert report.max_error <= references.TOLERANCES["int8"]


def test_a_steep_decoder_is_held_to_what_rounding_z_does():
    """Logits a hundred times as large: an error of z, or of a weight, moves a pixel from black to white."""
    vae = make_vae("dense", (6,))
    smooth = references.references(vae, "decode", kvae.export.endpoints.Form(), "int8", _decode_rows(vae), 1)["x_mean"]
    assert (smooth.tolerance, smooth.min_psnr) == (2e-2, 50.0)
    last = vae.decoder.layers[-1] if hasattr(vae.decoder.layers[-1], "kernel") else vae.decoder.layers[-2]
    last.kernel.assign(100 * last.kernel)
    steep = references.references(vae, "decode", kvae.export.endpoints.Form(), "int8", _decode_rows(vae), 1)["x_mean"]
    z, _ = references.probes(vae)
    step = np.abs(z).max(axis=-1, keepdims=True) / 127
    rounded = step * np.round(np.divide(z, step, out=np.zeros_like(z), where=step > 0))
    moved = np.abs(vae.decode(rounded).mean() - vae.decode(z).mean())
    assert steep.tolerance == pytest.approx(4 * moved.max(), rel=1e-3)
    assert steep.tolerance > 2e-2
    assert steep.min_psnr < 50


def _decode_rows(vae):
    z, _ = references.probes(vae)
    return {"z": z}, len(z)


@pytest.mark.parametrize("precision", SMALLER)
def test_a_file_that_misses_is_refused(vae, precision, tmp_path, monkeypatch):
    monkeypatch.setitem(references.TOLERANCES, precision, 1e-9)
    monkeypatch.setitem(references._STEEPNESS, precision, 1e-6)
    message = r"The exported `decode` does not agree .* more than \d.*Take a higher precision"
    with pytest.raises(kvae.export.ParityError, match=message):
        kvae.export.tflite(vae, tmp_path / "new" / "decoder.tflite", precision=precision)
    assert listing(tmp_path) == []


def test_a_file_that_misses_the_psnr_is_refused(vae, tmp_path, monkeypatch):
    monkeypatch.setitem(references.MIN_PSNR, "float16", 200.0)
    monkeypatch.setitem(references._STEEPNESS, "float16", 1e-9)
    monkeypatch.setitem(references.TOLERANCES, "float16", 1.0)
    with pytest.raises(kvae.export.ParityError, match=r"the PSNR of x_mean is \d+\.\d dB, less than 200 dB"):
        kvae.export.tflite(vae, tmp_path / "decoder.tflite", precision="float16")
    assert listing(tmp_path) == []


def test_int8_full_of_an_encoder_is_calibrated_on_data(tmp_path):
    """Means and log-variances come from one tensor, but keep ranges of their own."""
    vae, x = make_vae("conv", (12, 12, 1)), np.random.default_rng(0).random((200, 12, 12, 1)).astype("float32")
    x = (x < 0.3).astype("float32")
    signatures = ("decode", "encode", "reconstruct")
    report = kvae.export.tflite(
        vae, tmp_path / "vae.tflite", precision="int8_full", signatures=signatures, calibration=x
    )
    assert list(report.signatures) == list(signatures)
    got, expected = kvae.export.load(report.path).encode(x[:50]), vae.encode(x[:50])
    scale = max(np.abs(expected.mean()).max(), np.abs(expected.stddev()).max())
    # facts of trained encoders: 0.03 to 0.04 where means reach 5
    for key in ("mean", "stddev"):
        assert np.abs(got[key] - getattr(expected, key)()).max() < 0.05 * scale, key


def test_int8_full_of_a_conditional_model(tmp_path):
    vae, generator = make_conditional_vae(), np.random.default_rng(0)
    calibration = generator.integers(0, 2, (100, 6)).astype("float32"), np.eye(4)[generator.integers(0, 4, 100)]
    for data in (None, calibration):
        report = kvae.export.tflite(
            vae, tmp_path / "decoder.tflite", precision="int8_full", calibration=data, overwrite=True
        )
        assert report.max_error < 5e-2


def test_int8_full_of_batches_larger_than_the_calibration_data(tmp_path):
    vae, x = make_vae("dense", (6,)), np.random.default_rng(0).integers(0, 2, (10, 6)).astype("float32")
    path = tmp_path / "vae.tflite"
    kvae.export.tflite(vae, path, "int8_full", signatures="encode", batch_sizes=(1, 16), calibration=x)
    exported = kvae.export.load(path)
    # the same steps of 8 bits, whose scales are rounded to float32 in each function
    np.testing.assert_allclose(exported.run("encode_b16", x=x)["mean"], exported.encode(x)["mean"], atol=1e-6)


def test_calibration_of_what_takes_none(tmp_path):
    with pytest.raises(ValueError, match="`calibration` is for precision='int8_full'.* Received: precision='int8'"):
        kvae.export.tflite(make_vae("dense", (6,)), tmp_path / "a.tflite", "int8", calibration=np.zeros((9, 6)))
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"signatures": ("decode", "encode")}, "finds the ranges of encode from data. Pass some as `calibration`"),
        ({"signatures": ("sample",)}, "'int8_full' cannot give sample: in 8 bits the random number generator"),
        ({"signatures": ("score", "decode")}, "'int8_full' cannot give score"),
        ({"output": "sample"}, "'int8_full' cannot give output='sample'"),
        ({"calibration": np.zeros((5, 7))}, r"`calibration` must have shape \[batch, 6\]. Received: \[5, 7\]"),
        ({"calibration": np.full((5, 6), 255.0)}, r"`calibration` must lie in \[0, 1\]"),
        ({"calibration": np.full((5, 6), np.nan)}, "`calibration` must be finite"),
        ({"calibration": (np.zeros((5, 6)), np.zeros((5, 4)))}, "`calibration` must be one array"),
    ],
)
def test_what_int8_full_does_not_take(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        kvae.export.tflite(make_vae("dense", (6,)), tmp_path / "decoder.tflite", precision="int8_full", **arguments)
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"precision": "Float16"},
            "`precision` must be one of 'float32', 'float16', 'int8', 'int8_full'.*mean 'float16'",
        ),
        ({"precision": "int4"}, "`precision` must be one of .*Did you mean 'int8'"),
        ({"signatures": ("decoder",)}, "`signatures` must be one of .*Did you mean 'decode'"),
        ({"signatures": ()}, "`signatures` must name at least one"),
        ({"output": "means"}, "`output` must be one of 'mean', 'params', 'sample'.*Did you mean 'mean'"),
        ({"input_dtype": "int8"}, "`input_dtype` must be one of 'float32', 'uint8'.*Did you mean 'uint8'"),
        ({"output_dtype": "float16"}, "`output_dtype` must be one of .*Did you mean 'float32'"),
        ({"batch_sizes": (16,)}, "`batch_sizes` must hold 1"),
        ({"batch_sizes": (1, 0)}, "`batch_sizes` must be a whole number of at least 1"),
        ({"output": "params", "output_dtype": "uint8"}, "output_dtype='uint8' means values in"),
    ],
)
def test_unknown_arguments(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        kvae.export.tflite(make_vae("dense", (6,)), tmp_path / "decoder.tflite", **arguments)
    assert listing(tmp_path) == []
