"""Normalising flows: invertible maps with a cheap log-determinant, of which `posteriors.Flow` and `priors.Flow` are made.

A flow is a list of steps. Each step is an affine map of every value, y_i = exp(log_scale_i) x_i + shift_i, whose scale
and shift come from a network that sees other values only in such a way that the Jacobian is triangular.

    networks       the masked network (MADE) and the dense one
    steps          coupling and autoregressive steps, and their composition
    distribution   what a flow makes of a base distribution
    settings       checks of the arguments
"""

from kvae.flows.distribution import FlowDistribution, remember
from kvae.flows.networks import DenseNetwork, MaskedNetwork
from kvae.flows.settings import check_latent_dim, check_settings
from kvae.flows.steps import (
    AffineCoupling,
    InverseAutoregressive,
    MaskedAutoregressive,
    Step,
    forward,
    inverse,
    make_steps,
)

__all__ = [
    "AffineCoupling",
    "DenseNetwork",
    "FlowDistribution",
    "InverseAutoregressive",
    "MaskedAutoregressive",
    "MaskedNetwork",
    "Step",
    "check_latent_dim",
    "check_settings",
    "forward",
    "inverse",
    "make_steps",
    "remember",
]
