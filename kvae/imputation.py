"""Missing values, filled in from what was observed, by self-normalised importance sampling."""

import numpy as np
import tensorflow as tf

from kvae import inputs, objectives, random


def impute(vae, x, num_samples, num_draws, seed, batch_size):
    """See `kvae.VAE.impute`."""
    if vae.missing is None:
        raise ValueError("Only a VAE that was made with `missing='fill'` or 'fill+mask' knows missing values.")
    num_samples = objectives.check_num_samples(num_samples)
    num_draws = None if num_draws is None else objectives.check_num_samples(num_draws)
    x, seen = inputs.checked_x(vae, x), 0
    if inputs.is_stream(x):
        raise ValueError("`x` must be arrays: what is filled in is given back beside what was observed.")

    def fill(batch):
        nonlocal seen
        rows = tf.nest.flatten(batch)[0].shape[0]
        row = tf.range(seen, seen + rows)
        seen += rows
        if num_draws is None:
            return vae.as_graph(_mean)(batch, row, tf.constant(seed), tf.constant(num_samples))
        return vae.as_graph(_draws)(batch, row, tf.constant(seed), tf.constant(num_samples), tf.constant(num_draws))

    filled = inputs.map_batches(fill, x, batch_size)
    data = np.asarray(x[0] if isinstance(x, tuple) else x)  # in its own precision, as what was observed stays
    if num_draws is None:
        return np.where(np.isnan(data), filled, data)
    return np.where(np.isnan(data), np.moveaxis(filled, 1, 0), data)


def _weighted(vae, x, row, seed, num_samples):
    """(log importance weights `[S, B]`, likelihood parameters `[S, B, ...]`) at draws from q(z|x observed)."""
    noise = random.Noise(seed, random.EVALUATION, row)
    terms = vae.terms(x, noise=noise, num_samples=num_samples)
    _, condition = inputs.split_condition(vae, x)
    return terms.log_weight, vae.likelihood_params(terms.z, condition)


def _mean(vae, x, row, seed, num_samples):
    log_weight, params = _weighted(vae, x, row, seed, num_samples)
    mean = vae.likelihood(params)  # E[x|z]  [S, B, ...]
    if len(mean.shape) != 2 + len(vae.data_shape) or mean.shape[2:] != vae.data_shape:
        raise ValueError(
            f"The mean of the likelihood {type(vae.likelihood).__name__} is no value of x. Ask for draws: num_draws=1."
        )
    weight = tf.nn.softmax(log_weight, axis=0)
    return tf.reduce_sum(tf.reshape(weight, [*tf.unstack(tf.shape(weight)), *[1] * len(vae.data_shape)]) * mean, axis=0)


def _draws(vae, x, row, seed, num_samples, num_draws):
    log_weight, params = _weighted(vae, x, row, seed, num_samples)
    address = tf.stack([tf.cast(seed, tf.int32), row[0]])
    chosen = tf.random.stateless_categorical(tf.transpose(log_weight), num_draws, seed=address)  # [B, K]
    params = tf.gather(tf.einsum("sb...->bs...", params), chosen, batch_dims=1)  # [B, K, ...]
    return vae.likelihood.distribution(params).sample(seed=tf.add(address, [1, 0]))
