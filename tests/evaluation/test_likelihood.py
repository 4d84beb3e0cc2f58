import keras
import numpy as np
import pytest
import tensorflow as tf
from building import digits, linear_vae, make_vae, networks
from scipy.special import logsumexp

import kvae
from kvae.evaluation import elbo, estimate, importance, log_likelihood

X = digits()[1][:40]


def shift_proposal(vae, mean=0.0, variance=1.0):
    """Moves the mean of q(z|x), and multiplies its variance."""
    kernel, bias = vae.encoder.get_weights()
    shift = np.repeat([mean, np.log(variance)], len(bias) // 2)
    vae.encoder.set_weights([kernel, bias + shift])


def test_log_likelihood_of_the_exact_posterior_is_exact():
    vae, x, log_marginal = linear_vae()
    np.testing.assert_allclose(log_likelihood(vae, x, num_samples=5), log_marginal(x), rtol=1e-5)


def test_log_likelihood_of_an_inexact_posterior_comes_close():
    vae, x, log_marginal = linear_vae()
    shift_proposal(vae, mean=0.3)
    values = log_likelihood(vae, x, num_samples=5000)
    gap = estimate(values - log_marginal(x))
    assert abs(gap.mean) < max(1e-3, 4 * gap.standard_error)
    assert estimate(log_marginal(x) - elbo(vae, x)).mean > 0.1  # which the ELBO does not


def test_log_likelihood_of_too_wide_a_posterior_errs_as_much_as_theory_says():
    # q = N(m, c v) for p(z|x) = N(m, v) in two dimensions: the weights over p(x) have the variance c^2 / (2 c - 1) - 1.
    vae, x, log_marginal = linear_vae()
    shift_proposal(vae, variance=1.5)
    error = log_likelihood(vae, x, num_samples=5000) - log_marginal(x)
    deviation = np.sqrt((1.5**2 / 2 - 1) / 5000)
    gap = estimate(error)
    assert abs(gap.mean) < 1e-3  # that is 2.8 standard errors; and it is as reproducible as the seed
    assert abs(gap.mean) < 4 * gap.standard_error
    # The standard deviation of 200 values is known to 5 %: 4 standard errors.
    assert error.std() == pytest.approx(deviation, rel=0.2)


def test_log_likelihood_of_a_nonlinear_decoder_is_the_integral_over_a_grid():
    encoder, decoder = networks(latent_dim=2)
    decoder.set_weights([3 * each for each in decoder.get_weights()])  # far from linear
    encoder.set_weights([0 * each for each in encoder.get_weights()])  # q(z|x) is the prior
    vae = kvae.VAE(encoder, decoder)
    vae.compile(jit_compile=False)

    # Trapezoid rule; at 7 standard deviations the density of the prior is 2e-11 of that at 0.
    axis = np.linspace(-7, 7, 281)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2).astype("float32")
    logits = decoder.predict(z, batch_size=10_000, verbose=0).reshape(len(z), -1).astype("float64")
    data = X[:6].reshape(6, -1).astype("float64")
    log_density = data @ logits.T - np.logaddexp(0, logits).sum(axis=1)  # log p(x|z)
    log_prior = -0.5 * (z.astype("float64") ** 2).sum(axis=1) - np.log(2 * np.pi)
    exact = logsumexp(log_density + log_prior, axis=1) + 2 * np.log(axis[1] - axis[0])

    result = kvae.evaluation.importance_diagnostics(vae, X[:6], num_samples=100_000)
    # Delta method: the standard error of the log of a mean of weights is sqrt(1 / ESS - 1 / S).
    error = np.sqrt(1 / result.effective_sample_size - 1e-5)
    assert error.max() < 0.1
    assert (np.abs(result.log_likelihood - exact) < 4 * error).all()
    assert (np.abs(elbo(vae, X[:6], num_samples=1000) - exact) > 10 * error).all()  # a test that can fail


def test_does_not_depend_on_how_it_is_cut():
    vae = make_vae()
    whole = log_likelihood(vae, X, num_samples=50)
    for arguments in ({"batch_size": 7}, {"samples_at_once": 8}, {"batch_size": 13, "samples_at_once": 1}):
        # sums of 50 exponentials in another order, of values of about 50 nats
        np.testing.assert_allclose(log_likelihood(vae, X, num_samples=50, **arguments), whole, atol=1e-4)
    data = tf.data.Dataset.from_tensor_slices(X).batch(9)
    np.testing.assert_allclose(log_likelihood(vae, data, num_samples=50), whole, atol=1e-4)
    np.testing.assert_allclose(elbo(vae, X, batch_size=7), elbo(vae, X), atol=1e-4)


def test_xla_gives_the_same_and_one_trace_serves_uneven_batches_and_chunks():
    whole = log_likelihood(make_vae(), X, num_samples=50)
    vae = make_vae(compile_arguments={"jit_compile": True})
    values = log_likelihood(vae, X, num_samples=50, batch_size=15, samples_at_once=8)
    np.testing.assert_allclose(values, whole, atol=1e-4)
    assert vae.as_graph(importance._add_draws, True).experimental_get_tracing_count() == 1


def test_a_fresh_vae_is_evaluated_as_a_compiled_one():
    vae, x, log_marginal = linear_vae()
    assert not vae.compiled  # and dense, so XLA is chosen
    np.testing.assert_allclose(log_likelihood(vae, x[:3], num_samples=2), log_marginal(x[:3]), rtol=1e-5)


def test_seeds():
    vae = make_vae()
    np.testing.assert_array_equal(log_likelihood(vae, X, 10, seed=3), log_likelihood(vae, X, 10, seed=3))
    assert np.abs(log_likelihood(vae, X, 10, seed=3) - log_likelihood(vae, X, 10, seed=4)).min() > 0


def test_one_sample_is_the_weight():
    vae = make_vae()
    weight = vae.terms(X, num_samples=1).log_weight[0]
    np.testing.assert_allclose(log_likelihood(vae, X, 1, seed=0), weight, rtol=1e-5)


def test_objective_does_not_change_the_figures():
    expected = log_likelihood(make_vae(), X, 10)
    other = make_vae(objective=kvae.objectives.IWAE(num_samples=5))
    np.testing.assert_allclose(log_likelihood(other, X, 10), expected, rtol=1e-6)
    np.testing.assert_allclose(elbo(other, X), elbo(make_vae(), X), rtol=1e-6)


def test_values_that_are_missing_are_left_out():
    vae = make_vae(missing="fill")
    hidden = np.where(np.arange(X.size).reshape(X.shape) % 3 == 0, np.nan, X)
    expected = vae.terms(hidden, num_samples=1).log_weight[0]
    np.testing.assert_allclose(log_likelihood(vae, hidden, 1), expected, rtol=1e-5)
    assert (log_likelihood(vae, hidden, 1) > log_likelihood(vae, X, 1)).all()  # fewer pixels, larger mass


def test_conditional_models():
    labels = np.arange(40) % 10
    encoder = kvae.networks.dense_encoder((8, 8, 1), 2, hidden=(8,), num_classes=10)
    decoder = kvae.networks.dense_decoder(2, (8, 8, 1), hidden=(8,), num_classes=10)
    vae = kvae.VAE(encoder, decoder)
    vae.compile(jit_compile=False)
    values = log_likelihood(vae, (X, labels), 20)
    np.testing.assert_allclose(log_likelihood(vae, (X, labels), 20, batch_size=7), values, atol=1e-4)
    assert np.abs(log_likelihood(vae, (X, labels[::-1].copy()), 20) - values).max() > 0.01
    with pytest.raises(ValueError, match="pair"):
        log_likelihood(vae, X)


def test_bad_input():
    vae = make_vae()
    for arguments in ({"num_samples": 0}, {"num_samples": 2.5}, {"batch_size": 0}, {"samples_at_once": -1}):
        with pytest.raises(ValueError, match=f"`{next(iter(arguments))}` must be a whole number of at least 1"):
            log_likelihood(vae, X, **arguments)
    with pytest.raises(ValueError, match="`seed`"):
        log_likelihood(vae, X, seed="a")
    with pytest.raises(ValueError, match="is empty"):
        log_likelihood(vae, X[:0])
    with pytest.raises(ValueError, match=r"must have shape \[batch, 8, 8, 1\]"):
        log_likelihood(vae, X[..., 0])
    with pytest.raises(ValueError, match="`verbose` must be one of"):
        log_likelihood(vae, X, verbose="loud")
    autoencoder = kvae.Autoencoder(*networks(params_size=3))
    for evaluate in (
        log_likelihood,
        elbo,
        kvae.evaluation.importance_diagnostics,
        kvae.evaluation.annealed_log_likelihood,
    ):
        with pytest.raises(TypeError, match=r"Only a kvae.VAE has a likelihood of x. Received: Autoencoder"):
            evaluate(autoencoder, X)
    with pytest.raises(TypeError, match=r"Received: Functional"):
        log_likelihood(keras.Model(autoencoder.encoder.inputs, autoencoder.encoder.outputs), X)
