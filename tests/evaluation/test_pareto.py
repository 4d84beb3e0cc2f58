import numpy as np
import pytest
from scipy import stats

from kvae.evaluation import pareto


@pytest.mark.parametrize("shape", [-0.3, 0.1, 0.5, 0.7, 1.2])
def test_fit_finds_the_shape_and_scale_of_scipy(shape):
    samples = stats.genpareto.rvs(shape, scale=2.0, size=(200, 1000), random_state=np.random.default_rng(0))
    found_shape, found_scale = pareto.fit(samples)
    # The maximum-likelihood estimate has the standard deviation (1 + k) / sqrt(M); so does this one, closely, and a
    # bias of order 1 / M.
    deviation = (1 + shape) / np.sqrt(1000)
    assert found_shape.mean() == pytest.approx(shape, abs=4 * deviation / np.sqrt(200) + 5 / 1000)
    assert found_shape.std() == pytest.approx(deviation, rel=0.25)
    assert found_scale.mean() == pytest.approx(2.0, rel=0.02)


def test_fit_agrees_with_the_likelihood_of_scipy():
    samples = stats.genpareto.rvs(0.4, size=2000, random_state=np.random.default_rng(1))
    shape, scale = (each[0] for each in pareto.fit(samples[None]))
    best_shape, _, best_scale = stats.genpareto.fit(samples, floc=0)
    assert shape == pytest.approx(best_shape, abs=0.01)  # a third of its standard deviation
    assert scale == pytest.approx(best_scale, rel=0.02)


@pytest.mark.parametrize("shape", [0.2, 0.6, 0.9])
def test_pareto_k_of_weights_that_are_pareto(shape):
    # If log w is exponential with mean k, w is Pareto with shape k.
    num_samples, size = 4000, pareto.tail_size(4000)
    log_weight = np.random.default_rng(2).exponential(shape, size=(300, num_samples))
    largest = -np.sort(-log_weight, axis=1)[:, : size + 1]
    expected = (size * shape + 10 * 0.5) / (size + 10)  # pulled towards 1/2 by ten weights
    assert pareto.pareto_k(largest).mean() == pytest.approx(expected, abs=4 * (1 + shape) / np.sqrt(size * 300) + 0.02)
    # A constant factor means nothing, and neither does the size of the blocks.
    np.testing.assert_allclose(pareto.pareto_k(largest - 500.0), pareto.pareto_k(largest), atol=1e-9)
    np.testing.assert_allclose(pareto.pareto_k(largest[:3]), pareto.pareto_k(largest)[:3])


def test_pareto_k_of_extremes():
    one_outweighs_all = np.linspace(0.0, -1e4, 50)[None]
    assert pareto.pareto_k(one_outweighs_all)[0] > 1
    equal = np.full([1, 50], -80.0)
    assert pareto.pareto_k(equal)[0] == -np.inf
    assert pareto.pareto_k(np.concatenate([equal, one_outweighs_all])).shape == (2,)


def test_tail_size():
    assert [pareto.tail_size(size) for size in (25, 100, 1000, 5000)] == [5, 20, 95, 213]
