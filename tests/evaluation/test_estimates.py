import math

import numpy as np
import pytest

from kvae.evaluation import estimate


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


def test_bits_per_dim_of_a_mass():
    # 256 levels, each as likely as the other, are 8 bits.
    result = estimate(np.full(5, -784 * math.log(256))).bits_per_dim(784)
    assert result == pytest.approx((8.0, 0.0, 5))
    spread = estimate([-10.0, -20.0])
    assert spread.bits_per_dim(3).standard_error == pytest.approx(spread.standard_error / (3 * math.log(2)))


def test_bits_per_dim_of_a_density():
    # The uniform density over [0, 1] is what noise as wide as a level makes of levels that are equally likely.
    assert estimate(np.zeros(5)).bits_per_dim(784, num_levels=256).mean == pytest.approx(8.0)


@pytest.mark.parametrize("arguments", [(0,), (2.5,), (4, 0)])
def test_bits_per_dim_of_bad_sizes(arguments):
    with pytest.raises(ValueError, match="whole number of at least 1"):
        estimate([1.0]).bits_per_dim(*arguments)
