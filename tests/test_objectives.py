import itertools

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from building import digits, linear_vae, make_vae

import kvae
from kvae.objectives import ELBO, IWAE

X = digits()[1][:20]


def test_exact_posterior_makes_every_weight_the_marginal_likelihood():
    """With q(z|x) = p(z|x), log p(x, z) - log q(z|x) = log p(x) for every single draw."""
    vae, x, log_marginal = linear_vae()
    log_weight = vae.terms(x, num_samples=50).log_weight.numpy()
    assert log_weight.shape == (50, 200)
    np.testing.assert_allclose(log_weight, np.tile(log_marginal(x), (50, 1)), rtol=1e-5)
    for objective in (ELBO(num_samples=3), IWAE(num_samples=3)):
        terms = linear_vae(objective=objective)[0].terms(x)
        # the ELBO has its KL in closed form and so a spread over draws, whose mean is log p(x): 4 standard errors
        gap = -objective.loss(terms).numpy() - log_marginal(x)
        if isinstance(objective, IWAE):
            np.testing.assert_allclose(gap, 0, atol=1e-4)
        assert abs(gap.mean()) < 4 * max(gap.std() / np.sqrt(len(gap)), 1e-6)


def test_perturbed_bounds_order_and_rise_to_the_marginal_likelihood():
    vae, x, log_marginal = linear_vae()
    weights = vae.encoder.get_weights()
    weights[1] += 0.4  # shifts the means and widens the posterior
    vae.encoder.set_weights(weights)
    x = np.tile(x, (20, 1))
    bounds = {
        count: -IWAE(num_samples=count).loss(vae.terms(x, num_samples=count)).numpy() for count in (1, 8, 64, 1024)
    }
    bounds = {0: kvae.evaluation.elbo(vae, x), **bounds, "exact": log_marginal(x)}
    values = list(bounds.values())
    for lower, upper in itertools.pairwise(values[1:]):
        difference = kvae.evaluation.estimate(upper - lower)
        assert difference.mean > -4 * difference.standard_error
    assert kvae.evaluation.estimate(values[-1] - values[0]).mean > 0.1
    assert abs(kvae.evaluation.estimate(values[-1] - values[-2]).mean) < 0.01


def test_iwae_of_one_sample_is_the_monte_carlo_elbo():
    vae = make_vae()
    terms = vae.terms(X, num_samples=1)
    expected = -(terms.log_likelihood + terms.log_prior - terms.log_posterior)[0]
    np.testing.assert_allclose(IWAE(num_samples=1).loss(terms), expected, rtol=1e-6)


def test_iwae_is_the_log_of_the_mean_weight():
    terms = make_vae().terms(X, num_samples=6)
    expected = -(scipy.special.logsumexp(terms.log_weight.numpy().astype("float64"), axis=0) - np.log(6))
    np.testing.assert_allclose(IWAE(num_samples=6).loss(terms), expected, rtol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_elbo_weighs_the_kl(beta):
    terms = make_vae().terms(X)
    loss = ELBO(beta=beta).loss(terms)
    np.testing.assert_allclose(loss, terms.reconstruction + beta * terms.kl, rtol=1e-6)
    if beta == 1.0:
        np.testing.assert_allclose(loss, -terms.elbo, rtol=1e-6)


@pytest.mark.parametrize("objective", [ELBO(num_samples=3), IWAE(num_samples=3)])
def test_terms_have_the_documented_shapes(objective):
    vae = make_vae(objective=objective)
    terms = vae.terms(X)
    assert terms.z.shape == (3, 20, 3)
    for name in ("log_likelihood", "log_prior", "log_posterior", "log_weight"):
        assert getattr(terms, name).shape == (3, 20)
    for name in ("kl", "reconstruction", "elbo"):
        assert getattr(terms, name).shape == (20,)
    assert objective.loss(terms).shape == (20,)


def test_beta_assigned_between_steps_changes_the_traced_step_and_not_the_elbo():
    vae = make_vae(compile_arguments={"optimizer": keras.optimizers.SGD(0.0)})
    first = vae.evaluate(X, return_dict=True, verbose=0)
    assert first["loss"] == pytest.approx(-first["elbo"], rel=1e-6)
    traced = vae.test_function
    vae.objective.beta.assign(3.0)
    second = vae.evaluate(X, return_dict=True, verbose=0)
    assert vae.test_function is traced
    assert second["elbo"] == first["elbo"]
    assert second["loss"] == pytest.approx(first["reconstruction"] + 3 * first["kl"], rel=1e-6)


def test_elbo_reported_by_other_objectives_is_the_same_bound():
    reports = [
        make_vae(objective=objective).evaluate(X, return_dict=True, verbose=0)
        for objective in (ELBO(), ELBO(beta=4.0), IWAE(num_samples=1))
    ]
    for report in reports[1:]:
        assert report["elbo"] == pytest.approx(reports[0]["elbo"], rel=1e-6)


def test_bad_settings():
    for beta in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="`beta` must be a number, zero or larger"):
            ELBO(beta=beta)
    for num_samples in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="`num_samples` must be a whole number of at least 1"):
            IWAE(num_samples=num_samples)


def test_stopped_posterior_passes_no_gradient_to_its_parameters():
    vae = make_vae()
    with tf.GradientTape() as tape:
        terms = vae.terms(X)
        log_q = terms.posterior_with_stopped_params().log_prob(tf.stop_gradient(terms.z))
    assert all(each is None for each in tape.gradient(log_q, vae.encoder.trainable_variables))
