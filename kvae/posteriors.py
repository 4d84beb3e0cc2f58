"""q(z|x): heads that turn the encoder's output into a distribution over the latent space."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import parts

tfd = tfp.distributions

# Variances from 1e-13 to 5e8: wide enough for any data, narrow enough that nothing overflows in float32.
LOG_VAR_RANGE = (-30.0, 20.0)


class Posterior(parts.Part):
    """Base class of the posteriors.

    A subclass gives `params_size`, `distribution` and `from_noise`. Called as a layer it gives the mean `[B, D]`.
    """

    def params_size(self, latent_dim):
        """Width of the encoder's output for `latent_dim` latent dimensions."""
        raise NotImplementedError

    def distribution(self, params):
        """The distribution q(z|x) of encoder outputs `[B, P]`: batch `[B]`, event `[D]`."""
        raise NotImplementedError

    def from_noise(self, params, noise):
        """Reparameterised draws: `params [B, P]` and `noise [..., B, noise_size]` give z `[..., B, D]`."""
        raise NotImplementedError

    def noise_size(self, params):
        """How many standard normal values one draw takes."""
        raise NotImplementedError

    def call(self, params):
        return self.distribution(params).mean()


@keras.saving.register_keras_serializable(package="kvae")
class DiagonalNormal(Posterior):
    """Normal with a diagonal covariance: the posterior of the first VAE.

    The encoder's output is `[mean, log_var]` on the last axis. `log_var` is clipped to [-30, 20].

    Reference: Kingma and Welling 2014, arXiv:1312.6114, equation 9.

    Example:
        >>> q = kvae.posteriors.DiagonalNormal().distribution(tf.zeros([4, 2 * 3]))
        >>> q.batch_shape, q.event_shape
        (TensorShape([4]), TensorShape([3]))
    """

    def params_size(self, latent_dim):
        return 2 * latent_dim

    def distribution(self, params):
        mean, scale = self._mean_and_scale(params)
        return tfd.MultivariateNormalDiag(mean, scale)

    def from_noise(self, params, noise):
        mean, scale = self._mean_and_scale(params)
        return mean + scale * noise

    def noise_size(self, params):
        return params.shape[-1] // 2

    @staticmethod
    def _mean_and_scale(params):
        mean, log_var = tf.split(tf.cast(params, tf.float32), 2, axis=-1)
        return mean, tf.exp(0.5 * tf.clip_by_value(log_var, *LOG_VAR_RANGE))


def get(identifier):
    """The posterior that a name or object means; see `kvae.parts.get`."""
    return parts.get(identifier, Posterior, [DiagonalNormal])
