"""Importance weights of draws from q(z|x), summed as they come, so that memory grows with neither data nor draws."""

import math

import tensorflow as tf

from kvae import checks, inputs, random
from kvae.evaluation.batching import jit_compile, num_rows, over_rows
from kvae.evaluation.progress import Progress

# What the decoder is given at once: as many draws as make 4 MB of its output, which stays in the cache of a core.
_VALUES_AT_ONCE = 2**20
_ROWS_AT_ONCE = 4096


def weight_sums(vae, x, num_samples, seed=0, batch_size=None, samples_at_once=None, verbose="auto", tail_size=0):
    """What is kept of the importance weights w_s = p(x|z_s) p(z_s) / q(z_s|x) of each example, z_s ~ q(z|x).

    Args:
        vae: `kvae.VAE`.
        x: arrays or a data set.
        num_samples: S.
        seed: int.
        batch_size: examples at a time, None for up to 100.
        samples_at_once: draws at a time for each example, None for what was measured to be fast.
        verbose: as in `Progress`.
        tail_size: how many of the largest weights are kept.

    Returns:
        (log sum_s w_s `[N]`, log sum_s w_s^2 `[N]`, the largest log w_s `[N, tail_size]` in falling order): numpy, nats.

    Raises:
        TypeError: if `vae` is no model with a likelihood.
        ValueError: for sizes that are no whole numbers of at least 1, or if x is refused.
    """
    check_generative(vae)
    num_samples = checks.check_count("num_samples", num_samples)
    batch_size, samples_at_once = (
        None if value is None else checks.check_count(name, value)
        for name, value in (("batch_size", batch_size), ("samples_at_once", samples_at_once))
    )
    x = inputs.checked_x(vae, x)
    total = num_rows(x)
    progress = Progress(total and total * num_samples, verbose)
    jit = jit_compile(vae)
    encode, add = vae.as_graph(_params, jit), vae.as_graph(_add_draws, jit)
    rows_at_once = _rows_at_once(vae)
    batch_size = batch_size or max(100, rows_at_once // num_samples)

    def sums_of(batch, noise):
        rows = noise.row.shape[0]
        most = min(num_samples, samples_at_once or max(1, rows_at_once // rows))
        count = math.ceil(num_samples / math.ceil(num_samples / most))  # of one size, so that one graph serves all
        params = encode(batch)
        sums = tf.fill([rows, 2 + tail_size], tf.constant(-math.inf, tf.float64))
        for first in range(0, num_samples, count):
            sums = add(batch, params, noise.seed, noise.row, *map(tf.constant, (first, count, num_samples)), sums)
            progress.add(rows * min(count, num_samples - first))
        return sums

    sums = over_rows(sums_of, vae, x, seed, min(batch_size, total or batch_size))
    return sums[:, 0], sums[:, 1], sums[:, 2:]


def check_generative(vae):
    """Raises unless `vae` is a model with a prior and a likelihood, which an autoencoder is not."""
    if not getattr(vae, "generative", False):
        raise TypeError(
            f"Only a kvae.VAE has a likelihood of x. Received: {type(vae).__name__}. Of a kvae.Autoencoder, compare the "
            "reconstruction error: `evaluate(x)`."
        )


def _rows_at_once(vae):
    """Draws z, over all examples of a batch, that the decoder is given at once."""
    return min(_ROWS_AT_ONCE, max(1, _VALUES_AT_ONCE // (math.prod(vae.data_shape) * vae.likelihood.num_params)))


def _params(vae, x):
    return vae.posterior_params(x)


def _add_draws(vae, x, params, seed, row, first, count, num_samples, sums):
    """`sums` `[B, 2 + tail]` with draws first, ..., first + count - 1 added; those from `num_samples` on do not count."""
    noise = random.Noise(seed, random.EVALUATION, row)
    terms = vae.terms(x, noise=noise, num_samples=count, first_sample=first, params=params)
    counts = (first + tf.range(count))[:, None] < num_samples
    log_weight = tf.where(counts, tf.cast(terms.log_weight, tf.float64), -math.inf)  # log w_s  [count, B]
    largest = tf.concat([sums[:, 2:], tf.transpose(log_weight)], axis=1)
    return tf.concat(
        [
            _log_add(sums[:, 0], tf.reduce_logsumexp(log_weight, axis=0))[:, None],
            _log_add(sums[:, 1], tf.reduce_logsumexp(2 * log_weight, axis=0))[:, None],
            tf.math.top_k(largest, k=tf.shape(sums)[1] - 2).values,
        ],
        axis=1,
    )


def _log_add(a, b):
    """log(exp a + exp b), also where both are minus infinity."""
    return tf.reduce_logsumexp(tf.stack([a, b]), axis=0)
