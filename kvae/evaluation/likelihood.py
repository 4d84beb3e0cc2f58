"""Bounds on log p(x) for each example."""

import math

import tensorflow as tf

from kvae import checks, inputs, random
from kvae.evaluation.batching import over_rows
from kvae.evaluation.importance import check_generative, weight_sums


def elbo(vae, x, seed=0, num_samples=1, batch_size=256):
    """The evidence lower bound E_q[log p(x|z)] - KL(q(z|x) || p(z)) of each example.

    Reference: Kingma and Welling 2014, arXiv:1312.6114, equation 3.

    Args:
        vae: `kvae.VAE`.
        x: arrays or a data set.
        seed: int; with that of the VAE, and `num_samples=vae.objective.num_samples`, the mean over x is what
            `vae.evaluate` reports.
        num_samples: draws of z per example.
        batch_size: examples at a time.

    Returns:
        numpy array `[N]`, nats, larger is better.

    Raises:
        TypeError: if `vae` has no likelihood, as an autoencoder.
        ValueError: for sizes less than 1, or if x is refused.

    Example:
        >>> kvae.evaluation.elbo(vae, x_test, seed=0).mean()
    """
    check_generative(vae)
    num_samples = tf.constant(checks.check_count("num_samples", num_samples))

    def bound(x, noise):
        return vae.as_graph(_elbo)(x, noise.seed, noise.row, num_samples)

    return over_rows(bound, vae, inputs.checked_x(vae, x), seed, batch_size)


def log_likelihood(vae, x, num_samples=1000, seed=0, batch_size=None, samples_at_once=None, verbose="auto"):
    """The importance-weighted bound log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x), z_s ~ q(z|x), of each example.

    A lower bound on log p(x) in expectation, which it reaches as S grows; `importance_diagnostics` tells whether S is
    large enough. The result does not depend on `batch_size` and `samples_at_once` beyond rounding, and memory grows
    with neither the data nor S.

    Reference: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, equation 8.

    Args:
        vae: `kvae.VAE`.
        x: arrays or a data set.
        num_samples: S.
        seed: int.
        batch_size: examples at a time; a data set comes in its own batches.
        samples_at_once: draws at a time for each example; by default what keeps the decoder in the processor's cache.
        verbose: 1 for a progress bar, 0 for none; "auto" shows one on a terminal or in a notebook after two seconds, and
            elsewhere writes a line to standard error every half minute.

    Returns:
        numpy array `[N]`, nats, larger is better.

    Raises:
        TypeError: if `vae` has no likelihood, as an autoencoder.
        ValueError: if `num_samples` is less than 1, or x is refused.

    Example:
        >>> print(kvae.evaluation.estimate(kvae.evaluation.log_likelihood(vae, x_test, num_samples=1000)))
    """
    log_sum, _, _ = weight_sums(vae, x, num_samples, seed, batch_size, samples_at_once, verbose)
    return log_sum - math.log(num_samples)


def _elbo(vae, x, seed, row, num_samples):
    noise = random.Noise(seed, random.EVALUATION, row)
    return vae.terms(x, noise=noise, num_samples=num_samples).elbo
