"""Numbers that can be trusted: likelihoods with standard errors."""

from kvae.evaluation.likelihood import Estimate, elbo, estimate, log_likelihood

__all__ = ["Estimate", "elbo", "estimate", "log_likelihood"]
