"""Means over examples, with their standard errors."""

import math
from typing import NamedTuple

import numpy as np

from kvae.checks import check_count


class Estimate(NamedTuple):
    """A mean over examples with its standard error.

    Attributes:
        mean: nats per example, or whatever the values were in.
        standard_error: sample standard deviation over the square root of N; NaN for one example.
        num_examples: N.
    """

    mean: float
    standard_error: float
    num_examples: int

    def __str__(self):
        return f"{self.mean:.2f} +- {self.standard_error:.2f} (N = {self.num_examples})"

    def bits_per_dim(self, num_dims, num_levels=1):
        """A mean log-likelihood in nats as bits per dimension, -mean / (D log 2): a cost, smaller is better.

        Where `log_prob` is the logarithm of a mass (`Bernoulli`, `Categorical`, counts, `DiscretizedLogistic`, which
        takes levels scaled to [0, 1] and still gives the mass of a level) that is all. A density (`Normal`,
        `ContinuousBernoulli`, `Beta`, ...) changes with the units of x: for 256 levels that were dequantised, by noise
        as wide as a level, and then scaled to [0, 1], log2(256) = 8 bits have to be added to compare with a mass, which
        is what `num_levels=256` does. Of a density fitted to levels without such noise no bits can be told.

        Reference: Theis, van den Oord and Bethge 2016, arXiv:1511.01844, section 3.1.

        Args:
            num_dims: D, values in one example, for instance `math.prod(vae.data_shape)`.
            num_levels: levels to a unit of x for a density; 1 for a mass.

        Returns:
            `Estimate`, bits per dimension.

        Raises:
            ValueError: if one of them is no whole number of at least 1.

        Example:
            >>> kvae.evaluation.estimate([-543.4, -543.4]).bits_per_dim(784).mean          # doctest: +ELLIPSIS
            0.99995...
        """
        scale = math.log(2) * check_count("num_dims", num_dims)
        levels = math.log2(check_count("num_levels", num_levels))
        return self._replace(mean=levels - self.mean / scale, standard_error=self.standard_error / scale)


def estimate(values):
    """The mean of `values` `[N]` and its standard error.

    Raises:
        ValueError: if `values` is empty or not one-dimensional.

    Example:
        >>> print(kvae.evaluation.estimate([-80.0, -90.0, -85.0]))
        -85.00 +- 2.89 (N = 3)
    """
    values = np.asarray(values, dtype="float64")
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"`values` must be an array [N] of at least one value. Received shape: {list(values.shape)}.")
    error = values.std(ddof=1) / math.sqrt(values.size) if values.size > 1 else math.nan
    return Estimate(float(values.mean()), float(error), values.size)
