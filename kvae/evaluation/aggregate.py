"""The aggregate posterior q(z) = 1/N sum_n q(z|x_n), met one block of examples at a time."""

import operator

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import flows, objectives, random

tfd = tfp.distributions

# Values of z against x that are held at a time, in one block: 16 MB of float32, and a few of their like.
_VALUES_AT_ONCE = 2**22
# Draws by which E[z|x] is estimated where it has no closed form.
_DRAWS_OF_THE_MEAN = 64


def describe(vae, x, num_samples, seed, batch_size):
    """What is known of each posterior by itself, as numpy arrays in a dictionary; nats.

    Args:
        vae: `kvae.VAE`.
        x: checked arrays.
        num_samples: S, draws of z per example.
        seed: int.
        batch_size: examples at a time.

    Returns:
        params `[N, P]`; z `[N, S, D]`, drawn from q(z|x); log_posterior and log_prior of these `[N, S]`; kl `[N]`; mean
        `[N, D]` and its variance as an estimate, mean_error `[N, D]`, zero where it is exact. Where the marginals of
        q(z|x) are known, log_marginals `[N, S, D]`; where those of p(z) are too, kl_per_dimension `[N, D]`.
    """
    graph, parts = vae.as_graph(_describe), []
    seed, num_samples = tf.constant(seed & 0xFFFFFFFF, tf.uint32), tf.constant(num_samples)
    rows = np.arange(keras.tree.flatten(x)[0].shape[0], dtype="int32")
    for block in _blocks(len(rows), batch_size):
        batch = keras.tree.map_structure(operator.itemgetter(block), x)
        parts.append(graph(batch, seed, rows[block], num_samples))
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def log_sum_of_others(vae, params, z, batch_size):
    """The log of the sum of the posteriors of all other examples at each draw.

    Args:
        vae: `kvae.VAE`.
        params: `[N, P]`, what the posteriors are made of.
        z: `[N, S, D]`, draws of each.
        batch_size: posteriors at a time.

    Returns:
        (log sum_(m != n) q(z|x_m) `[N, S]`, log sum_(m != n) q(z_d|x_m) `[N, S, D]` or None); nats, float64.
    """
    count, num_samples, dim = z.shape
    graph = vae.as_graph(_log_sum_of_others)
    example = np.arange(count, dtype="int32")
    z, owner = z.reshape(-1, dim), example.repeat(num_samples)
    sums = []
    for rows in _blocks(len(z), max(1, _VALUES_AT_ONCE // (min(batch_size, count) * dim))):
        total = -np.inf
        for block in _blocks(count, batch_size):
            part = graph(z[rows], owner[rows], params[block], example[block])
            total = np.logaddexp(total, part.numpy().astype("float64"))
        sums.append(total)
    sums = np.concatenate(sums).reshape(count, num_samples, -1)
    return sums[..., 0], sums[..., 1:] if sums.shape[-1] > 1 else None


def marginals(distribution):
    """The distributions of the single dimensions: batch `[..., D]`, event `[]`; None where they are not known."""
    if isinstance(distribution, (tfd.MultivariateNormalDiag, tfd.MultivariateNormalTriL)):
        return tfd.Normal(distribution.mean(), distribution.stddev())
    if isinstance(distribution, tfd.Independent) and distribution.distribution.event_shape.rank == 0:
        return distribution.distribution
    if isinstance(distribution, tfd.MixtureSameFamily):
        parts = marginals(distribution.components_distribution)  # [K, D]
        if isinstance(parts, tfd.Normal):
            parts = tfd.Normal(tf.transpose(parts.loc), tf.transpose(parts.scale))
            return tfd.MixtureSameFamily(distribution.mixture_distribution, parts)
    return None


def is_factorised(distribution):
    """Whether the dimensions are independent, and known to be."""
    return isinstance(distribution, (tfd.MultivariateNormalDiag, tfd.Independent))


def _blocks(count, size):
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _describe(vae, x, seed, row, num_samples):
    params = vae.posterior_params(keras.tree.map_structure(lambda each: tf.cast(each, tf.float32), x))
    noise, noise_size = random.Noise(seed, random.EVALUATION, row), vae.posterior.noise_size(params)
    z = vae.posterior.from_noise(params, noise.normal(noise_size, num_samples))  # [S, B, D]
    posterior, prior = vae.posterior.distribution(params), vae.prior.distribution(vae)
    terms = objectives.Terms(posterior, prior, z, None, vae.posterior, params)
    known = {
        "params": params,
        "z": tf.transpose(z, [1, 0, 2]),
        "log_posterior": tf.transpose(terms.log_posterior),
        "log_prior": tf.transpose(terms.log_prior),
        "kl": terms.kl,
    }
    known["mean"], known["mean_error"] = _mean(vae, params, posterior, noise, num_samples)
    q, p = marginals(posterior), marginals(prior)
    if q is not None:
        log_q = q.log_prob(z)  # [S, B, D]
        known["log_marginals"] = tf.transpose(log_q, [1, 0, 2])
        if p is not None:
            try:
                known["kl_per_dimension"] = q.kl_divergence(p)
            except NotImplementedError:
                known["kl_per_dimension"] = tf.reduce_mean(log_q - p.log_prob(z), axis=0)
    return known


def _mean(vae, params, posterior, noise, first_sample):
    """E[z|x] `[B, D]` and the variance of this figure, where it is an estimate."""
    try:
        if not isinstance(posterior, flows.FlowDistribution):  # whose `mean` is another point
            return posterior.mean(), tf.zeros_like(posterior.mean())
    except NotImplementedError:
        pass
    draws = noise.normal(vae.posterior.noise_size(params), _DRAWS_OF_THE_MEAN, first_sample)
    z = vae.posterior.from_noise(params, draws)
    return tf.reduce_mean(z, axis=0), tf.math.reduce_variance(z, axis=0) / (_DRAWS_OF_THE_MEAN - 1)


def _log_sum_of_others(vae, z, owner, params, other):
    """log sum q(z|x_m), and for each dimension where that is known, over the posteriors of a block: `[n, 1 (+ D)]`."""
    posterior = vae.posterior.distribution(params)
    own = (owner[:, None] == other)[..., None]  # [n, m, 1]
    q = marginals(posterior)
    each = None if q is None else q.log_prob(z[:, None])  # [n, m, D]
    if is_factorised(posterior):
        joint = tf.reduce_sum(each, axis=-1, keepdims=True)
    else:
        joint = posterior.log_prob(z[:, None])[..., None]
    log_q = joint if each is None else tf.concat([joint, each], axis=-1)
    return tf.reduce_logsumexp(tf.where(own, -np.inf, log_q), axis=1)
