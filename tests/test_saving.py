"""Saving and loading as Keras does it, with nothing but `import kvae`."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from building import digits, make_vae

import kvae

X, X_TEST = digits()
X = X[:300]


def fit(vae, **arguments):
    return vae.fit(X, **{"epochs": 2, "batch_size": 64, "verbose": 0, **arguments}).history


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"objective": kvae.objectives.ELBO(beta=3.0, num_samples=2), "likelihood": kvae.likelihoods.Normal()},
        {"objective": kvae.objectives.IWAE(num_samples=4), "seed": 7},
    ],
)
def test_continues_where_it_stopped(tmp_path, arguments):
    vae = make_vae(**arguments)
    fit(vae)
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    assert again.compiled and int(again.optimizer.iterations) == 10
    assert again.evaluate(X_TEST, verbose=0) == vae.evaluate(X_TEST, verbose=0)
    np.testing.assert_array_equal(again.sample(4, seed=1), vae.sample(4, seed=1))
    np.testing.assert_array_equal(again.predict(X_TEST, verbose=0), vae.predict(X_TEST, verbose=0))
    assert fit(again) == fit(vae)


def test_live_beta_is_saved(tmp_path):
    vae = make_vae(objective=kvae.objectives.ELBO(beta=4.0))
    vae.objective.beta.assign(0.5)
    vae.save(tmp_path / "vae.keras")
    assert float(keras.models.load_model(tmp_path / "vae.keras").objective.beta) == 0.5


def test_loads_in_a_fresh_process_with_only_kvae_imported(tmp_path):
    vae = make_vae()
    fit(vae)
    vae.save(tmp_path / "vae.keras")
    np.save(tmp_path / "x.npy", X_TEST)
    script = (
        "import sys, json, numpy, kvae, keras\n"
        "vae = keras.models.load_model(sys.argv[1] + '/vae.keras')\n"
        "x = numpy.load(sys.argv[1] + '/x.npy')\n"
        "print(json.dumps([vae.evaluate(x, verbose=0), vae.sample(2).tolist(), type(vae).__name__]))"
    )
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    report, samples, name = json.loads(run.stdout.splitlines()[-1])
    assert name == "VAE"
    # threads of another process may sum in another order
    np.testing.assert_allclose(report, vae.evaluate(X_TEST, verbose=0), rtol=1e-6)
    np.testing.assert_allclose(samples, vae.sample(2), atol=1e-6)


def test_weights_only(tmp_path):
    vae, other = make_vae(), make_vae()
    fit(vae)
    vae.save_weights(tmp_path / "vae.weights.h5")
    other.load_weights(tmp_path / "vae.weights.h5")
    np.testing.assert_array_equal(other.predict(X_TEST, verbose=0), vae.predict(X_TEST, verbose=0))


def test_clone_model_has_fresh_weights():
    vae = make_vae(objective=kvae.objectives.IWAE(num_samples=3), seed=5)
    clone = keras.models.clone_model(vae)
    assert (clone.seed, clone.objective.num_samples, clone.latent_dim) == (5, 3, 3)
    assert np.abs(clone.decoder.weights[0].numpy() - vae.decoder.weights[0].numpy()).max() > 1e-3
    clone.set_weights(vae.get_weights())
    np.testing.assert_array_equal(clone.predict(X_TEST, verbose=0), vae.predict(X_TEST, verbose=0))


def test_config_is_json():
    config = json.dumps(make_vae().get_config())
    assert json.dumps(kvae.VAE.from_config(json.loads(config)).get_config()) == config
