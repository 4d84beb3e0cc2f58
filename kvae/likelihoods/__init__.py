"""p(x|z): heads that turn the decoder's output into a distribution over the data.

A likelihood says what one value of x is: a bit, a grey level, a measurement, a count, a class, or a row of a table that
holds all of these. From the decoder's output it makes a `tfd` distribution (`distribution`), its log-density in nats
(`log_prob`), and its mean as a tensor (when called), which is what leaves in an exported decoder.

    x                             likelihood                                  decoder outputs per value
    0 or 1                        Bernoulli                                   1  logit
    grey, between 0 and 1         ContinuousBernoulli                         1  logit
                                  Beta                                        2  logit of the mean, log-concentration
    grey, one of 256 levels       DiscretizedLogistic                         2  location, log-scale
                                  DiscretizedLogistic(num_components=K)       3K logits, locations, log-scales
    real                          Normal, Laplace, StudentT                   1  location
                                  the same with scale="decoder"               2  location, log-scale
    counts 0, 1, 2, ...           Poisson                                     1  log-rate
                                  NegativeBinomial                            2  log-mean, log of the inverse dispersion
                                  ZeroInflated(base)                          1  more, the last: logit of extra zeros
    one of K classes              Categorical(K)                              K  logits
    columns of several kinds      Joint([(likelihood, num_columns), ...])     of each part, one after the other

Where a likelihood takes several outputs per value, the last axis of the decoder's output holds one chunk after the
other, each as wide as the data: all locations, then all log-scales.
"""

from kvae import parts
from kvae.likelihoods.base import Likelihood
from kvae.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflated
from kvae.likelihoods.discrete import Bernoulli, Categorical, DiscretizedLogistic
from kvae.likelihoods.joint import Joint
from kvae.likelihoods.real import Laplace, Normal, StudentT
from kvae.likelihoods.unit import Beta, ContinuousBernoulli

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Joint",
    "Laplace",
    "Likelihood",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "StudentT",
    "ZeroInflated",
    "get",
]

_KNOWN = [globals()[name] for name in __all__ if name not in ("Likelihood", "get")]


def get(identifier):
    """The likelihood that a name or object means; see `kvae.parts.get`."""
    return parts.get(identifier, Likelihood, _KNOWN)
