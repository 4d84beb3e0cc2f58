"""The shipped models are the fixtures that every later version must still load."""

import json
import pathlib

import numpy as np
import pytest

import kvae

HOME = pathlib.Path(__file__).parent.parent / "saved_models"


def test_names():
    assert {"digits_dense", "mnist_conv"} <= set(kvae.pretrained.names())


@pytest.mark.parametrize("name", sorted(path.parent.name for path in HOME.glob("*/model.keras")))
def test_shipped_model(name):
    vae = kvae.pretrained.load(name)
    assert isinstance(vae, kvae.VAE) and vae.compiled
    expected = vae.sample(4, seed=0)
    z = kvae.random.normal(0, np.arange(4), 0, vae.prior.noise_size)
    for format in ("tflite", "saved_model", "onnx"):
        exported = kvae.export.load(HOME / name / "export", format=format)
        np.testing.assert_allclose(exported.decode(z.numpy()), expected, atol=1e-5)
    assert {"README.md", "config.toml", "history.csv", "samples.png"} <= {each.name for each in (HOME / name).iterdir()}


def test_digits_dense_still_reaches_its_figures():
    vae = kvae.pretrained.load("digits_dense")
    metrics = json.loads((HOME / "digits_dense" / "metrics.json").read_text())["test"]
    report = vae.evaluate(kvae.data.load("digits").x_test, batch_size=256, return_dict=True, verbose=0)
    # other kernels than those of the machine that wrote the figures
    assert report["elbo"] == pytest.approx(metrics["elbo"], abs=1e-2)


def test_size():
    assert sum(path.stat().st_size for path in HOME.rglob("*") if path.is_file()) < 25e6


def test_absent_and_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model 'minst_conv'.*digits_dense, mnist_conv"):
        kvae.pretrained.load("minst_conv")
    (tmp_path / "model.keras").write_bytes(b"PK")
    with pytest.raises(ValueError, match="no readable .keras file"):
        kvae.pretrained.load(tmp_path)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(kvae.pretrained, "HOME", tmp_path / "nowhere")
        with pytest.raises(FileNotFoundError, match="models ship in a checkout"):
            kvae.pretrained.load("mnist_conv")


def test_a_folder_of_the_same_name_hides_no_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits_dense" / "litert").mkdir(parents=True)  # such as its export
    assert kvae.pretrained.find("digits_dense") == kvae.pretrained.HOME / "digits_dense" / "model.keras"
    (tmp_path / "digits_dense" / "model.keras").touch()
    assert kvae.pretrained.find("digits_dense").read_bytes() == b""
