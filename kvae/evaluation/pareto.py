"""How heavy the tail of importance weights is: a generalised Pareto distribution fitted to the largest of them."""

import math

import numpy as np

# Examples fitted at a time: the grid of the fit then holds 10 MB.
_ROWS_AT_ONCE = 128


def tail_size(num_samples):
    """M, how many of S weights make up the tail: min(S / 5, 3 sqrt(S)) (Vehtari et al. 2015, arXiv:1507.02646)."""
    return math.ceil(min(num_samples / 5, 3 * math.sqrt(num_samples)))


def pareto_k(largest):
    """k-hat of importance weights: the shape of the tail, pulled a little towards 1/2 as few weights tell little.

    The weights have 1/k finite moments: with k > 1/2 their variance is infinite, with k > 1 their mean.

    References: Vehtari, Simpson, Gelman, Yao and Gabry 2015, arXiv:1507.02646, also for the weak prior;
    Zhang and Stephens 2009, "A new and efficient estimation method for the generalized Pareto distribution".

    Args:
        largest: array `[N, M + 1]`, for each example the largest log weights in falling order. The last one is the
            threshold, the others are the tail.

    Returns:
        array `[N]`; minus infinity where float32 cannot tell the weights of the tail apart.
    """
    rows = range(0, len(largest), _ROWS_AT_ONCE)
    return np.concatenate([_pareto_k(largest[start : start + _ROWS_AT_ONCE]) for start in rows])


def _pareto_k(largest):
    greatest, threshold = largest[:, :1], largest[:, -1:]
    with np.errstate(under="ignore"):
        excess = np.exp(largest[:, :-1] - greatest) - np.exp(threshold - greatest)
    rounding = 1e-6 * np.maximum(1, np.abs(greatest))
    told_apart = (greatest - threshold > rounding)[:, 0]
    size = excess.shape[1]
    k = np.full(len(largest), -np.inf)
    # Weights that are zero next to the greatest keep a logarithm.
    shape = fit(np.maximum(excess[told_apart], 1e-300))[0]
    k[told_apart] = (size * shape + 10 * 0.5) / (size + 10)
    return k


def fit(excess):
    """Shape k and scale sigma of the generalised Pareto distributions of `excess` `[N, M]` over a threshold.

    The density is 1/sigma (1 + k y / sigma)^(-1/k - 1). The estimate of Zhang and Stephens (2009): the posterior mean
    of -k / sigma over a grid, with their data-dependent prior.

    Returns:
        (k `[N]`, sigma `[N]`).
    """
    excess = np.sort(np.asarray(excess, dtype="float64"), axis=1)
    size = excess.shape[1]
    grid_size = 30 + math.isqrt(size)
    quarter, greatest = excess[:, [math.floor(size / 4 + 0.5) - 1]], excess[:, -1:]
    place = 1 - np.sqrt(grid_size / (np.arange(1, grid_size + 1) - 0.5))
    theta = 1 / greatest + place / (3 * quarter)  # [N, grid]
    shape = np.log1p(-theta[:, :, None] * excess[:, None, :]).mean(axis=2)
    log_profile = size * (np.log(-theta / shape) - shape - 1)
    weight = np.exp(log_profile - log_profile.max(axis=1, keepdims=True))
    theta = (weight * theta).sum(axis=1) / weight.sum(axis=1)
    shape = np.log1p(-theta[:, None] * excess).mean(axis=1)
    return shape, -shape / theta
