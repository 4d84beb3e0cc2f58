"""From log-densities to a loss: the `Terms` of one batch, and the objectives that combine them.

    bounds         ELBO (beta, free bits, capacity), IWAE (standard, STL and DReG gradients), Renyi
    disentangling  BetaTC, FactorVAE, DIP
    matching       InfoVAE, WAE, by the maximum mean discrepancy

An objective of your own is a subclass of `Objective` with a `loss(terms) -> [B]`.
"""

from kvae import parts
from kvae.objectives.base import Objective, batch_mean, check_num_samples, check_number, log_mean_exp
from kvae.objectives.bounds import ELBO, IWAE, Renyi
from kvae.objectives.disentangling import DIP, BetaTC, FactorVAE, permute_dimensions
from kvae.objectives.matching import WAE, InfoVAE, maximum_mean_discrepancy
from kvae.objectives.terms import Terms

__all__ = [
    "DIP",
    "ELBO",
    "IWAE",
    "WAE",
    "BetaTC",
    "FactorVAE",
    "InfoVAE",
    "Objective",
    "Renyi",
    "Terms",
    "batch_mean",
    "check_num_samples",
    "check_number",
    "get",
    "log_mean_exp",
    "maximum_mean_discrepancy",
    "permute_dimensions",
]


def get(identifier, **defaults):
    """The objective that a name or object means; see `kvae.parts.get`."""
    return parts.get(identifier, Objective, [ELBO, IWAE, Renyi, BetaTC, FactorVAE, InfoVAE, WAE, DIP], **defaults)
