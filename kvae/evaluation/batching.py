"""Batches of one size, so that a compiled graph serves them all, with rows numbered from the first example on."""

import tensorflow as tf

from kvae import checks, inputs, random, speed


def over_rows(function, vae, x, seed, batch_size):
    """`function(x, noise)` over the batches of x.

    The last batch is filled up to the size of the others by its last row, and what comes out for the filling is left
    out. Row i of the noise belongs to example i, however x is cut.

    Args:
        function: from a batch `[B, *data_shape]` (or a pair with the condition) and `kvae.random.Noise` to `[B, ...]`.
        vae: `kvae.VAE`.
        x: checked arrays or a data set, which comes in the batches it has.
        seed: int.
        batch_size: examples at a time.

    Returns:
        numpy array `[N, ...]`.
    """
    seed = tf.constant(checks.check_seed(seed) & 0xFFFFFFFF, tf.uint32)
    seen, size = 0, 0

    def filled_up(batch):
        nonlocal seen, size
        rows = tf.nest.flatten(batch)[0].shape[0]
        size = max(size, rows)
        noise = random.Noise(seed, random.EVALUATION, tf.range(seen, seen + size))
        if rows < size:
            places = tf.minimum(tf.range(size), rows - 1)
            batch = tf.nest.map_structure(lambda each: tf.gather(each, places), batch)
        seen += rows
        return function(batch, noise)[:rows]

    return inputs.map_batches(filled_up, x, batch_size)


def num_rows(x):
    """N, or None for a data set, which does not tell."""
    return None if inputs.is_stream(x) else tf.nest.flatten(x)[0].shape[0]


def jit_compile(vae):
    """True where XLA is what the VAE was compiled with or, if it was not compiled, is thought faster; else None."""
    return (vae.jit_compile if vae.compiled else speed.jit_compile(vae)) is True or None
