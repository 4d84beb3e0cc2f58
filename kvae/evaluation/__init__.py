"""Numbers that can be trusted: likelihoods, what the latent space holds, and whether it is disentangled.

log_likelihood, elbo       bounds on log p(x) of each example, nats; `estimate` gives their mean and standard error
importance_diagnostics     where the importance-weighted bound is loose
annealed_log_likelihood    another bound, by annealed importance sampling; `bidirectional_gap` bounds the error of both
latent_statistics          active units, KL per dimension, mutual information, total correlation, and a verdict
disentanglement            all scores of a model on a data set of known factors: `mig`, `dci`, `sap`, `modularity`,
                           `explicitness`, `irs`, `factor_vae_score`, `beta_vae_score`
"""

from kvae.evaluation.annealing import BidirectionalGap, annealed_log_likelihood, bidirectional_gap
from kvae.evaluation.diagnostics import ImportanceDiagnostics, importance_diagnostics
from kvae.evaluation.disentanglement import (
    DCI,
    SCORES,
    Disentanglement,
    Encoded,
    Score,
    beta_vae_score,
    dci,
    disentanglement,
    explicitness,
    factor_vae_score,
    irs,
    mig,
    modularity,
    sap,
)
from kvae.evaluation.estimates import Estimate, estimate
from kvae.evaluation.latents import LatentStatistics, latent_statistics
from kvae.evaluation.likelihood import elbo, log_likelihood

__all__ = [
    "DCI",
    "SCORES",
    "BidirectionalGap",
    "Disentanglement",
    "Encoded",
    "Estimate",
    "ImportanceDiagnostics",
    "LatentStatistics",
    "Score",
    "annealed_log_likelihood",
    "beta_vae_score",
    "bidirectional_gap",
    "dci",
    "disentanglement",
    "elbo",
    "estimate",
    "explicitness",
    "factor_vae_score",
    "importance_diagnostics",
    "irs",
    "latent_statistics",
    "log_likelihood",
    "mig",
    "modularity",
    "sap",
]
