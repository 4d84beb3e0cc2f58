import numpy as np
import pytest
import tensorflow as tf
from building import digits, linear_vae, make_vae

import kvae
from kvae.evaluation import elbo, estimate, log_likelihood

X = digits()[1][:40]


def test_log_likelihood_of_the_exact_posterior_is_exact():
    vae, x, log_marginal = linear_vae()
    np.testing.assert_allclose(log_likelihood(vae, x, num_samples=5), log_marginal(x), rtol=1e-5)


def test_log_likelihood_of_an_inexact_posterior_comes_close():
    vae, x, log_marginal = linear_vae()
    weights = vae.encoder.get_weights()
    weights[1] += 0.3
    vae.encoder.set_weights(weights)
    values = log_likelihood(vae, x, num_samples=5000)
    gap = estimate(values - log_marginal(x))
    assert abs(gap.mean) < max(1e-3, 4 * gap.standard_error)
    assert estimate(log_marginal(x) - elbo(vae, x)).mean > 0.1  # which the ELBO does not


def test_does_not_depend_on_how_it_is_cut():
    vae = make_vae()
    whole = log_likelihood(vae, X, num_samples=50)
    for arguments in ({"batch_size": 7}, {"samples_at_once": 8}, {"batch_size": 13, "samples_at_once": 1}):
        # sums of 50 exponentials in another order, of values of about 50 nats
        np.testing.assert_allclose(log_likelihood(vae, X, num_samples=50, **arguments), whole, atol=1e-4)
    data = tf.data.Dataset.from_tensor_slices(X).batch(9)
    np.testing.assert_allclose(log_likelihood(vae, data, num_samples=50), whole, atol=1e-4)
    np.testing.assert_allclose(elbo(vae, X, batch_size=7), elbo(vae, X), atol=1e-4)


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


def test_estimate():
    values = np.random.default_rng(0).normal(size=400)
    result = estimate(values)
    assert result.mean == pytest.approx(values.mean())
    assert result.standard_error == pytest.approx(values.std(ddof=1) / 20)
    assert result.num_examples == 400
    assert str(estimate([-80.0, -90.0, -85.0])) == "-85.00 +- 2.89 (N = 3)"
    assert np.isnan(estimate([1.0]).standard_error)
    for bad in ([], [[1.0]], 3.0):
        with pytest.raises(ValueError, match=r"array \[N\]"):
            estimate(bad)
