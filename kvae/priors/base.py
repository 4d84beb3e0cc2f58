"""What all priors have in common."""

from kvae import parts, posteriors

# The priors that are normals, or mixtures of them, are made of the same heads as the posteriors, without an x.
HEADS = {"diagonal": posteriors.DiagonalNormal, "full": posteriors.FullNormal}


class Prior(parts.Part):
    """Base class of the priors.

    A subclass gives `distribution` and `from_noise`. Both receive the VAE, so that a prior may use its encoder
    (`vae.posterior_params`), as the VampPrior does.
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
