"""Counts: likelihoods over 0, 1, 2, ..."""

import math

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import parts
from kvae.likelihoods import distributions
from kvae.likelihoods.base import Likelihood, clipped

tfd = tfp.distributions


class _Counts(Likelihood):
    """What likelihoods of counts share."""

    support = (0.0, math.inf)
    counts = True
    link = "exponential"


@keras.saving.register_keras_serializable(package="kvae")
class Poisson(_Counts):
    """Counts whose variance is their mean; the decoder gives log-rates, so its last layer has no activation.

    log p(x) = x log_rate - exp(log_rate) - log x!, in nats. Log-rates are clipped to [-15, 20]. In float32 counts are
    exact up to 2^24, and log p(x) to 3e-7 x log x, for instance to 0.03 at 10,000.

    Example:
        >>> kvae.VAE(encoder, decoder, likelihood="poisson")
    """

    def base(self, log_rate):
        return tfd.Poisson(log_rate=clipped(log_rate))


@keras.saving.register_keras_serializable(package="kvae")
class NegativeBinomial(_Counts):
    """Counts that vary more than a Poisson: variance = mean + mean^2 / r.

    The decoder gives log-means, then logarithms of the inverse dispersion r; they are clipped to [-15, 20] and [-15, 10].

    Reference: Lopez et al. 2018 (scVI), Nature Methods 15, 1053-1058, where r is named theta.

    Example:
        >>> encoder = kvae.networks.dense_encoder((2000,), latent_dim=10)
        >>> decoder = kvae.networks.dense_decoder(10, (2000,), num_params=kvae.likelihoods.NegativeBinomial.num_params)
        >>> kvae.VAE(encoder, decoder, likelihood="negative_binomial")
    """

    num_params = 2

    def base(self, log_mean, log_inverse_dispersion):
        # r up to 2e4, where the variance is that of a Poisson but for large counts: beyond, gradients are rounding errors.
        log_mean, log_r = clipped(log_mean), clipped(log_inverse_dispersion, high=10.0)
        return tfd.NegativeBinomial(tf.exp(log_r), logits=log_mean - log_r, require_integer_total_count=False)


@keras.saving.register_keras_serializable(package="kvae")
class ZeroInflated(_Counts):
    """Counts with more zeros than a likelihood of counts explains: zero with probability pi, and else a draw from it.

    log p(0) = log(pi + (1 - pi) q(0)) and log p(x) = log(1 - pi) + log q(x), where q is `likelihood`. The decoder gives
    what that takes and, as the last chunk, logits of pi.

    References: Lambert 1992, "Zero-inflated Poisson regression", Technometrics 34(1); in a VAE, Lopez et al.
    2018 (scVI), Nature Methods 15, 1053-1058.

    Args:
        likelihood: name or object, `Poisson` or `NegativeBinomial`.

    Raises:
        ValueError: if `likelihood` is not one of counts.

    Example:
        >>> kvae.likelihoods.ZeroInflated("negative_binomial").num_params
        3
    """

    def __init__(self, likelihood="poisson", **kwargs):
        super().__init__(**kwargs)
        likelihood = parts.get(likelihood, Likelihood, [Poisson, NegativeBinomial])
        if likelihood.support != _Counts.support or not likelihood.counts or isinstance(likelihood, ZeroInflated):
            raise ValueError(
                "`likelihood` must be one of counts, Poisson or NegativeBinomial, to which zeros can be added. "
                f"Received: {type(likelihood).__name__}"
            )
        self.likelihood = likelihood

    @property
    def num_params(self):
        return self.likelihood.num_params + 1

    def build(self, data_shape=None, latent_dim=None):
        if self.likelihood.data_shape is None:
            self.likelihood.build(data_shape, latent_dim)
        super().build(data_shape, latent_dim)

    def base(self, *params):
        *params, logits = params
        return distributions.ZeroInflated(self.likelihood.base(*params), logits)
