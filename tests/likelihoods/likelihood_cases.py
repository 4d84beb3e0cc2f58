"""One row per likelihood: an instance, the same distribution by scipy in float64, and data.

An oracle takes decoder outputs in float64 and gives what is true of each value of x by itself: `log_prob(x)`, `mean` and
`std`. `moments(x)` are the numbers whose mean `mean` is: x, or its one-hot code.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.special
import scipy.stats

from kvae import likelihoods

RNG = np.random.default_rng(0)
EXAMPLES, SHAPE = 5, (3, 2, 2)


@dataclasses.dataclass
class Oracle:
    log_prob: Callable
    mean: np.ndarray
    std: np.ndarray


@dataclasses.dataclass
class Case:
    make: Callable  # -> Likelihood
    oracle: Callable  # decoder outputs -> Oracle
    x: np.ndarray
    edges: tuple = ()  # values of x at which densities are difficult
    moments: Callable = np.asarray
    # float32 algebra; sums over twelve values
    rtol: float = 1e-5
    mean_tolerance: float = 1e-6

    @property
    def params(self):
        """Decoder outputs of the size that networks give."""
        rng = np.random.default_rng(1)
        return rng.normal(size=(EXAMPLES, *self.make().params_shape(SHAPE))).astype("float32")

    def built(self):
        likelihood = self.make()
        likelihood.build(data_shape=SHAPE, latent_dim=2)
        return likelihood


def chunks(params, number):
    return np.split(params, number, axis=-1)


def scipy_oracle(number, make):
    """The oracle of a scipy distribution, made of so many chunks of the decoder's output."""

    def oracle(params):
        frozen = make(*chunks(params, number))
        log_prob = frozen.logpmf if hasattr(frozen.dist, "logpmf") else frozen.logpdf
        return Oracle(log_prob, frozen.mean(), frozen.std())

    return oracle


def masses_oracle(values, masses):
    """The oracle of masses `[..., V]` of so many values."""

    def log_prob(x):
        index = np.abs(x[..., None] - values).argmin(axis=-1)
        return np.log(np.take_along_axis(masses, index[..., None], axis=-1)[..., 0])

    mean = masses @ values
    return Oracle(log_prob, mean, np.sqrt(masses @ values**2 - mean**2))


def continuous_bernoulli(params):
    # section 3 of arXiv:1907.06845, in terms of p; the standard deviation by quadrature
    p = scipy.special.expit(params)
    constant = 2 * np.arctanh(1 - 2 * p) / (1 - 2 * p)
    grid = np.linspace(0, 1, 10001)
    density = constant[..., None] * p[..., None] ** grid * (1 - p[..., None]) ** (1 - grid)
    mean = p / (2 * p - 1) + 1 / (2 * np.arctanh(1 - 2 * p))
    variance = np.trapezoid(density * (grid - mean[..., None]) ** 2, grid, axis=-1)
    return Oracle(
        lambda x: np.log(constant) + scipy.special.xlogy(x, p) + scipy.special.xlog1py(1 - x, -p), mean, variance**0.5
    )


def beta(logit, log_concentration):
    mean, concentration = scipy.special.expit(logit), np.exp(log_concentration)
    return scipy.stats.beta(mean * concentration, (1 - mean) * concentration)


def level_masses(location, log_scale, num_levels=256):
    """`[..., L]`, by differences of the cumulative distribution, the outer bins with the tails."""
    inner = (np.arange(num_levels - 1) + 0.5) / (num_levels - 1)
    below = scipy.stats.logistic.cdf((inner - location[..., None]) / np.exp(log_scale)[..., None])
    ends = np.zeros((*location.shape, 1)), np.ones((*location.shape, 1))
    return np.diff(np.concatenate([ends[0], below, ends[1]], axis=-1), axis=-1)


def mixture_of_levels(params):
    logits, locations, log_scales = (np.stack(chunks(each, 3), axis=-1) for each in chunks(params, 3))
    weights = scipy.special.softmax(logits, axis=-1)
    return masses_oracle(
        np.arange(16) / 15, (weights[..., None] * level_masses(locations, log_scales, 16)).sum(axis=-2)
    )


def categorical(number):
    def oracle(params):
        log_probs = scipy.special.log_softmax(np.stack(chunks(params, number), axis=-1), axis=-1)
        probs = np.exp(log_probs)
        one_hot = np.eye(number)

        def log_prob(x):
            return (log_probs * one_hot[np.nan_to_num(x).astype(int)]).sum(axis=-1)

        return Oracle(log_prob, probs, np.sqrt(probs * (1 - probs)))

    return oracle


def negative_binomial(log_mean, log_r):
    r = np.exp(log_r)
    return scipy.stats.nbinom(r, r / (r + np.exp(log_mean)))


def zero_inflated(base, number):
    def oracle(params):
        *params, logit = chunks(params, number + 1)
        count, extra = base(*params), scipy.special.expit(logit)
        mean = (1 - extra) * count.mean()
        second_moment = (1 - extra) * (count.var() + count.mean() ** 2)
        return Oracle(
            lambda x: np.log((x == 0) * extra + (1 - extra) * count.pmf(x)), mean, np.sqrt(second_moment - mean**2)
        )

    return oracle


def joint(params):
    # one channel of Normal(0.7), one of three classes
    normal, classes = scipy.stats.norm(params[..., :1], 0.7), categorical(3)(params[..., 1:])
    return Oracle(
        lambda x: np.concatenate([normal.logpdf(x[..., :1]), classes.log_prob(x[..., 1:])], axis=-1),
        np.concatenate([normal.mean(), classes.mean[..., 0, :]], axis=-1),
        np.concatenate([normal.std(), classes.std[..., 0, :]], axis=-1),
    )


def one_hot(number):
    return lambda x: np.eye(number)[x.astype(int)]


def joint_moments(x):
    return np.concatenate([x[..., :1], one_hot(3)(x[..., 1])], axis=-1)


SIZE = (EXAMPLES, *SHAPE)
REAL = RNG.normal(size=SIZE).astype("float32")
BITS = (RNG.random(SIZE) < 0.5).astype("float32")
GREY = RNG.random(SIZE).astype("float32")
COUNTS = RNG.poisson(2.0, size=SIZE).astype("float32")
CLASSES = RNG.integers(3, size=SIZE).astype("float32")
ENDS = (0.0, 1.0)
LARGE = (0.0, 1e3, 1e6)

CASES = {
    "Bernoulli": Case(
        likelihoods.Bernoulli, scipy_oracle(1, lambda logit: scipy.stats.bernoulli(scipy.special.expit(logit))), BITS, ENDS
    ),
    "ContinuousBernoulli": Case(likelihoods.ContinuousBernoulli, continuous_bernoulli, GREY, ENDS),
    "Beta": Case(likelihoods.Beta, scipy_oracle(2, beta), GREY, ENDS),
    "Normal": Case(lambda: likelihoods.Normal(0.7), scipy_oracle(1, lambda mean: scipy.stats.norm(mean, 0.7)), REAL, (1e4,)),
    "Normal, scale from the decoder": Case(
        lambda: likelihoods.Normal("decoder"),
        scipy_oracle(2, lambda mean, log_scale: scipy.stats.norm(mean, np.exp(log_scale))),
        REAL,
        (1e4,),
    ),
    "Laplace": Case(
        lambda: likelihoods.Laplace(0.7), scipy_oracle(1, lambda median: scipy.stats.laplace(median, 0.7)), REAL, (1e4,)
    ),
    "StudentT": Case(
        lambda: likelihoods.StudentT(df=5.0, scale=0.7), scipy_oracle(1, lambda mean: scipy.stats.t(5, mean, 0.7)), REAL, (1e4,)
    ),
    "DiscretizedLogistic": Case(
        likelihoods.DiscretizedLogistic,
        lambda params: masses_oracle(np.arange(256) / 255, level_masses(*chunks(params, 2))),
        np.round(GREY * 255) / 255,
        ENDS,
        # scales are 15 levels and more here, where the mean before rounding is off by less than 1e-3 of one
        mean_tolerance=4e-6,
    ),
    "DiscretizedLogistic, a mixture": Case(
        lambda: likelihoods.DiscretizedLogistic(num_levels=16, num_components=3),
        mixture_of_levels,
        np.round(GREY * 15) / 15,
        ENDS,
        # one level is 1/15, and some scales are as small
        mean_tolerance=1 / 15 / 50,
    ),
    "Categorical": Case(lambda: likelihoods.Categorical(3), categorical(3), CLASSES, (0.0, 2.0), one_hot(3)),
    "Poisson": Case(
        likelihoods.Poisson, scipy_oracle(1, lambda log_rate: scipy.stats.poisson(np.exp(log_rate))), COUNTS, LARGE,
        mean_tolerance=1e-5,
    ),
    "NegativeBinomial": Case(
        likelihoods.NegativeBinomial, scipy_oracle(2, negative_binomial), COUNTS, LARGE, mean_tolerance=1e-5
    ),
    "ZeroInflated": Case(
        likelihoods.ZeroInflated,
        zero_inflated(lambda log_rate: scipy.stats.poisson(np.exp(log_rate)), 1),
        COUNTS,
        LARGE,
        mean_tolerance=1e-5,
    ),
    "ZeroInflated, negative binomial": Case(
        lambda: likelihoods.ZeroInflated("negative_binomial"),
        zero_inflated(negative_binomial, 2),
        COUNTS,
        LARGE,
        mean_tolerance=1e-5,
    ),
    "Joint": Case(
        lambda: likelihoods.Joint([(likelihoods.Normal(0.7), 1), (likelihoods.Categorical(3), 1)]),
        joint,
        np.concatenate([REAL[..., :1], CLASSES[..., :1]], axis=-1),
        ENDS,
        joint_moments,
    ),
}  # fmt: skip
