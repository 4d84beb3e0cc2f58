"""Scales: fixed, learned, of each feature, from the decoder, and optimal."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from building import networks

import kvae
from kvae import likelihoods

RNG = np.random.default_rng(0)
SHAPE = (3, 2, 2)
LOCATION, X = (RNG.normal(size=(2, 5, *SHAPE)) * 0.5).astype("float32")
SCIPY = {"Normal": scipy.stats.norm, "Laplace": scipy.stats.laplace, "StudentT": lambda *args: scipy.stats.t(5, *args)}


def make(name, scale, data_shape=SHAPE):
    likelihood = getattr(likelihoods, name)(scale=scale)
    likelihood.build(data_shape=data_shape, latent_dim=2)
    return likelihood


@pytest.mark.parametrize("name", SCIPY)
def test_one_learned_scale(name):
    likelihood = make(name, None)
    assert [tuple(each.shape) for each in likelihood.trainable_variables] == [()]
    likelihood.log_scale.assign(np.log(0.3))
    expected = SCIPY[name](LOCATION, 0.3).logpdf(X).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(likelihood.log_prob(LOCATION, X), expected, rtol=1e-5)
    for extreme in (-1e4, 1e4):  # data without noise drives it there
        likelihood.log_scale.assign(extreme)
        assert np.isfinite(likelihood.log_prob(LOCATION, X)).all()


@pytest.mark.parametrize("name", SCIPY)
def test_a_scale_of_each_feature(name):
    likelihood = make(name, "feature")
    assert [tuple(each.shape) for each in likelihood.trainable_variables] == [SHAPE]
    log_scale = RNG.normal(size=SHAPE)
    likelihood.log_scale.assign(log_scale)
    expected = SCIPY[name](LOCATION, np.exp(log_scale)).logpdf(X).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(likelihood.log_prob(LOCATION, X), expected, rtol=1e-5)


def test_a_scale_of_each_feature_needs_the_shape_of_the_data():
    with pytest.raises(ValueError, match="needs to know the shape of the data"):
        likelihoods.Normal("feature")(LOCATION)


@pytest.mark.parametrize("name", SCIPY)
def test_a_scale_from_the_decoder(name):
    likelihood, log_scale = make(name, "decoder"), RNG.normal(size=X.shape).astype("float32")
    assert likelihood.num_params == 2 and not likelihood.weights
    params = np.concatenate([LOCATION, log_scale], axis=-1)
    expected = SCIPY[name](LOCATION, np.exp(log_scale)).logpdf(X).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(likelihood.log_prob(params, X), expected, rtol=1e-5)
    np.testing.assert_array_equal(likelihood(params), LOCATION)


@pytest.mark.parametrize(("name", "params"), [("Normal", (0.0, 1)), ("Laplace", (0.5, 1)), ("StudentT", (1.0, 1))])
def test_densities_integrate_to_one(name, params):
    grid = np.sinh(np.linspace(-8, 8, 20001))  # to 1500 scales
    density = np.exp(make(name, "decoder", (1,)).log_prob([params], grid[:, None].astype("float32")))
    np.testing.assert_allclose(np.trapezoid(density, grid), 1, rtol=1e-5)


@pytest.mark.parametrize(("name", "fit"), [("Normal", scipy.stats.norm.fit), ("Laplace", scipy.stats.laplace.fit)])
def test_the_optimal_scale_is_that_of_the_batch_in_training(name, fit):
    likelihood = make(name, "optimal")
    residuals = (X - LOCATION).ravel()
    scale = fit(residuals, floc=0)[1]
    expected = SCIPY[name](LOCATION, scale).logpdf(X).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(likelihood.log_prob(LOCATION, X, training=True), expected, rtol=1e-5)
    # and is what everything else uses from then on
    np.testing.assert_allclose(likelihood.log_prob(LOCATION, X), expected, rtol=1e-5)
    assert not likelihood.trainable_variables


def test_before_training_the_optimal_scale_is_one():
    expected = scipy.stats.norm(LOCATION, 1).logpdf(X).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(make("Normal", "optimal").log_prob(LOCATION, X), expected, rtol=1e-5)


def test_the_optimal_scale_looks_at_observed_values_alone():
    likelihood, mask = make("Normal", "optimal"), RNG.random(X.shape) < 0.5
    log_prob = likelihood.log_prob(LOCATION, np.where(mask, X, np.nan), mask, training=True)
    scale = np.sqrt(np.mean((X - LOCATION)[mask] ** 2))
    expected = (scipy.stats.norm(LOCATION, scale).logpdf(X) * mask).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)


@pytest.mark.parametrize("joint", [False, True])
def test_sample_weights_weigh_in_the_optimal_scale(joint):
    likelihood, weight = make("Normal", "optimal"), np.float32([0, 1, 2, 0.5, 0])
    if joint:
        likelihood = likelihoods.Joint([(likelihood, SHAPE[-1])])
    x = np.where(weight[:, None, None, None] > 0, X, np.nan)
    log_prob = likelihood.log_prob(LOCATION, x, training=True, sample_weight=weight)[1:4]
    scale = np.sqrt(np.average(((X - LOCATION) ** 2).mean(axis=(1, 2, 3)), weights=weight))
    expected = scipy.stats.norm(LOCATION, scale).logpdf(X).sum(axis=(1, 2, 3))[1:4]
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)


def test_several_draws_count_alike_and_the_gradient_is_that_at_a_fixed_scale():
    likelihood = make("Normal", "optimal")
    location = tf.constant(np.stack([LOCATION, LOCATION + 1, LOCATION * 2]))  # [S, B, ...]
    mask = RNG.random(X.shape) < 0.8
    with tf.GradientTape() as tape:
        tape.watch(location)
        log_prob = likelihood.log_prob(location, X, mask, training=True)
    residuals = X - location.numpy()
    variance = (residuals**2 * mask).sum() / (3 * mask.sum())
    np.testing.assert_allclose(tape.gradient(log_prob, location), residuals * mask / variance, rtol=1e-5)


def test_steps_without_news_leave_the_running_scale_alone():
    likelihood = make("Normal", "optimal")
    likelihood.log_prob(LOCATION, X, training=True)
    before = likelihood.running.numpy()
    likelihood.log_prob(np.full_like(LOCATION, np.inf), X, training=True)  # overflowed
    likelihood.log_prob(LOCATION, X, np.zeros(X.shape, bool), training=True)  # nothing was observed
    np.testing.assert_array_equal(likelihood.running, before)
    assert np.isfinite(likelihood.log_prob(LOCATION, LOCATION, training=True)).all()  # without noise


def noisy_vae(likelihood, **compile_arguments):
    encoder, decoder = networks((4,), 1, hidden=(), num_params=likelihood.num_params)
    vae = kvae.VAE(encoder, decoder, likelihood)
    vae.compile(keras.optimizers.Adam(0.0), **compile_arguments)
    return vae


def test_the_running_scale_converges_to_that_of_the_residuals_and_evaluate_uses_it():
    vae = noisy_vae(likelihoods.Normal("optimal"), jit_compile=True)
    vae.decoder.set_weights([np.zeros_like(each) for each in vae.decoder.get_weights()])
    x = np.random.default_rng(1).normal(scale=3.0, size=(1000, 4)).astype("float32")
    vae.fit(x, batch_size=50, epochs=2, verbose=0)
    total, weight = vae.likelihood.running.numpy()
    # batches are of one size, so that the mean over steps is close to that over the data
    np.testing.assert_allclose(total / weight, np.mean(x**2), rtol=0.01)
    expected = scipy.stats.norm(0, np.sqrt(total / weight)).logpdf(x).sum(axis=1).mean()
    result = vae.evaluate(x, verbose=0, return_dict=True)
    np.testing.assert_allclose(result["reconstruction"], -expected, rtol=1e-5)


def test_the_optimal_scale_is_saved(tmp_path):
    vae = noisy_vae(likelihoods.Laplace("optimal"), run_eagerly=True)
    x = RNG.normal(size=(20, 4)).astype("float32")
    vae.fit(x, batch_size=10, verbose=0)
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    assert (vae.likelihood.running.numpy() > 0).all()
    np.testing.assert_array_equal(again.likelihood.running, vae.likelihood.running)


def test_the_optimal_scale_is_that_of_all_replicas():
    x, running = np.random.default_rng(1).normal(size=(30, 4)).astype("float32"), []
    for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
        with tf.distribute.MirroredStrategy(devices).scope():
            vae = noisy_vae(likelihoods.Normal("optimal"), jit_compile=False)
        vae.fit(x, batch_size=16, verbose=0)
        running.append(vae.likelihood.running.numpy())
    np.testing.assert_allclose(running[0], running[1], rtol=1e-5)
