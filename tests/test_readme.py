"""The README as it is written: its code runs, and its figures are those of the shipped models."""

import json
import pathlib
import re
import textwrap
import types

import keras
import numpy as np
import pytest
from building import digits

import kvae

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_thirty_lines_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = (
        BLOCKS[0]
        .replace("epochs=100", "epochs=1, verbose=0")
        .replace("return_dict=True", "verbose=0")
        .replace("1000", "10")
    )
    assert code.count("epochs=1,") == 1
    names = {}
    exec(code, names)
    assert names["images"].shape == (64, 8, 8, 1)
    assert names["codes"].shape == (297, 8)
    assert (tmp_path / "vae.keras").is_file()
    assert (tmp_path / "decoder.tflite").is_file()
    assert (tmp_path / "reconstructions.png").is_file()
    assert 25 <= len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 35


def test_the_move_from_the_keras_example_runs(monkeypatch):
    inputs, latent = keras.Input((8, 8, 1)), keras.Input((2,))
    features = keras.layers.Flatten()(inputs)
    outputs = [keras.layers.Dense(2)(features), keras.layers.Dense(2)(features)]
    encoder = keras.Model(inputs, [*outputs, kvae.Sampling()(outputs)])
    images = keras.layers.Reshape((4, 4, 2))(keras.layers.Dense(32)(latent))
    images = keras.layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid")(images)
    x_train, x_test = digits()
    names = {
        "keras": keras, "kvae": kvae, "encoder": encoder, "decoder": keras.Model(latent, images),
    }  # fmt: skip
    monkeypatch.setattr(kvae.data, "load", lambda name: types.SimpleNamespace(x_train=x_train, x_test=x_test))
    exec(textwrap.dedent(BLOCKS[1]).replace("epochs=30", "epochs=1, verbose=0"), names)
    assert len(names["encoder"].outputs) == 2
    assert np.isfinite(names["vae"].evaluate(x_test, verbose=0)).all()


@pytest.mark.parametrize("name", ["digits_dense", "mnist_conv"])
def test_figures_are_those_of_the_shipped_models(name):
    metrics = json.loads((ROOT / "saved_models" / name / "metrics.json").read_text())
    row = next(line for line in README.splitlines() if line.startswith(f"| `{name}`"))
    test, decoder = metrics["test"], metrics["decoder"]
    for figure in (
        f"{test['elbo']:.2f}",
        f"{test['negative_log_likelihood']:.2f} +- {test['standard_error']:.2f}",
        f"{decoder['bytes'] / 1000:,.0f} kB",
        f"{decoder['max_error']:.0e}",
        f"{decoder['latency_ms']:.3f} ms",
    ):
        assert figure in row
