"""Counts."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kvae import likelihoods

CASES = {
    "Poisson": (likelihoods.Poisson(), [2.0]),
    "NegativeBinomial": (likelihoods.NegativeBinomial(), [2.0, 0.5]),
    "ZeroInflated": (likelihoods.ZeroInflated(), [2.0, -0.5]),
    "ZeroInflated, negative binomial": (likelihoods.ZeroInflated("negative_binomial"), [2.0, 0.5, 1.0]),
}


@pytest.mark.parametrize(("likelihood", "params"), CASES.values(), ids=CASES)
def test_masses_sum_to_one_and_have_the_moments(likelihood, params):
    counts = np.arange(500, dtype="float32")
    p = likelihood.distribution([params])
    masses = np.exp(p.log_prob(counts[:, None]))
    np.testing.assert_allclose(masses.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(masses @ counts, p.mean()[0, 0], rtol=1e-5)
    np.testing.assert_allclose(masses @ counts**2 - (masses @ counts) ** 2, p.stddev()[0, 0] ** 2, rtol=1e-4)


@pytest.mark.parametrize("count", [1e2, 1e3, 1e4])
def test_large_counts(count):
    # float32 holds x log(rate) and log x! to 6e-8 of their size; that the difference is small does not help
    tolerance = 3e-7 * count * np.log(count)
    log_prob = likelihoods.Poisson().log_prob([[np.log(count)]], [[count]])
    np.testing.assert_allclose(log_prob, scipy.stats.poisson(count).logpmf(count), atol=tolerance)
    log_prob = likelihoods.NegativeBinomial().log_prob([[np.log(count), 1.0]], [[count]])
    r = np.exp(1.0)
    np.testing.assert_allclose(log_prob, scipy.stats.nbinom(r, r / (r + count)).logpmf(count), atol=tolerance)


def test_a_zero_is_of_either_kind():
    likelihood = likelihoods.ZeroInflated()
    logits = tf.constant([-1e4, -3.0, 0.0, 3.0, 1e4])
    params = tf.stack([tf.fill([5], np.float32(np.log(2.0))), logits], axis=-1)
    extra = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    np.testing.assert_allclose(
        np.exp(likelihood.log_prob(params, [[0.0]])), extra + (1 - extra) * np.exp(-2), rtol=1e-6
    )


def test_inner_likelihood_is_built_and_its_object_kept():
    inner = likelihoods.NegativeBinomial()
    likelihood = likelihoods.ZeroInflated(inner)
    likelihood.build(data_shape=(4,), latent_dim=2)
    assert likelihood.likelihood is inner and inner.data_shape == (4,)
