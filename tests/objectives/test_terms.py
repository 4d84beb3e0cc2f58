import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from building import digits, make_vae

import kvae
from kvae.objectives import ELBO, IWAE, Terms

tfd = tfp.distributions
X = digits()[1][:20]
RNG = np.random.default_rng(0)


def normal_terms(rows=20, dims=3, samples=2):
    """Terms of a diagonal posterior drawn by numpy, and its mean, scale and z in float64."""
    mean, scale = RNG.normal(size=(rows, dims)), np.exp(0.5 * RNG.normal(size=(rows, dims)))
    z = mean + scale * RNG.normal(size=(samples, rows, dims))
    posterior = tfd.MultivariateNormalDiag(np.float32(mean), np.float32(scale))
    prior = tfd.MultivariateNormalDiag(tf.zeros(dims), tf.ones(dims))
    log_likelihood = tf.constant(RNG.normal(-50, 5, size=(samples, rows)), tf.float32)
    return Terms(posterior, prior, tf.constant(z, tf.float32), log_likelihood), mean, scale, z


@pytest.mark.parametrize("objective", [ELBO(num_samples=3), IWAE(num_samples=3)])
def test_terms_have_the_documented_shapes(objective):
    vae = make_vae(objective=objective)
    terms = vae.terms(X)
    assert terms.z.shape == (3, 20, 3)
    for name in ("log_likelihood", "log_prior", "log_posterior", "log_weight", "path_log_weight"):
        assert getattr(terms, name).shape == (3, 20)
    for name in ("kl", "reconstruction", "elbo"):
        assert getattr(terms, name).shape == (20,)
    assert terms.kl_per_dimension.shape == (20, 3)
    assert terms.pairwise_log_posterior.shape == (3, 20, 20, 3)
    assert objective.loss(terms).shape == (20,)


def test_kl_per_dimension_is_the_closed_form_and_sums_to_the_kl():
    terms, mean, scale, _ = normal_terms()
    np.testing.assert_allclose(terms.kl_per_dimension, 0.5 * (mean**2 + scale**2 - 1) - np.log(scale), atol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(terms.kl_per_dimension, axis=-1), terms.kl, rtol=1e-5)


def test_kl_per_dimension_of_independent_laplace_distributions():
    def independent(base):
        return tfd.Independent(base, reinterpreted_batch_ndims=1)

    loc, scale = np.float32(RNG.normal(size=(4, 2))), np.float32(RNG.uniform(0.5, 2, size=(4, 2)))
    posterior = independent(tfd.Laplace(loc, scale))
    terms = Terms(posterior, independent(tfd.Laplace(tf.zeros(2), 1.0)), tf.zeros([1, 4, 2]), tf.zeros([1, 4]))
    np.testing.assert_allclose(tf.reduce_sum(terms.kl_per_dimension, axis=-1), terms.kl, rtol=1e-5)


def test_pairwise_log_posterior():
    terms, mean, scale, z = normal_terms()
    expected = -0.5 * ((z[:, :, None] - mean) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(terms.pairwise_log_posterior, expected, rtol=1e-4, atol=1e-4)
    own = tf.linalg.diag_part(tf.reduce_sum(terms.pairwise_log_posterior, axis=-1))
    np.testing.assert_allclose(own, terms.log_posterior, rtol=1e-5, atol=1e-5)


def test_dependent_dimensions_are_refused_by_name():
    correlated = tfd.MultivariateNormalTriL(tf.zeros([4, 2]), tf.eye(2, batch_shape=[4]))
    mixture = tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.zeros(2)), tfd.MultivariateNormalDiag(tf.zeros([2, 2]), tf.ones([2, 2]))
    )
    diagonal = tfd.MultivariateNormalDiag(tf.zeros([4, 2]), tf.ones([4, 2]))
    laplace = tfd.Independent(tfd.Laplace(tf.zeros(2), 1.0), 1)
    for posterior, prior in ((correlated, diagonal), (diagonal, mixture), (diagonal, laplace)):
        terms = Terms(posterior, prior, tf.zeros([1, 4, 2]), tf.zeros([1, 4]))
        with pytest.raises(ValueError, match=f"(?s)diagonal_normal.*Received.*{posterior.name}.*{prior.name}"):
            terms.kl_per_dimension  # noqa: B018
    with pytest.raises(ValueError, match="posterior of independent dimensions.*Received: MultivariateNormalTriL"):
        Terms(correlated, diagonal, tf.zeros([1, 4, 2]), tf.zeros([1, 4])).pairwise_log_posterior  # noqa: B018


def test_stopped_posterior_passes_no_gradient_to_its_parameters():
    vae = make_vae()
    with tf.GradientTape() as tape:
        terms = vae.terms(X)
        log_q = terms.posterior_with_stopped_params().log_prob(tf.stop_gradient(terms.z))
    assert all(each is None for each in tape.gradient(log_q, vae.encoder.trainable_variables))


class LearnedScale(kvae.posteriors.DiagonalNormal):
    """A posterior head with a variable of its own."""

    def build(self, data_shape=None, latent_dim=None):
        super().build(data_shape, latent_dim)
        self.log_scale = self.add_weight((), "zeros", name="log_scale")

    def distribution(self, params):
        base = super().distribution(params)
        return tfd.MultivariateNormalDiag(base.mean(), base.stddev() * tf.exp(self.log_scale.value))

    def from_noise(self, params, noise):
        base = super().distribution(params)
        return base.mean() + base.stddev() * tf.exp(self.log_scale.value) * noise


def test_path_log_weight_leaves_out_the_score_of_the_head_s_own_variables_too():
    vae = make_vae(posterior=LearnedScale())
    scale = vae.posterior.log_scale.value
    with tf.GradientTape(persistent=True) as tape:
        terms = vae.terms(X, num_samples=4)
        value, path = tf.reduce_sum(terms.log_weight), tf.reduce_sum(terms.path_log_weight)
        score = -tf.reduce_sum(terms.posterior.log_prob(tf.stop_gradient(terms.z)))
    np.testing.assert_allclose(terms.path_log_weight, terms.log_weight, rtol=1e-6)
    difference = tape.gradient(value, scale) - tape.gradient(path, scale)
    np.testing.assert_allclose(difference, tape.gradient(score, scale), rtol=1e-4)
    assert abs(float(difference)) > 0.1


def test_prior_draws_are_new_ones_and_repeat_themselves():
    vae = make_vae()
    terms = vae.terms(X)
    assert terms.prior_z.shape == (20, 3)
    np.testing.assert_array_equal(terms.prior_z, vae.terms(X).prior_z)
    assert np.abs(terms.prior_z - kvae.random.normal(0, kvae.random.EVALUATION, tf.range(20), 3)).min() > 0
    with pytest.raises(ValueError, match="draws from the prior.*Received: draw_prior=None"):
        Terms(terms.posterior, terms.prior, terms.z, terms.log_likelihood).prior_z  # noqa: B018
