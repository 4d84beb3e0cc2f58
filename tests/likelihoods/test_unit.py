"""Densities over the unit interval."""

import numpy as np
import pytest
import tensorflow as tf

from kvae import likelihoods


@pytest.mark.parametrize("logit", [-40.0, -5.0, -1e-3, 0.0, 1e-6, 0.3, 5.0, 40.0])
def test_continuous_bernoulli_is_a_density_of_its_mean_at_any_logit(logit):
    likelihood, grid = likelihoods.ContinuousBernoulli(), np.linspace(0, 1, 20001)
    density = np.exp(likelihood.log_prob([[logit]], grid[:, None].astype("float32")))
    np.testing.assert_allclose(np.trapezoid(density, grid), 1, rtol=1e-5)  # the quadrature: 40^2 / 12 / 20000^2
    np.testing.assert_allclose(np.trapezoid(density * grid, grid), likelihood(tf.constant([[logit]]))[0, 0], rtol=1e-4)


def test_continuous_bernoulli_learns_at_one_half_and_far_away():
    # d/dlogit log p(x) = x - mean, also at logit 0, where the formula of the constant is 0/0
    logits = tf.constant([[-1e4], [-20.0], [-1e-3], [0.0], [1e-3], [20.0], [1e4]])
    likelihood = likelihoods.ContinuousBernoulli()
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_prob = likelihood.log_prob(logits, [[0.3]])
    np.testing.assert_allclose(tape.gradient(log_prob, logits), 0.3 - likelihood(logits), atol=1e-6)


@pytest.mark.parametrize("params", [(0.0, 1.0), (1.0, 2.0), (-1.0, 4.0)])
def test_beta_integrates_to_one(params):
    edges = np.concatenate([[0], np.geomspace(1e-6, 0.5, 4000)])
    grid = np.concatenate([edges, 1 - edges[-2::-1]])
    density = np.exp(likelihoods.Beta().log_prob([params], grid[:, None].astype("float32")))
    np.testing.assert_allclose(np.trapezoid(density, grid), 1, rtol=1e-4)  # the quadrature


def test_beta_takes_the_ends_at_epsilon():
    likelihood = likelihoods.Beta(epsilon=1 / 512)
    params = [[0.3, -1.0]]  # infinite at both ends
    np.testing.assert_array_equal(likelihood.log_prob(params, [[0.0]]), likelihood.log_prob(params, [[1 / 512]]))
    np.testing.assert_array_equal(likelihood.log_prob(params, [[1.0]]), likelihood.log_prob(params, [[511 / 512]]))
