"""Where an export is compared with the Keras model, what that gives there, and how far the export may be off.

An export in float32 differs by rounding alone. In float16 and int8 weights are rounded, and how far that moves the
output depends on the decoder: where it is steep, as at the edges of black-and-white digits, any error is amplified.
So smooth decoders are held to `TOLERANCES` and `MIN_PSNR`, and steep ones to a small multiple of what rounding z alone,
to as many bits, does to the Keras model.
"""

import contextlib
import dataclasses
import math

import numpy as np
import tensorflow as tf

from kvae import random
from kvae.export import endpoints
from kvae.export.endpoints import pair

# Of x_mean, in units of its scale. In float32 both sides have a unit roundoff of 6e-8; sums over a few thousand
# products, added in another order by other kernels, come to some 1e-7 to 1e-6.
TOLERANCES = {"float32": 1e-5, "float16": 1e-3, "int8": 2e-2, "int8_full": 5e-2}
MIN_PSNR = {"float16": 80.0, "int8": 50.0, "int8_full": 45.0}  # dB
# Of what has no link that holds it together: the encoder's mean and stddev, the decoder's parameters. Activations in 8
# bits are off by up to 1/254 of their range at each layer.
OPEN_TOLERANCES = {"float32": 1e-5, "float16": 5e-3, "int8": 5e-2, "int8_full": 1e-1}
# Of the ELBO, relative: a sum over all values of x, at a z that is off as well.
SCORE_TOLERANCES = {"float32": 1e-4, "float16": 5e-3, "int8": 5e-2}

# How many times the effect of rounding z may be reached: weights and activations of some layers are rounded as well,
# and more coarsely in ranges that are fixed.
_STEEPNESS = {"float16": 4.0, "int8": 4.0, "int8_full": 10.0}

NUM_DRAWS = 64
# Any seed will do; a negative one also shows that all 32 bits arrive.
SEED = -20260101
# Of the golden vectors, with which the probes begin: `verify` compares where the export was compared, so that one which
# was good enough then is so ever after.
GOLDEN_SEED, GOLDEN_ROWS = 20260101, 8


@dataclasses.dataclass(frozen=True)
class Reference:
    """What the Keras model gives.

    Attributes:
        values: array `[N, ...]`.
        scale: what errors are measured in.
        tolerance: how large they may be.
        min_psnr: dB, the least for means, or None.
        is_draw: whether they are draws, which jump where the parameters of a step differ by rounding.
    """

    values: np.ndarray
    scale: float
    tolerance: float
    min_psnr: float | None = None
    is_draw: bool = False


def inputs(vae, name, form, data=None):
    """What an endpoint is given: dict of arrays with equally many rows; numbers that are not of a row are left out.

    Args:
        data: pair (x, c or None) of arrays; by default draws from the model, conditions by `conditions`.
    """
    if name == "decode":
        z, c = probes(vae)
        return _named(z=z, c=c)
    if name == "sample":
        return _named(c=conditions(vae, 5))
    x, c = _draws_of_x(vae) if data is None else data
    if form.input_dtype == "uint8":
        x = np.round(255 * np.clip(np.nan_to_num(x), 0, 1)).astype("uint8")
    return _named(x=x, c=c)


def references(vae, name, form, precision, rows, size):
    """What the Keras model gives for `rows` arrays of `inputs`, or for so many rows: dict of `Reference`.

    Args:
        size: how many rows the export takes at once; `score` numbers its noise within them.
    """
    arrays, number = rows
    c = arrays.get("c")
    if name == "decode":
        return _outputs(vae, form, precision, arrays["z"], c)
    if name == "sample":
        z = prior_draws(vae, number)
        scale, learned = float(tf.reduce_max(tf.abs(z))), bool(vae.prior.variables)
        tolerance = OPEN_TOLERANCES[precision] if learned else TOLERANCES["float32"]
        error_of_z = tolerance * scale if learned else 0.0
        return {"z": Reference(z, scale, tolerance), **_outputs(vae, form, precision, z, c, error_of_z)}
    x = tf.constant(arrays["x"] / np.float32(255) if form.input_dtype == "uint8" else arrays["x"])
    if name == "score":
        values = np.concatenate([_elbo(vae, x[at : at + size], c, at, size) for at in range(0, number, size)])
        return {"elbo": Reference(values, float(np.abs(values).max()), SCORE_TOLERANCES[precision])}
    # Not `vae.encode`, which would warn the user of values that are not theirs.
    posterior = vae.posterior.distribution(vae.posterior_params(pair(x, c)))
    z, scale = posterior.mean(), _scale(posterior)
    if name == "reconstruct":
        return _outputs(vae, form, precision, z, c, error_of_z=OPEN_TOLERANCES[precision] * scale)
    outputs = {"mean": Reference(z, scale, OPEN_TOLERANCES[precision])}
    with contextlib.suppress(NotImplementedError):  # then it is not exported either
        outputs["stddev"] = Reference(posterior.stddev(), scale, OPEN_TOLERANCES[precision])
    return outputs


def probes(vae):
    """Where decoders are compared: z `[67, D]`, 64 draws, zero and +-3, and conditions `[67, ...]` or None."""
    corners = np.float32([[0], [3], [-3]]) * np.ones([1, vae.latent_dim], "float32")
    z, c = np.concatenate([prior_draws(vae, NUM_DRAWS, GOLDEN_SEED), corners]), conditions(vae, GOLDEN_ROWS)
    return z, None if c is None else np.resize(c, (len(z), *vae.condition_shape))


def prior_draws(vae, number, seed=SEED):
    """z `[number, D]` of p(z)."""
    return vae.prior.from_noise(random.normal(seed, tf.range(number), 0, vae.prior.noise_size), vae).numpy()


def conditions(vae, rows):
    """Zeros and ones: what one-hot codes and flags are made of, and small enough to look up an embedding."""
    if vae.condition_shape is None:
        return None
    noise = random.normal(SEED, 0, tf.range(rows), math.prod(vae.condition_shape)).numpy()
    return (noise > 0).astype("float32").reshape(rows, *vae.condition_shape)


def data_scale(vae):
    """What errors of x_mean are measured in, at `probes`."""
    return _mean_and_scale(vae, vae.likelihood_params(*map(_tensor, probes(vae))))[1]


def _outputs(vae, form, precision, z, c, error_of_z=0.0):
    """The `Reference` of what is told of p(x|z) at z, where z itself may be off by as much."""
    z, c = _tensor(z), _tensor(c)
    params = vae.likelihood_params(z, c)
    if form.output == "params":
        tolerance = OPEN_TOLERANCES[precision] * (2 if error_of_z else 1)
        return {"x_params": Reference(params.numpy(), float(_largest(params)), tolerance)}
    mean, scale = _mean_and_scale(vae, params)
    tolerance, min_psnr = TOLERANCES[precision], MIN_PSNR.get(precision)
    if precision != "float32":
        moved = _moved(vae, _rounded(z, precision), c, mean)
        tolerance = max(tolerance, _STEEPNESS[precision] * float(_largest(moved)) / scale)
        min_psnr = min(min_psnr, decibels(moved, scale) - 20 * math.log10(_STEEPNESS[precision]))
    if error_of_z:
        signs = tf.sign(random.normal(SEED, 1, tf.range(len(z)), z.shape[-1]))
        tolerance += float(_largest(_moved(vae, z + error_of_z * signs, c, mean))) / scale
        min_psnr = None
    if form.output_dtype == "uint8":
        tolerance += 0.5 / 255
        min_psnr = None
    if form.output == "sample":
        values = vae.likelihood.from_uniform(params, endpoints.noise(vae, SEED, tf.range(len(z))))
        return {"x": Reference(values.numpy(), scale, tolerance, is_draw=True)}
    return {"x_mean": Reference(mean.numpy(), scale, tolerance, min_psnr)}


def decibels(error, scale):
    """The peak signal-to-noise ratio of errors of values that reach up to `scale`, in dB."""
    squared = float(np.mean(np.square(np.asarray(error, "float64")))) / scale**2
    return -10 * math.log10(squared) if squared > 0 else math.inf


def _rounded(z, precision):
    """z as numbers of that precision; in 8 bits, in steps of 1/127 of the largest of each row."""
    if precision == "float16":
        return tf.cast(tf.cast(z, tf.float16), tf.float32)
    step = tf.reduce_max(tf.abs(z), axis=-1, keepdims=True) / 127
    return step * tf.round(tf.math.divide_no_nan(z, step))


def _moved(vae, z, c, mean):
    return vae.likelihood(vae.likelihood_params(z, c)) - mean


def _mean_and_scale(vae, params):
    mean = vae.likelihood(params)
    if len(mean.shape) > 1 + len(vae.data_shape):  # the probabilities of classes, whatever the range of their numbers
        return mean, 1.0
    return mean, _scale(vae.likelihood.distribution(params), vae.likelihood.support)


def _scale(distribution, support=None):
    """What an error of the mean is measured against.

    The bound of the data where it is bounded on both sides: an absolute error means the same for all images in [0, 1].
    Without bounds, the rounding errors of data in volts and in millivolts differ by a thousand, so the largest mean or
    standard deviation that occurs; the latter, because a mean near zero may be the difference of large numbers.
    """
    bound = math.inf if support is None else max(abs(support[0]), abs(support[1]))
    if math.isfinite(bound):
        return bound
    sizes = [distribution.mean()]
    with contextlib.suppress(NotImplementedError):
        sizes.append(distribution.stddev())
    return max((float(size) for size in map(_largest, sizes) if np.isfinite(size)), default=0.0) or 1.0


def _draws_of_x(vae, rows=8):
    """Draws of x, which lie in the support of the likelihood, with holes where the VAE takes them; and conditions."""
    z, c = prior_draws(vae, rows), conditions(vae, rows)
    x = vae.decode(pair(z, c)).sample(seed=[SEED, 0]).numpy()
    if vae.missing is not None:
        x.reshape(-1)[::3] = np.nan
    return x, c


def _elbo(vae, x, c, at, size):
    noise = random.Noise(SEED, random.EVALUATION, tf.range(len(x)))
    return vae.terms(pair(x, None if c is None else c[at : at + size]), noise=noise, num_samples=1).elbo


def _tensor(values):
    return None if values is None else tf.convert_to_tensor(values)


def _largest(values):
    return np.abs(np.asarray(values)).max()


def _named(**arrays):
    return {name: value for name, value in arrays.items() if value is not None}
