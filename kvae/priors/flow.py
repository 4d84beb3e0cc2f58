"""Priors that are normalising flows."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import flows
from kvae.priors.base import Prior

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="kvae.priors", name="Flow")
class Flow(Prior):
    """A standard normal transformed by a normalising flow: a density that is learned, exact, and easy to draw from.

    KL is Monte Carlo.

    References: Chen et al. 2017 (flows as priors), arXiv:1611.02731, section 3.2; Dinh et al. 2017 (coupling),
    arXiv:1605.08803, equations 7 and 8; Papamakarios et al. 2017 (masked autoregressive), arXiv:1705.07057,
    equations 3 to 5.

    Args:
        num_steps: how many transformations; every other one takes the dimensions in reverse order.
        hidden: widths of the hidden layers of the network in each step.
        kind: "coupling" or "maf"; the first is as cheap to draw from as to evaluate and needs D >= 2; the second is
            richer, and a draw takes D passes.

    Raises:
        ValueError: for sizes that are not positive, an unknown kind, and in `build` for one latent dimension with
            kind="coupling".

    Example:
        >>> kvae.VAE(encoder, decoder, prior=kvae.priors.Flow(num_steps=4))
    """

    def __init__(self, num_steps=4, hidden=(64,), kind="coupling", **kwargs):
        super().__init__(**kwargs)
        self.num_steps, self.hidden, self.kind = flows.check_settings(num_steps, hidden, kind, ("coupling", "maf"))

    def build(self, data_shape=None, latent_dim=None):
        flows.check_latent_dim(self, latent_dim)
        self.steps = flows.make_steps(self.kind, self.num_steps, latent_dim, self.hidden)
        super().build(data_shape, latent_dim)

    def distribution(self, vae):
        base = tfd.MultivariateNormalDiag(tf.zeros([self.latent_dim]), tf.ones([self.latent_dim]))
        return flows.FlowDistribution(base, self.steps)

    def from_noise(self, noise, vae):
        return flows.forward(self.steps, noise)[0]
