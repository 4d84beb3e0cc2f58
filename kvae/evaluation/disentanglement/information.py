"""Scores of the mutual information between dimensions of the code and factors."""

import numpy as np

from kvae import checks
from kvae.evaluation.disentanglement.score import Score, checked, gap


def mig(codes, factors, names=None, num_bins=20):
    """The mutual information gap: 1/K sum_k (I(z_a; v_k) - I(z_b; v_k)) / H(v_k).

    Here z_a and z_b are the two dimensions that tell most of factor k: the score is 1 if each factor is in one dimension
    alone, and 0 if the best dimension of each has an equal. Codes are cut into bins of equal width from their lowest to
    their highest value. Bins too few for a factor's values bound the score from above: with 20 bins, a perfect code of
    32 equally frequent values reaches 0.85.

    Reference: Chen, Li, Grosse and Duvenaud 2018, "Isolating sources of disentanglement", arXiv:1802.04942, section 4.1;
    estimated from histograms as by Locatello et al. 2019, arXiv:1811.12359. Chen et al. integrate over q(z|x) instead.

    Args:
        codes: array `[N, D]`.
        factors: integers `[N, K]`.
        names: K names of the factors.
        num_bins: into how many bins each dimension is cut.

    Returns:
        `Score`; details `mutual_information` `[D, K]`, nats, and `gaps` `[K]`.

    Raises:
        ValueError: for arrays that do not fit each other, NaN, factors that are no integers or do not vary, too few
            examples of a value, and D < 2.

    Example:
        >>> print(kvae.evaluation.mig(vae.transform(x), factors))
    """
    codes, factors, names = checked("MIG", codes, factors, names, least_dims=2)
    information = _mutual_information(codes, factors, num_bins)
    gaps = gap(information) / _entropies(factors)
    details = {"mutual_information": information, "gaps": gaps}
    return Score("MIG", float(gaps.mean()), f"{num_bins}-bin histogram", len(codes), names, details=details)


def modularity(codes, factors, names=None, num_bins=20):
    """How far each dimension tells of one factor only: the mean over dimensions of 1 - delta_j.

    delta_j = sum_{k != best} I(z_j; v_k)^2 / (I(z_j; v_best)^2 (K - 1)). Dimensions that never vary are left out; those
    of pure noise are not, and count with whatever their estimated informations happen to be.

    Reference: Ridgeway and Mozer 2018, "Learning deep disentangled embeddings with the F-statistic loss",
    arXiv:1802.05312, section 3.

    Args:
        codes: array `[N, D]`.
        factors: integers `[N, K]`.
        names: K names of the factors.
        num_bins: into how many bins each dimension is cut.

    Returns:
        `Score`, 0 if no dimension varies; details `mutual_information` `[D, K]`, nats, and `per_dimension`.

    Raises:
        ValueError: as `mig`, and for one factor alone.

    Example:
        >>> print(kvae.evaluation.modularity(vae.transform(x), factors))
    """
    codes, factors, names = checked("Modularity", codes, factors, names, least_factors=2)
    information = _mutual_information(codes, factors, num_bins)
    squares = np.square(information[information.max(axis=1) > 0])
    best = squares.max(axis=1)
    scores = 1 - (squares.sum(axis=1) - best) / (best * (len(names) - 1))
    method = f"{num_bins}-bin histogram, {len(scores)} of {codes.shape[1]} dimensions"
    value = float(scores.mean()) if len(scores) else 0.0
    details = {"mutual_information": information, "per_dimension": scores}
    return Score("modularity", value, method, len(codes), names, details=details)


def _mutual_information(codes, factors, num_bins):
    """I(z_j; v_k) `[D, K]`, nats."""
    from sklearn.metrics import mutual_info_score

    checks.check_count("num_bins", num_bins, least=2)
    binned = [np.digitize(code, np.histogram_bin_edges(code, num_bins)[1:-1]) for code in codes.T]
    return np.array([[mutual_info_score(factor, code) for factor in factors.T] for code in binned])


def _entropies(factors):
    from sklearn.metrics import mutual_info_score

    return np.array([mutual_info_score(factor, factor) for factor in factors.T])
