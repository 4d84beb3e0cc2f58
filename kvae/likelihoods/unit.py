"""Densities over the interval from 0 to 1."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import checks
from kvae.likelihoods import distributions
from kvae.likelihoods.base import Likelihood, bounded_exp

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="kvae")
class ContinuousBernoulli(Likelihood):
    """Grey values between 0 and 1; the decoder gives logits, so its last layer has no activation.

    The Bernoulli formula with the constant that makes it a density: log C(p) + x log p + (1 - x) log(1 - p). A model of
    grey images with the `Bernoulli` likelihood needs no other change. The mean is not sigmoid(logit) but nearer to 1/2.

    Reference: Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845, section 3.

    Example:
        >>> vae = kvae.VAE(encoder, decoder, likelihood="continuous_bernoulli")
    """

    support = (0.0, 1.0)
    link = "sigmoid"

    def base(self, logits):
        return tfd.ContinuousBernoulli(logits=logits)

    def draw(self, first, second, logits):
        return self.base(logits).quantile(first)


@keras.saving.register_keras_serializable(package="kvae")
class Beta(Likelihood):
    """Fractions between 0 and 1, whose noise may lie at both ends; the decoder gives logits and log-concentrations.

    The mean is sigmoid(first output); the second is the logarithm of the concentration k, so that the parameters of the
    distribution are mean * k and (1 - mean) * k, each held between 3e-7 and 5e8. At 0 and 1 the density may be infinite:
    x is taken no nearer to them than `epsilon`. Where many values are exactly 0 or 1, another likelihood is better.

    Reference: Ferrari and Cribari-Neto 2004, "Beta regression for modelling rates and proportions", Journal of Applied
    Statistics 31(7), section 2.

    Args:
        epsilon: smallest distance from 0 and 1 at which the density is taken.

    Raises:
        ValueError: if `epsilon` does not lie between 1e-7 and 0.5.

    Example:
        >>> decoder = kvae.networks.dense_decoder(16, (28, 28, 1), num_params=kvae.likelihoods.Beta.num_params)
        >>> kvae.VAE(encoder, decoder, likelihood=kvae.likelihoods.Beta(epsilon=1 / 512))          # half a grey level
    """

    num_params = 2
    support = (0.0, 1.0)
    link = "sigmoid"

    def __init__(self, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        if not checks.is_number(epsilon) or not 1e-7 <= epsilon < 0.5:  # float32 does not know 1 - 1e-8
            raise ValueError(f"`epsilon` must lie between 1e-7 and 0.5. Received: epsilon={epsilon!r}")
        self.epsilon = float(epsilon)

    def base(self, logit, log_concentration):
        concentration1 = bounded_exp(tf.math.log_sigmoid(logit) + log_concentration)
        concentration0 = bounded_exp(tf.math.log_sigmoid(-logit) + log_concentration)
        return distributions.Clipped(tfd.Beta(concentration1, concentration0), self.epsilon)
