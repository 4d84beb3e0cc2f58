"""Whether an importance-weighted bound has enough samples."""

import math
import warnings
from typing import NamedTuple

import numpy as np

from kvae import checks
from kvae.evaluation import pareto
from kvae.evaluation.estimates import estimate
from kvae.evaluation.importance import weight_sums

# Above this shape the mean of the weights converges so slowly that more samples are of little use (arXiv:1507.02646). Of
# few samples the paper's later versions ask for less, min(1 - 1 / log10 S, 0.7), which at S = 100 is exceeded in a quarter
# of the examples whose log weights are normal with a deviation of 1; and there the bound is loose by 0.01 nats.
UNRELIABLE_K = 0.7
# The share of examples above it from which on a warning is given.
_LOOSE_SHARE = 0.1


class ImportanceDiagnostics(NamedTuple):
    """An importance-weighted bound, and what tells how far to trust it.

    Attributes:
        log_likelihood: `[N]`, the bound on log p(x), nats; as `kvae.evaluation.log_likelihood`.
        effective_sample_size: `[N]`, (sum w)^2 / sum w^2, between 1 and S: how many draws the weights amount to.
        pareto_k: `[N]`, shape of the tail of the weights; above 0.7 the bound is loose, and by how much cannot be told
            from it. Minus infinity where all weights are equal.
    """

    log_likelihood: np.ndarray
    effective_sample_size: np.ndarray
    pareto_k: np.ndarray

    def __str__(self):
        low, middle, high = np.quantile(self.effective_sample_size, (0.05, 0.5, 0.95))
        return (
            f"log p(x) >= {estimate(self.log_likelihood)} nats\n"
            f"effective sample size: median {middle:.1f} (90 % of examples: {low:.1f} to {high:.1f})\n"
            f"Pareto k: median {np.median(self.pareto_k):.2f}; above {UNRELIABLE_K} in {self.unreliable_share:.1%} of examples"
        )

    @property
    def unreliable_share(self):
        """Share of the examples whose Pareto k is above 0.7."""
        return float(np.mean(self.pareto_k > UNRELIABLE_K))


def importance_diagnostics(vae, x, num_samples=1000, seed=0, batch_size=None, samples_at_once=None, verbose="auto"):
    """`log_likelihood` with the effective sample size and the Pareto k of its importance weights.

    Only the largest weights are kept, 3 sqrt(S) + 1 for each example. If more than a tenth of the examples have a
    Pareto k above 0.7, a warning says that the bound is loose.

    Reference: Vehtari, Simpson, Gelman, Yao and Gabry 2015, arXiv:1507.02646.

    Args:
        vae, x, seed, batch_size, samples_at_once, verbose: as in `log_likelihood`, whose draws these are.
        num_samples: S, at least 25, as the tail is fitted to a fifth of the weights.

    Returns:
        `ImportanceDiagnostics`.

    Raises:
        TypeError: if `vae` has no likelihood, as an autoencoder.
        ValueError: if `num_samples` is less than 25, or x is refused.

    Example:
        >>> print(kvae.evaluation.importance_diagnostics(vae, x_test, num_samples=1000))
    """
    num_samples = checks.check_count("num_samples", num_samples, least=25)
    tail_size = pareto.tail_size(num_samples) + 1
    log_sum, log_sum_of_squares, largest = weight_sums(
        vae, x, num_samples, seed, batch_size, samples_at_once, verbose, tail_size
    )
    k = pareto.pareto_k(largest)
    result = ImportanceDiagnostics(log_sum - math.log(num_samples), np.exp(2 * log_sum - log_sum_of_squares), k)
    if result.unreliable_share > _LOOSE_SHARE:
        warnings.warn(
            f"The importance-weighted bound is loose: in {result.unreliable_share:.0%} of the examples a few of the "
            f"{num_samples} weights outweigh the others (Pareto k above {UNRELIABLE_K}), so log p(x) lies above the bound "
            "by an amount that it does not tell, and more samples help slowly. Compare with "
            "kvae.evaluation.annealed_log_likelihood, or train a richer posterior.",
            stacklevel=2,
        )
    return result
