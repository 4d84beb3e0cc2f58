import keras
import numpy as np
import pytest
import tensorflow as tf
from building import digits, networks

import kvae

X, X_TEST = digits()
X = X[:300]


def make_autoencoder(activation=None, **arguments):
    encoder, decoder = networks(params_size=3)
    encoder.layers[-1].activation = keras.activations.get(activation)
    autoencoder = kvae.Autoencoder(encoder, decoder, **{"likelihood": "bernoulli", **arguments})
    autoencoder.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    return autoencoder


def fit(autoencoder, **arguments):
    return autoencoder.fit(X, **{"epochs": 3, "batch_size": 64, "verbose": 0, **arguments}).history


def test_undercomplete_is_the_cross_entropy_of_the_code():
    autoencoder = make_autoencoder()
    history = fit(autoencoder, validation_data=X_TEST)
    assert set(history) == {"loss", "reconstruction", "val_loss", "val_reconstruction"}
    assert history["val_loss"][-1] < history["val_loss"][0]
    logits = autoencoder.decoder(autoencoder.encoder(X_TEST))
    expected = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(X_TEST, logits), axis=(1, 2, 3))
    report = autoencoder.evaluate(X_TEST, return_dict=True, verbose=0)
    assert report["loss"] == report["reconstruction"] == pytest.approx(np.mean(expected), rel=1e-6)
    np.testing.assert_allclose(autoencoder.transform(X_TEST), autoencoder.encoder(X_TEST), atol=1e-6)
    np.testing.assert_allclose(autoencoder.reconstruct(X_TEST), tf.sigmoid(logits), atol=1e-6)


def test_squared_error():
    autoencoder = make_autoencoder(likelihood=kvae.likelihoods.Normal(scale=1.0))
    error = np.sum((autoencoder.reconstruct(X_TEST) - X_TEST) ** 2, axis=(1, 2, 3))
    expected = np.mean(0.5 * error + 32 * np.log(2 * np.pi))
    assert autoencoder.evaluate(X_TEST, verbose=0)[0] == pytest.approx(expected, rel=1e-6)


def test_sparse():
    plain, sparse = make_autoencoder(), make_autoencoder(l1=2.0)
    report = sparse.evaluate(X_TEST, return_dict=True, verbose=0)
    penalty = 2.0 * np.abs(sparse.transform(X_TEST)).sum(axis=1).mean()
    assert report["loss"] == pytest.approx(report["reconstruction"] + penalty, rel=1e-5)
    fit(plain), fit(sparse)
    assert np.abs(sparse.transform(X_TEST)).mean() < 0.5 * np.abs(plain.transform(X_TEST)).mean()

    sparse = make_autoencoder("sigmoid", sparsity=3.0, sparsity_target=0.1)
    weight = np.linspace(0, 1, 297)
    report = sparse.evaluate(X_TEST, sample_weight=weight, batch_size=297, return_dict=True, verbose=0)
    rho = np.average(sparse.transform(X_TEST), axis=0, weights=weight)
    penalty = 3.0 * np.sum(0.1 * np.log(0.1 / rho) + 0.9 * np.log(0.9 / (1 - rho)))
    assert report["loss"] == pytest.approx(report["reconstruction"] + penalty, rel=1e-5)


def test_contractive():
    contractive = make_autoencoder(contraction=0.5)
    with tf.GradientTape() as tape:
        x = tf.constant(X_TEST)
        tape.watch(x)
        code = contractive.encoder(x)
    squared = np.sum(np.square(tape.batch_jacobian(code, x)), axis=(1, 2, 3, 4))
    report = contractive.evaluate(X_TEST, return_dict=True, verbose=0)
    assert report["loss"] == pytest.approx(report["reconstruction"] + 0.5 * squared.mean(), rel=1e-5)
    history = fit(contractive)
    assert history["loss"][-1] < history["loss"][0]


def test_contractive_under_xla():
    contractive = make_autoencoder(contraction=0.5)
    contractive.compile(keras.optimizers.Adam(1e-2), jit_compile=True)
    np.testing.assert_allclose(fit(contractive)["loss"], fit(make_autoencoder(contraction=0.5))["loss"], rtol=1e-4)


def test_denoising_corrupts_in_training_only():
    class Blank(keras.layers.Layer):
        def call(self, x, training=False):
            return x * 0 if training else x

    denoising = make_autoencoder(corruption=Blank())
    blank, seen = denoising.terms(X_TEST[:5], training=True), denoising.terms(X_TEST[:5])
    np.testing.assert_allclose(
        blank.z, np.broadcast_to(denoising.encoder(np.zeros_like(X_TEST[:5])), (1, 5, 3)), atol=1e-6
    )
    np.testing.assert_allclose(seen.z[0], denoising.encoder(X_TEST[:5]), atol=1e-6)
    noisy = make_autoencoder(corruption=keras.layers.Dropout(0.3, seed=1))
    history = fit(noisy, validation_data=X_TEST)
    assert history["val_loss"][-1] < history["val_loss"][0]


def test_what_is_missing_stays_zero_under_corruption():
    class Shift(keras.layers.Layer):
        def call(self, x, training=False):
            return x + 1

    denoising = make_autoencoder(corruption=Shift(), missing="fill")
    x = np.where(np.arange(64).reshape(8, 8, 1) % 3 == 0, np.nan, X_TEST[:5])
    code = denoising.terms(x, training=True).posterior_params
    np.testing.assert_allclose(code, denoising.encoder(np.where(np.isnan(x), 0.0, x + 1)), atol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"l1": 0.1, "contraction": 0.2}, {"corruption": keras.layers.GaussianNoise(0.3), "likelihood": "normal"}],
)
def test_saved_and_loaded(tmp_path, arguments):
    autoencoder = make_autoencoder(**arguments)
    fit(autoencoder)
    autoencoder.save(tmp_path / "autoencoder.keras")
    again = keras.models.load_model(tmp_path / "autoencoder.keras")
    assert type(again) is kvae.Autoencoder and again.compiled
    assert again.evaluate(X_TEST, verbose=0) == autoencoder.evaluate(X_TEST, verbose=0)
    assert type(again.objective.corruption) is type(autoencoder.objective.corruption)


def test_plots_and_exports(tmp_path):
    autoencoder = make_autoencoder()
    kvae.plots.reconstructions(autoencoder, X_TEST)
    kvae.plots.latent_scatter(autoencoder, X_TEST)
    kvae.plots.curves(fit(autoencoder))
    codes = autoencoder.transform(X_TEST[:4])
    for path in ("decoder.tflite", "saved"):
        export = kvae.export.tflite if path.endswith("tflite") else kvae.export.saved_model
        export(autoencoder, tmp_path / path)
        loaded = kvae.export.load(tmp_path / path)
        assert "sample" not in loaded.signatures
        np.testing.assert_allclose(loaded.decode(codes), autoencoder.reconstruct(X_TEST[:4]), atol=1e-5)


def test_bad_settings():
    with pytest.raises(ValueError, match="cannot sample"):
        make_autoencoder().sample(3)
    with pytest.raises(ValueError, match="`contraction` must be a number, zero or larger"):
        make_autoencoder(contraction=-1.0)
    with pytest.raises(TypeError, match="has no `objective` to choose"):
        kvae.Autoencoder(*networks(params_size=3), objective="elbo")
    with pytest.raises(
        ValueError, match="no meaning for Autoencoder.*the `likelihood`.*metrics are loss, reconstruction. "
    ):
        make_autoencoder().compile(loss="mse")
    with pytest.raises(ValueError, match="`sparsity_target` must lie between 0 and 1"):
        make_autoencoder(sparsity_target=1.0)
    for name in ("l1", "sparsity", "contraction"):
        for value in ("0.1", float("inf"), float("nan"), True):
            with pytest.raises(ValueError, match=f"`{name}` must be a number, zero or larger"):
                make_autoencoder(**{name: value})
    for corruption in (0.3, "gaussian", lambda x: x):
        with pytest.raises(TypeError, match=r"`corruption` must be a layer.*Received: .*of type"):
            make_autoencoder(corruption=corruption)
    with pytest.raises(TypeError, match="prior"):
        make_autoencoder(prior="normal")
    with pytest.raises(ValueError, match="must be 3 wide"):
        kvae.Autoencoder(*networks())
