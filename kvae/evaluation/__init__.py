"""Numbers that can be trusted: likelihoods with standard errors."""

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
