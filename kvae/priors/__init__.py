"""p(z): what the latent space is taken to look like before any data is seen.

base       Prior
normals    StandardNormal, Normal
mixtures   NormalMixture, VampPrior
flow       Flow
fitted     fit_mixture, fit_flow: priors for models that are trained already
"""

from kvae import parts
from kvae.priors.base import Prior
from kvae.priors.fitted import fit_flow, fit_mixture
from kvae.priors.flow import Flow
from kvae.priors.mixtures import NormalMixture, VampPrior
from kvae.priors.normals import Normal, StandardNormal

__all__ = ["Flow", "Normal", "NormalMixture", "Prior", "StandardNormal", "VampPrior", "fit_flow", "fit_mixture", "get"]


def get(identifier):
    """The prior that a name or object means; see `kvae.parts.get`."""
    return parts.get(identifier, Prior, [StandardNormal, Normal, NormalMixture, VampPrior, Flow])
