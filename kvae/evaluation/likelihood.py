"""Bounds on log p(x) for each example, and their mean with its standard error."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kvae import checks, inputs, objectives, random

# Decoder outputs held at a time, in values: 64 MB of float32.
_VALUES_AT_ONCE = 2**24


class Estimate(NamedTuple):
    """A mean over examples with its standard error.

    Attributes:
        mean: nats per example, or whatever the values were in.
        standard_error: sample standard deviation over the square root of N; NaN for one example.
        num_examples: N.
    """

    mean: float
    standard_error: float
    num_examples: int

    def __str__(self):
        return f"{self.mean:.2f} +- {self.standard_error:.2f} (N = {self.num_examples})"


def estimate(values):
    """The mean of `values` `[N]` and its standard error.

    Raises:
        ValueError: if `values` is empty or not one-dimensional.

    Example:
        >>> print(kvae.evaluation.estimate([-80.0, -90.0, -85.0]))
        -85.00 +- 2.89 (N = 3)
    """
    values = np.asarray(values, dtype="float64")
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"`values` must be an array [N] of at least one value. Received shape: {list(values.shape)}.")
    error = values.std(ddof=1) / math.sqrt(values.size) if values.size > 1 else math.nan
    return Estimate(float(values.mean()), float(error), values.size)


def elbo(vae, x, seed=0, num_samples=1, batch_size=256):
    """The evidence lower bound E_q[log p(x|z)] - KL(q(z|x) || p(z)) of each example.

    Reference: Kingma and Welling 2014, arXiv:1312.6114, equation 3.

    Args:
        vae: `kvae.VAE`.
        x: arrays or a data set.
        seed: int; with that of the VAE, the mean over x is what `vae.evaluate` reports.
        num_samples: draws of z per example.
        batch_size: examples at a time.

    Returns:
        numpy array `[N]`, nats, larger is better.

    Example:
        >>> kvae.evaluation.elbo(vae, x_test, seed=0).mean()
    """
    num_samples = tf.constant(objectives.check_num_samples(num_samples))

    def bound(x, noise):
        return vae.as_graph(_elbo)(x, noise.seed, noise.row, num_samples)

    return _over_rows(bound, vae, x, seed, batch_size)


def log_likelihood(vae, x, num_samples=1000, seed=0, batch_size=None, samples_at_once=None):
    """The importance-weighted bound log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x), z_s ~ q(z|x), of each example.

    A lower bound on log p(x) in expectation, which it reaches as S grows. The result does not depend on
    `batch_size` and `samples_at_once` beyond rounding.

    Reference: Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, equation 8.

    Args:
        vae: `kvae.VAE`.
        x: arrays or a data set.
        num_samples: S.
        seed: int.
        batch_size: examples at a time.
        samples_at_once: draws at a time for each example; by default as many as fit in 64 MB of decoder output.

    Returns:
        numpy array `[N]`, nats, larger is better.

    Raises:
        ValueError: if `num_samples` is less than 1, or x is refused.

    Example:
        >>> print(kvae.evaluation.estimate(kvae.evaluation.log_likelihood(vae, x_test, num_samples=1000)))
    """
    num_samples = objectives.check_num_samples(num_samples)
    batch_size = batch_size or 100
    if samples_at_once is None:
        values = batch_size * math.prod(vae.data_shape or (1,)) * vae.likelihood.num_params
        samples_at_once = max(1, _VALUES_AT_ONCE // values)
    samples_at_once = min(samples_at_once, num_samples)

    def bound(x, noise):
        total = None
        for first in range(0, num_samples, samples_at_once):
            count = min(samples_at_once, num_samples - first)
            part = vae.as_graph(_log_sum_of_weights)(x, noise.seed, noise.row, tf.constant(first), tf.constant(count))
            total = part if total is None else tf.reduce_logsumexp([total, part], axis=0)
        return total - math.log(num_samples)

    return _over_rows(bound, vae, x, seed, batch_size)


def _elbo(vae, x, seed, row, num_samples):
    noise = random.Noise(seed, random.EVALUATION, row)
    return vae.terms(x, noise=noise, num_samples=num_samples).elbo


def _log_sum_of_weights(vae, x, seed, row, first_sample, num_samples):
    noise = random.Noise(seed, random.EVALUATION, row)
    terms = vae.terms(x, noise=noise, num_samples=num_samples, first_sample=first_sample)
    return tf.reduce_logsumexp(terms.log_weight, axis=0)


def _over_rows(bound, vae, x, seed, batch_size):
    """`bound(x, noise)` over the batches of x, the rows of the noise numbered from the first example on."""
    seed, seen = tf.constant(checks.check_seed(seed) & 0xFFFFFFFF, tf.uint32), 0
    x = inputs.checked_x(vae, x)

    def numbered(batch):
        nonlocal seen
        rows = tf.nest.flatten(batch)[0].shape[0]
        noise = random.Noise(seed, random.EVALUATION, tf.range(seen, seen + rows))
        seen += rows
        return bound(batch, noise)

    return inputs.map_batches(numbered, x, batch_size)
