"""p(z): what the latent space is taken to look like before any data is seen."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import parts

tfd = tfp.distributions


class Prior(parts.Part):
    """Base class of the priors.

    A subclass gives `distribution` and `from_noise`. Both receive the VAE, so that a prior may use its encoder
    (`vae.encode`), as the VampPrior does.
    """

    def distribution(self, vae):
        """The distribution p(z): batch `[]`, event `[D]`."""
        raise NotImplementedError

    def from_noise(self, noise, vae):
        """Draws from p(z): `noise [..., noise_size]` gives z `[..., D]`."""
        raise NotImplementedError

    @property
    def noise_size(self):
        """How many standard normal values one draw takes."""
        return self.latent_dim


@keras.saving.register_keras_serializable(package="kvae")
class StandardNormal(Prior):
    """N(0, I), the usual prior.

    Reference: Kingma and Welling 2014, arXiv:1312.6114, section 3.

    Example:
        >>> kvae.VAE(encoder, decoder, prior="standard_normal")
    """

    def distribution(self, vae):
        return tfd.MultivariateNormalDiag(tf.zeros([self.latent_dim]), tf.ones([self.latent_dim]))

    def from_noise(self, noise, vae):
        return noise


def get(identifier):
    """The prior that a name or object means; see `kvae.parts.get`."""
    return parts.get(identifier, Prior, [StandardNormal])
