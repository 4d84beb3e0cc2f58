"""Every likelihood against scipy, by a table; a class without a row fails."""

import inspect

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kvae import likelihoods

RNG = np.random.default_rng(0)
SHAPE = (3, 2, 2)

# name: (likelihood, a function from decoder outputs to a scipy distribution of each value, data)
CASES = {
    "Bernoulli": (
        likelihoods.Bernoulli(),
        lambda params: scipy.stats.bernoulli(1 / (1 + np.exp(-params))),
        (RNG.random((5, *SHAPE)) < 0.5).astype("float32"),
    ),
    "Normal": (
        likelihoods.Normal(scale=0.7),
        lambda params: scipy.stats.norm(params, 0.7),
        RNG.normal(size=(5, *SHAPE)).astype("float32"),
    ),
}
PARAMS = RNG.normal(size=(5, *SHAPE)).astype("float32")


def test_every_likelihood_has_a_case():
    classes = [
        name
        for name, each in inspect.getmembers(likelihoods, inspect.isclass)
        if issubclass(each, likelihoods.Likelihood) and each is not likelihoods.Likelihood
    ]
    assert set(classes) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_log_prob_and_mean_are_those_of_scipy(name):
    likelihood, reference, x = CASES[name]
    p, reference = likelihood.distribution(PARAMS), reference(PARAMS.astype("float64"))
    log_prob = reference.logpmf(x) if hasattr(reference.dist, "logpmf") else reference.logpdf(x)
    # float32 algebra, summed over twelve values
    np.testing.assert_allclose(p.log_prob(x), log_prob.sum(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(p.mean(), reference.mean(), atol=1e-6)
    np.testing.assert_allclose(likelihood(PARAMS), reference.mean(), atol=1e-6)
    assert (p.batch_shape, p.event_shape) == ((5,), SHAPE)


@pytest.mark.parametrize("name", CASES)
def test_samples_have_the_mean(name):
    likelihood, reference, _ = CASES[name]
    p, reference = likelihood.distribution(PARAMS), reference(PARAMS.astype("float64"))
    draws = p.sample(4000, seed=[1, 2]).numpy()
    # 60 means, each within 5 standard errors
    assert (np.abs(draws.mean(axis=0) - reference.mean()) < 5 * reference.std() / np.sqrt(4000)).all()


@pytest.mark.parametrize("name", CASES)
def test_masked_values_do_not_count(name):
    likelihood, reference, x = CASES[name]
    mask = np.random.default_rng(2).random(x.shape) < 0.5
    reference = reference(PARAMS.astype("float64"))
    log_prob = reference.logpmf(x) if hasattr(reference.dist, "logpmf") else reference.logpdf(x)
    with tf.GradientTape() as tape:
        params = tf.constant(PARAMS)
        tape.watch(params)
        masked = likelihood.distribution(params, mask).log_prob(np.where(mask, x, np.nan))
    np.testing.assert_allclose(masked, (log_prob * mask).sum(axis=(1, 2, 3)), rtol=1e-5)
    gradient = tape.gradient(masked, params).numpy()
    assert np.isfinite(gradient).all()
    assert (gradient[~mask] == 0).all()
    assert (gradient[mask] != 0).all()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_finite_gradients_at_extreme_outputs(name, extreme):
    likelihood, _, x = CASES[name]
    params = tf.fill([5, *SHAPE], extreme)
    with tf.GradientTape() as tape:
        tape.watch(params)
        log_prob = likelihood.distribution(params).log_prob(x)
    assert np.isfinite(log_prob).all()
    assert np.isfinite(tape.gradient(log_prob, params)).all()


def test_learned_scale():
    likelihood = likelihoods.Normal()
    likelihood.build(data_shape=SHAPE, latent_dim=2)
    assert [tuple(each.shape) for each in likelihood.trainable_variables] == [()]
    likelihood.log_scale.assign(np.log(0.3))
    x = RNG.normal(size=(5, *SHAPE)).astype("float32")
    expected = scipy.stats.norm(PARAMS, 0.3).logpdf(x).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(likelihood.distribution(PARAMS).log_prob(x), expected, rtol=1e-5)
    for extreme in (-1e4, 1e4):  # data without noise drives it there
        likelihood.log_scale.assign(extreme)
        assert np.isfinite(likelihood.distribution(PARAMS).log_prob(x)).all()


def test_leading_axes():
    likelihood = likelihoods.Bernoulli()
    likelihood.build(data_shape=SHAPE, latent_dim=2)
    p = likelihood.distribution(np.zeros((7, 5, *SHAPE), "float32"))
    assert (p.batch_shape, p.event_shape) == ((7, 5), SHAPE)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan")])
def test_scale_must_be_positive(scale):
    with pytest.raises(ValueError, match="must be a positive number, or None"):
        likelihoods.Normal(scale=scale)


@pytest.mark.parametrize(
    "x", [np.full((2, 3), 255, "uint8"), np.full((2, 3), 1.5), np.array([[-0.1, 0.0]]), np.array([[2, 1]])]
)
def test_bernoulli_refuses_what_is_not_in_the_unit_interval(x):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\].*Bernoulli.*/ 255"):
        likelihoods.Bernoulli().check(x)


def test_bernoulli_takes_zeros_and_ones_of_any_type():
    for dtype in ("uint8", "int64", "bool", "float32", "float64"):
        likelihoods.Bernoulli().check(np.array([[0, 1], [1, 1]], dtype))


def test_bernoulli_warns_once_of_grey_values():
    likelihood = likelihoods.Bernoulli()
    with pytest.warns(UserWarning, match="no density") as warned:
        likelihood.check(np.full((2, 3), 0.3))
        likelihood.check(np.full((2, 3), 0.3))
    assert len(warned) == 1


def test_normal_refuses_integers():
    with pytest.raises(ValueError, match=r"floating-point.*Received: values from 0 to 255 of dtype uint8.*/ 255"):
        likelihoods.Normal().check(np.array([[0, 255]], "uint8"))
