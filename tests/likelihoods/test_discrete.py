"""Bits, classes and levels."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kvae import likelihoods

LEVELS = np.arange(256, dtype="float32") / 255


def test_bernoulli_warns_once_of_grey_values():
    likelihood = likelihoods.Bernoulli()
    with pytest.warns(UserWarning, match="no density") as warned:
        likelihood.check(np.full((2, 3), 0.3))
        likelihood.check(np.full((2, 3), 0.3))
    assert len(warned) == 1


def test_categorical_masses_sum_to_one_and_probabilities_come_last():
    likelihood = likelihoods.Categorical(4)
    logits = np.random.default_rng(0).normal(size=(6, 1 * 4)).astype("float32") * 3
    masses = np.stack([np.exp(likelihood.log_prob(logits, np.full((6, 1), k, "float32"))) for k in range(4)])
    np.testing.assert_allclose(masses.sum(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(likelihood(logits)[:, 0], masses.T, rtol=1e-5)


def test_categorical_takes_the_logits_class_by_class():
    logits = np.zeros((1, 6), "float32")
    logits[0, 2 + 1] = 50  # of 3 classes and 2 channels: class 1 of channel 1
    np.testing.assert_allclose(likelihoods.Categorical(3)(logits)[0], [[1 / 3] * 3, [0, 1, 0]], atol=1e-6)


def built(**arguments):
    likelihood = likelihoods.DiscretizedLogistic(**arguments)
    likelihood.build(data_shape=(1,))
    return likelihood


def random_params(likelihood, rows=20):
    """Locations from -1 to 2, log-scales from -10 to 3."""
    rng, components = np.random.default_rng(1), likelihood.num_components
    logits = rng.normal(size=(rows, components if components > 1 else 0))
    locations, log_scales = rng.uniform(-1, 2, (rows, components)), rng.uniform(-10, 3, (rows, components))
    return np.concatenate([logits, locations, log_scales], axis=-1).astype("float32")


@pytest.mark.parametrize("num_components", [1, 3])
def test_masses_of_levels_sum_to_one(num_components):
    likelihood = built(num_components=num_components)
    assert likelihood.num_params == (2 if num_components == 1 else 9)
    params = random_params(likelihood)
    log_masses = likelihood.log_prob(params[:, None], LEVELS[:, None])
    assert log_masses.shape == (20, 256)
    np.testing.assert_allclose(np.exp(log_masses).sum(axis=1), 1, rtol=1e-5)  # 256 terms


def test_tails_of_levels_are_exact_where_differences_of_sigmoids_are_not():
    # 1000 scales away, in the logarithm; scipy knows the tails in float64
    location, scale = 0.25, 5e-4
    log_prob = likelihoods.DiscretizedLogistic().log_prob(
        np.array([[location, np.log(scale)]], "float32"), LEVELS[200:201]
    )
    upper, lower = (scipy.stats.logistic.logsf((LEVELS[200] + d / 510 - location) / scale) for d in (-1, 1))
    np.testing.assert_allclose(log_prob, upper + np.log1p(-np.exp(lower - upper)), rtol=1e-5)


def test_mean_of_levels_is_within_half_a_level_and_nearly_exact_for_wide_scales():
    likelihood = built()
    for scale, levels in ((1e-4, 0.5), (1 / 255, 0.02), (0.1, 0.001)):
        location = np.linspace(-0.2, 1.2, 400, dtype="float32")[:, None]
        params = np.concatenate([location, np.full_like(location, np.log(scale))], axis=-1)
        masses = np.exp(likelihood.log_prob(params[:, None], LEVELS[:, None]))
        error = np.abs(likelihood(params)[:, 0] - masses @ LEVELS) * 255
        assert error.max() < levels + 1e-3  # float32, of sums over 256


def test_few_levels_are_drawn_as_they_are_weighed():
    likelihood = likelihoods.DiscretizedLogistic(num_levels=3)
    params = tf.constant([[0.4, -1.0]])
    draws = likelihood.distribution(params).sample(10000, seed=[3, 4]).numpy().ravel()
    masses = np.exp([likelihood.log_prob(params, [[level]])[0] for level in (0.0, 0.5, 1.0)])
    frequencies = [(draws == level).mean() for level in (0.0, 0.5, 1.0)]
    assert (np.abs(frequencies - masses) < 5 * np.sqrt(masses * (1 - masses) / 10000)).all()
