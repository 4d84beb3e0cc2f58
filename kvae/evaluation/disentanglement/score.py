"""What every score returns, and what it asks of its arrays."""

import dataclasses

import numpy as np

from kvae import checks
from kvae.data.factors import as_factors

# Fewer examples of a value than this leave nothing to learn from, or to test on.
LEAST_EXAMPLES = 6


@dataclasses.dataclass(frozen=True)
class Score:
    """A score with its protocol, without which the figure cannot be compared.

    Attributes:
        name: str.
        value: float.
        method: how it was estimated, in words.
        num_examples: N.
        factors: names of the factors it is about.
        representation: "means" or "samples" of the posterior; "codes" for arrays from elsewhere.
        seed: int, or None where nothing was drawn.
        details: dictionary of the numpy arrays that the score sums up.

    Example:
        >>> codes = vae.transform(x)
        >>> print(kvae.evaluation.mig(codes, factors, names=("shape", "scale")))
        MIG 0.41 (codes, 20-bin histogram, 10,000 examples, factors shape, scale)
    """

    name: str
    value: float
    method: str
    num_examples: int
    factors: tuple
    representation: str = "codes"
    seed: int | None = None
    details: dict = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def __float__(self):
        return self.value

    def __str__(self):
        return f"{self.name} {self.value:.2f} ({self.representation}, {self.method}, {self.measured_on})"

    @property
    def measured_on(self):
        """Examples, factors and seed, in words."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.num_examples:,} examples, factors {', '.join(self.factors)}{seed}"

    def to_dict(self):
        """All but the details, for JSON."""
        kept = [field.name for field in dataclasses.fields(self) if field.name != "details"]
        return {name: getattr(self, name) for name in kept} | {"factors": list(self.factors)}


def checked(name, codes, factors, names=None, least_dims=1, least_factors=1):
    """(codes float64 `[N, D]`, factors `[N, K]` numbered from 0, their names), else ValueError."""
    codes = np.asarray(codes)
    checks.check_values(codes, "codes")
    factors, names = as_factors(factors, names)
    if codes.ndim != 2 or len(codes) != len(factors):
        raise ValueError(
            "`codes` must be [N, D] and `factors` [N, K], with the same N. "
            f"Received: {list(codes.shape)} and {list(factors.shape)}."
        )
    if codes.shape[1] < least_dims:
        raise ValueError(
            f"{name} compares dimensions of the code, of which it needs {least_dims}. Received: {codes.shape[1]}."
        )
    check_factors(name, names, least_factors)
    for factor, values in zip(names, factors.T, strict=True):
        counts = np.bincount(values)
        if counts.min() < LEAST_EXAMPLES:
            raise ValueError(
                f"Every value of a factor must have at least {LEAST_EXAMPLES} examples. Received: {counts.min()} of value "
                f"{counts.argmin()} of {counts.size} of {factor!r}, among {len(codes)} examples. Pass more examples, or "
                "join values; a continuous factor is cut into a few intervals first, for instance by np.digitize."
            )
    return codes.astype("float64"), factors, names


def check_factors(name, names, least):
    if len(names) < least:
        raise ValueError(
            f"{name} compares factors, of which it needs {least}. Received: {', '.join(names)}. MIG, SAP, explicitness and "
            "IRS are defined for one factor."
        )


def check_seed(seed):
    """`seed` as numpy and scikit-learn take it."""
    return checks.check_seed(seed) & 0xFFFFFFFF


def gap(values):
    """The largest minus the second largest value of each column."""
    second, first = np.sort(values, axis=0)[-2:]
    return first - second
