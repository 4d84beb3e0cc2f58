"""Scores of what stays the same in the code while one factor is held and the others vary."""

import numpy as np

from kvae import checks
from kvae.data.factors import Factors, FactorTable
from kvae.evaluation.disentanglement.prediction import linear_classifier
from kvae.evaluation.disentanglement.score import Score, check_factors, check_seed, checked


def factor_vae_score(data_set, num_votes=800, batch_size=64, num_examples=10_000, least_deviation=0.05, seed=0):
    """The FactorVAE score: how well the dimension that varies least tells which factor was held.

    A vote is a batch in which one factor, chosen at random, has one value, chosen at random; it goes to the dimension of
    the smallest variance, each variance relative to that over all examples. A classifier takes for each dimension the
    factor of most of its votes, and its accuracy on as many other votes is the score. Chance is about 1/K. Dimensions of
    a small standard deviation over all examples, as those that collapsed have in posterior means, do not take part.

    Reference: Kim and Mnih 2018, "Disentangling by factorising", arXiv:1802.05983, section 4.

    Args:
        data_set: `kvae.data.Factors` whose examples are codes `[N, D]`: `kvae.data.FactorTable(codes, factors)` for
            arrays, of which batches are then drawn; or `kvae.evaluation.Encoded(vae, data_set)`, new ones each time.
        num_votes: for training, and again for test.
        batch_size: examples of a vote.
        num_examples: from how many the variance over all examples is estimated.
        least_deviation: below which standard deviation a dimension does not take part.
        seed: int.

    Returns:
        `Score`, 0 if no dimension takes part; details `votes` `[D, K]` of training, and `active` `[D]`.

    Raises:
        ValueError: for one factor alone, counts less than 1 (2 for `batch_size` and `num_examples`), examples that are no
            codes, or too few of a value in a table.

    Example:
        >>> codes = kvae.data.FactorTable(vae.transform(x), factors)
        >>> print(kvae.evaluation.factor_vae_score(codes))
    """
    _check(data_set, "The FactorVAE score", num_votes, batch_size)
    checks.check_count("num_examples", num_examples, least=2)
    rng = np.random.default_rng(check_seed(seed))
    codes = _codes(data_set, min(num_examples, len(data_set)), rng)
    variances = codes.var(axis=0, ddof=1)
    active = (np.sqrt(variances) >= least_deviation) & (variances > 0)
    votes = np.zeros([2, codes.shape[1], len(data_set.names)], dtype="int64")
    if active.any():
        relative = np.where(active, variances, np.nan)
        held = data_set.sample(2 * num_votes, rng)
        chosen = rng.integers(len(data_set.names), size=2 * num_votes)
        for vote, (factor, values) in enumerate(zip(chosen, held, strict=True)):
            batch = _codes(data_set, batch_size, rng, {data_set.names[factor]: values[factor]})
            votes[vote // num_votes, np.nanargmin(batch.var(axis=0, ddof=1) / relative), factor] += 1
    trained, tested = votes
    right = np.take_along_axis(tested, trained.argmax(axis=1)[:, None], axis=1).sum()
    method = (
        f"majority of {num_votes} votes, {num_votes} for test, of {batch_size} {_batches(data_set)}, "
        f"{active.sum()} of {len(active)} dimensions of deviation >= {least_deviation}"
    )
    details = {"votes": trained, "active": active}
    return _score("FactorVAE score", right / num_votes, method, len(codes), data_set, seed, details)


def beta_vae_score(data_set, num_batches=800, batch_size=64, seed=0):
    """The BetaVAE score: how well a linear classifier tells from |z_1 - z_2| which factor the pairs share.

    A batch of pairs has one factor, chosen at random, that is equal within each pair; its mean absolute difference
    `[D]` is one example for a logistic regression, whose accuracy on as many other batches is the score. Chance is 1/K.

    Reference: Higgins et al. 2017, "beta-VAE: learning basic visual concepts with a constrained variational framework",
    ICLR, section 3.

    Args:
        data_set: `kvae.data.Factors` whose examples are codes, as for `factor_vae_score`.
        num_batches: for training, and again for test.
        batch_size: pairs of a batch.
        seed: int.

    Returns:
        `Score`.

    Raises:
        ValueError: as `factor_vae_score`.

    Example:
        >>> codes = kvae.data.FactorTable(vae.transform(x), factors)
        >>> print(kvae.evaluation.beta_vae_score(codes))
    """
    _check(data_set, "The BetaVAE score", num_batches, batch_size)
    rng = np.random.default_rng(check_seed(seed))
    shared = rng.permutation(np.arange(2 * num_batches) % len(data_set.names))
    if len(set(shared[:num_batches])) < 2:
        raise ValueError(
            "`num_batches` must be enough for batches of several factors to learn from, some dozens at least. "
            f"Received: num_batches={num_batches}"
        )
    differences = []
    for factor in shared:
        first, factors = data_set.draw(batch_size, rng)
        second = _codes(data_set, batch_size, rng, {data_set.names[factor]: factors[:, factor]})
        differences.append(np.abs(np.asarray(first, "float64") - second).mean(axis=0))
    differences = np.stack(differences)
    model = linear_classifier().fit(differences[:num_batches], shared[:num_batches])
    accuracy = model.score(differences[num_batches:], shared[num_batches:])
    method = f"logistic regression on {num_batches} batches, {num_batches} for test, of {batch_size} pairs {_batches(data_set)}"
    num_examples = len(data_set) if isinstance(data_set, FactorTable) else 2 * batch_size * len(shared)
    return _score("BetaVAE score", accuracy, method, num_examples, data_set, seed, {})


def irs(codes, factors, names=None, quantile=0.99):
    """The interventional robustness score: how little a dimension moves while its factor is held and others vary.

    For dimension j and factor k, 1 - (mean over the values of k of the largest |z_j - E[z_j | v_k]|) / max |z_j - E z_j|;
    the score is the mean over dimensions of the best factor's, weighted by max |z_j - E z_j|. The largest is taken as a
    quantile, against outliers.

    Reference: Suter, Miladinovic, Schoelkopf and Bauer 2019, "Robustly disentangled causal mechanisms",
    arXiv:1811.00007.

    Args:
        codes: array `[N, D]`.
        factors: integers `[N, K]`.
        names: K names of the factors.
        quantile: which quantile stands for the largest deviation; 1 is the paper's definition.

    Returns:
        `Score`, 0 if no dimension varies; details `robustness` `[D, K]`.

    Raises:
        ValueError: as `mig`, but for any D; and for a quantile outside (0, 1].

    Example:
        >>> print(kvae.evaluation.irs(vae.transform(x), factors))
    """
    codes, factors, names = checked("IRS", codes, factors, names)
    if not 0 < quantile <= 1:
        raise ValueError(f"`quantile` must lie in (0, 1]. Received: {quantile!r}")
    largest = np.abs(codes - codes.mean(axis=0)).max(axis=0)

    def deviation(held):
        return np.quantile(np.abs(held - held.mean(axis=0)), quantile, axis=0)

    deviations = np.stack(
        [
            np.mean([deviation(codes[factor == each]) for each in range(factor.max() + 1)], axis=0)
            for factor in factors.T
        ],
        axis=1,
    )
    varies = largest > 0
    robustness = np.zeros_like(deviations)
    robustness[varies] = 1 - deviations[varies] / largest[varies, None]
    value = float(np.average(robustness.max(axis=1), weights=largest)) if varies.any() else 0.0
    method = f"{quantile:g} quantile, {varies.sum()} of {len(varies)} dimensions"
    return Score("IRS", value, method, len(codes), names, details={"robustness": robustness})


def _check(data_set, name, num_batches, batch_size):
    if not isinstance(data_set, Factors):
        raise TypeError(
            f"{name} needs a data set of codes and factors: kvae.data.FactorTable(codes, factors) for arrays, or "
            f"kvae.evaluation.Encoded(vae, data_set). Received: {type(data_set).__name__}."
        )
    checks.check_count("num_votes" if "Factor" in name else "num_batches", num_batches)
    checks.check_count("batch_size", batch_size, least=2)
    check_factors(name, data_set.names, least=2)
    if isinstance(data_set, FactorTable):
        checked(name, data_set.x, data_set.factors, data_set.names)
    elif len(data_set.data_shape) != 1:
        raise ValueError(
            f"{name} needs a data set of codes [N, D]: kvae.evaluation.Encoded(vae, data_set), or kvae.data.FactorTable(codes, "
            f"factors). Received: examples of shape {list(data_set.data_shape)}."
        )


def _score(name, value, method, num_examples, data_set, seed, details):
    representation = getattr(data_set, "representation", "codes")
    return Score(name, float(value), method, num_examples, data_set.names, representation, seed, details)


def _codes(data_set, num_examples, rng, fixed=None):
    return np.asarray(data_set.draw(num_examples, rng, fixed)[0], dtype="float64")


def _batches(data_set):
    return "from these" if isinstance(data_set, FactorTable) else "drawn anew"
