import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import kvae
from kvae import posteriors, priors
from kvae.objectives import Terms

tfd = tfp.distributions


def standard_normal(dim):
    prior = priors.StandardNormal()
    prior.build(latent_dim=dim)
    return prior.distribution(None)


def diagonal_params(seed=0, batch=6, dim=4):
    rng = np.random.default_rng(seed)
    return np.hstack([rng.normal(size=(batch, dim)), rng.normal(size=(batch, dim))]).astype("float32")


def test_diagonal_kl_three_ways():
    params = diagonal_params()
    q, p = posteriors.DiagonalNormal().distribution(params), standard_normal(4)
    mean, log_var = np.split(params.astype("float64"), 2, axis=-1)
    formula = 0.5 * np.sum(np.exp(log_var) + mean**2 - 1 - log_var, axis=-1)
    terms = Terms(q, p, None, None)
    np.testing.assert_allclose(terms.kl, formula, rtol=1e-5)  # float32 sums of four terms
    z = q.sample(200_000, seed=[1, 2])
    draws = (q.log_prob(z) - p.log_prob(z)).numpy().astype("float64")
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - formula) < 4 * error).all()


def test_which_pairs_are_exact():
    """KL is closed form between multivariate normals. A pair outside the list falls to Monte Carlo, knowingly."""
    q = posteriors.DiagonalNormal().distribution(diagonal_params())
    exact = [standard_normal(4), tfd.MultivariateNormalTriL(tf.zeros(4), tf.eye(4))]
    monte_carlo = [
        tfd.Independent(tfd.Normal(tf.zeros(4), 1.0), 1),
        tfd.MixtureSameFamily(tfd.Categorical(logits=[0.0]), tfd.MultivariateNormalDiag(tf.zeros([1, 4]), tf.ones(4))),
    ]
    for prior in exact:
        q.kl_divergence(prior)
    for prior in monte_carlo:
        with pytest.raises(NotImplementedError):
            q.kl_divergence(prior)


def test_kl_of_an_unregistered_pair_is_monte_carlo():
    q = posteriors.DiagonalNormal().distribution(diagonal_params())
    z = q.sample(50_000, seed=[3, 4])
    p = tfd.MixtureSameFamily(tfd.Categorical(logits=[0.0]), tfd.MultivariateNormalDiag(tf.zeros([1, 4]), tf.ones(4)))
    terms = Terms(q, p, z, None)
    np.testing.assert_allclose(terms.kl, tf.reduce_mean(q.log_prob(z) - p.log_prob(z), axis=0), rtol=1e-6)
    exact = q.kl_divergence(standard_normal(4))
    # four standard errors of the difference of two log-densities in four dimensions
    spread = tf.math.reduce_std(q.log_prob(z) - p.log_prob(z), axis=0) / np.sqrt(50_000)
    assert np.all(np.abs(terms.kl - exact) < 4 * spread)


def test_from_noise_is_the_reparameterisation():
    params, noise = diagonal_params(), np.random.default_rng(1).normal(size=(3, 6, 4)).astype("float32")
    head = posteriors.DiagonalNormal()
    mean, log_var = np.split(params, 2, axis=-1)
    np.testing.assert_allclose(head.from_noise(params, noise), mean + np.exp(log_var / 2) * noise, rtol=1e-5)
    assert head.params_size(4) == 8
    assert head.noise_size(params) == 4


@pytest.mark.parametrize("extreme", [1e4, -1e4])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_finite_at_extreme_encoder_outputs(extreme, dtype):
    params = tf.cast(tf.fill([2, 8], extreme), dtype)
    head = posteriors.DiagonalNormal()
    with tf.GradientTape() as tape:
        tape.watch(params)
        q = head.distribution(params)
        z = head.from_noise(params, tf.ones([1, 2, 4]))
        terms = Terms(q, standard_normal(4), z, None)
        total = tf.reduce_sum(terms.kl) + tf.reduce_sum(terms.log_posterior) + tf.reduce_sum(terms.log_prior)
    assert np.isfinite(total)
    assert np.isfinite(tf.cast(tape.gradient(total, params), tf.float32)).all()


def test_log_var_is_bounded_as_documented():
    q = posteriors.DiagonalNormal().distribution(np.array([[0.0, 0.0, -100.0, 100.0]], "float32"))
    np.testing.assert_allclose(np.log(q.variance()[0]), kvae.posteriors.LOG_VAR_RANGE, rtol=1e-5)
