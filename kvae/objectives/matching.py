"""Objectives that match the aggregate posterior q(z) to the prior by the maximum mean discrepancy.

They look at the batch as a whole. Under several replicas each matches its own batch.
"""

import keras
import tensorflow as tf

from kvae.objectives.base import Objective, check_number

# Multiples of the kernel's width 2 D sigma^2 over which it is summed, as in the authors' code of the WAE.
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@keras.saving.register_keras_serializable(package="kvae")
class InfoVAE(Objective):
    """-E_q[log p(x|z)] + (1 - alpha) KL(q(z|x) || p(z)) + (alpha + scale - 1) MMD(q(z), p(z)).

    alpha > 0 favours mutual information between x and z, which the ELBO holds down; `scale` is the paper's lambda. With
    alpha = 0 and scale = 1 this is the ELBO; with alpha = 1 the `WAE`. See `maximum_mean_discrepancy` for the
    MMD between z and as many draws of the prior. Under several replicas each matches its own batch.

    Args:
        alpha: weight taken off the KL, at most 1.
        scale: lambda; the MMD is about 1 and the reconstruction hundreds of nats, so 1000 is usual.

    Raises:
        ValueError: if `alpha` is more than 1, `scale` is not positive, or alpha + scale - 1 is negative, which would
            drive q(z) away from the prior.

    Reference: Zhao, Song and Ermon 2019, arXiv:1706.02262, equation 6.

    Example:
        >>> vae = kvae.VAE(encoder, decoder, objective=kvae.objectives.InfoVAE(alpha=0.5, scale=500.0))
    """

    def __init__(self, alpha=0.0, scale=1000.0, **kwargs):
        super().__init__(**kwargs)
        self.alpha = check_number("alpha", alpha, minimum=-float("inf"))
        self.scale = check_number("scale", scale)
        if self.alpha > 1 or self.scale == 0 or self.alpha + self.scale < 1:
            raise ValueError(
                "InfoVAE needs `alpha` <= 1, `scale` > 0 and alpha + scale >= 1; else the KL or the MMD would be "
                f"maximised. Received: alpha={alpha!r}, scale={scale!r}"
            )

    def loss(self, terms):
        discrepancy = maximum_mean_discrepancy(terms.z[0], terms.prior_z, terms.share)
        return terms.reconstruction + (1 - self.alpha) * terms.kl + (self.alpha + self.scale - 1) * discrepancy


@keras.saving.register_keras_serializable(package="kvae")
class WAE(Objective):
    """The Wasserstein autoencoder with an MMD penalty: -E_q[log p(x|z)] + weight MMD(q(z), p(z)).

    No KL: each q(z|x) may be narrow as long as together they look like the prior. Raise the weight with care: posteriors
    that are all equal to the prior match it too, as in a collapsed VAE. The cost c(x, G(z)) of the paper is
    -log p(x|z); a `Normal` likelihood of fixed scale makes it the squared error. See `maximum_mean_discrepancy`
    for the MMD between z and as many draws of the prior. Under several replicas each matches its own batch.

    Args:
        weight: lambda of the paper.

    Raises:
        ValueError: if `weight` is negative.

    Reference: Tolstikhin et al. 2018, arXiv:1711.01558, equation 4 and algorithm 2.

    Example:
        >>> vae = kvae.VAE(encoder, decoder, kvae.likelihoods.Normal(scale=1.0), objective="wae")
    """

    def __init__(self, weight=10.0, **kwargs):
        super().__init__(**kwargs)
        self.weight = check_number("weight", weight)

    def loss(self, terms):
        return terms.reconstruction + self.weight * maximum_mean_discrepancy(terms.z[0], terms.prior_z, terms.share)


def maximum_mean_discrepancy(first, second, share=None):
    """The estimate of the squared MMD of two samples `[B, D]`: a scalar, unbiased, so that it may fall below zero.

    The kernel is the inverse multiquadratic sum_s C_s / (C_s + |a - b|^2), C_s = s 2 D sigma^2 with sigma = 1, the scale
    of the standard normal prior, over the scales s from 0.1 to 10. With `share` `[B]` the means over the first sample are
    by it, and rows where it is zero are absent from both; a ratio of sums is then only consistent.

    Reference: Tolstikhin et al. 2018, arXiv:1711.01558, algorithm 2 and section 4.
    """
    ones = tf.ones(tf.shape(first)[:1], first.dtype)
    share, present = (ones, ones) if share is None else (share, tf.cast(share > 0, first.dtype))
    within = _mean_of_pairs(_kernel(first, first), share, share, others=True)
    within += _mean_of_pairs(_kernel(second, second), present, present, others=True)
    return within - 2 * _mean_of_pairs(_kernel(first, second), share, present)


def _mean_of_pairs(values, first, second, others=False):
    """The mean of `values` `[B, B]` by the products of two weights `[B]`; `others`: without the diagonal."""
    weight = first[:, None] * second
    if others:
        weight = tf.linalg.set_diag(weight, tf.zeros_like(first))
    return tf.math.divide_no_nan(tf.reduce_sum(weight * values), tf.reduce_sum(weight))


def _kernel(first, second):
    squares = tf.reduce_sum(first**2, axis=-1)[:, None] + tf.reduce_sum(second**2, axis=-1)
    distance = tf.nn.relu(squares - 2 * tf.matmul(first, second, transpose_b=True))  # |a - b|^2  [B, B]
    widths = [scale * 2.0 * first.shape[-1] for scale in SCALES]
    return tf.add_n([width / (width + distance) for width in widths])
