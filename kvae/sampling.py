"""The reparameterisation trick as a Keras layer."""

import keras
import tensorflow as tf

from kvae import checks, parts, posteriors, random, replicas


@keras.saving.register_keras_serializable(package="kvae")
class Sampling(parts.Part):
    """Draws z from q(z|x) by the reparameterisation trick, so that gradients reach the encoder.

    For the default posterior, z = mean + exp(log_var / 2) * noise. The layer always draws, in training and out of it.
    By itself it counts its calls and draws new noise at each; the same seed gives the same sequence of draws.

    Reference: Kingma and Welling 2014, arXiv:1312.6114, section 2.4.

    Args:
        posterior: name or `kvae.posteriors` object.
        seed: int.

    Call arguments:
        params: encoder outputs `[B, 2 D]` (mean and log-variance on the last axis), or a list `[z_mean, z_log_var]`.
        noise: optional standard normal `[..., B, D]`, in place of the layer's own.

    Returns:
        z: `[B, D]`, or `[..., B, D]` for a given noise.

    Raises:
        ValueError: if `seed` is no int of 32 bits; for z_mean and z_log_var of unequal widths; and, without noise, for
            params of other than two axes.

    Example:
        >>> z = kvae.Sampling(seed=0)(tf.zeros([128, 2 * 16]))
        >>> z.shape
        TensorShape([128, 16])
    """

    def __init__(self, posterior="diagonal_normal", seed=0, **kwargs):
        super().__init__(**kwargs)
        self.posterior = posteriors.get(posterior)
        self.seed = checks.check_seed(seed)
        self.num_calls = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", trainable=False, name="num_calls"
        )

    def call(self, params, noise=None):
        if isinstance(params, (list, tuple)) and isinstance(self.posterior, posteriors.DiagonalNormal):
            widths = [each.shape[-1] for each in params[:2]]
            if len(set(widths)) > 1:  # joined they would be cut elsewhere
                raise ValueError(
                    f"`z_mean` and `z_log_var` must be of one width. Received: {widths[0]} and {widths[1]}."
                )
        params = join_params(params)
        if isinstance(self.posterior, posteriors.DiagonalNormal) and (params.shape[-1] or 0) % 2:
            raise ValueError(
                f"`params` must hold means and as many log-variances. Received: {params.shape[-1]} values."
            )
        if noise is None:
            if params.shape.rank not in (2, None):
                raise ValueError(
                    "`params` must be encoder outputs [batch, parameters], for each row of which there is noise. Received: "
                    f"{list(params.shape)}. Join the leading axes into one first, or pass `noise`."
                )
            rows, dim = tf.shape(params)[0], self.posterior.noise_size(params)
            row = replicas.rows_before(rows) + tf.range(rows)
            noise = random.normal(self.seed, self.num_calls.value, row, dim)
            self.num_calls.assign_add(1)
        return self.posterior.from_noise(params, noise)


def join_params(outputs):
    """Encoder outputs as one tensor `[B, P]`; a list is `[z_mean, z_log_var]`, whatever follows being left out."""
    if isinstance(outputs, (list, tuple)):
        outputs = tf.concat([tf.cast(each, tf.float32) for each in outputs[:2]], axis=-1)
    return tf.cast(outputs, tf.float32)
