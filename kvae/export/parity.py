"""The comparison of an exported model with the Keras model it came from, and the timing of it."""

import contextlib
import math
import statistics
import time

import numpy as np
import tensorflow as tf

from kvae import random
from kvae.export.endpoints import pair
from kvae.export.report import ParityError

# Both sides compute in float32, whose unit roundoff is 6e-8; sums over a few thousand products, added in another order
# by other kernels, come to some 1e-7 to 1e-6.
TOLERANCES = {"float32": 1e-5}

NUM_DRAWS = 64
# Any seed will do; a negative one also shows that all 32 bits arrive.
_SEED = -20260101


def check_parity(vae, exported, precision="float32"):
    """Runs every signature of an export and compares it with the Keras model.

    `decode` is compared at 64 draws from the prior, at zero, and at the corners where all latents are +3 or -3. `encode`
    and `reconstruct` are given draws of x.

    Args:
        vae: `VAE`, the float32 model that was exported.
        exported: what `kvae.export.load` returns.
        precision: key of `TOLERANCES`.

    Returns:
        float, the largest error; see `Report.max_error`.

    Raises:
        ParityError: if a value is not finite, or further off than the tolerance.
    """
    largest = 0.0
    for name in exported.signatures:
        inputs, references = _CASES[name](vae)
        for key, value in exported.run(name, **inputs).items():
            reference, scale = references[key]
            error = _error(f"{name}/{key}", value, np.asarray(reference), scale)
            if error > TOLERANCES[precision]:
                raise ParityError(
                    f"The exported `{name}` does not agree with the Keras model: the largest error of {key} is "
                    f"{error:.2g}, more than {TOLERANCES[precision]:g}. Nothing was written. Look for a layer that "
                    "computes one thing eagerly and another in a graph."
                )
            largest = max(largest, error)
    return largest


def median_latency(exported, num_runs=50, seconds=0.5):
    """Median milliseconds of `decode` of a single z, over as many runs as fit in `seconds`, at most `num_runs`."""
    shapes = exported.signatures["decode"]["inputs"]
    inputs = {name: np.zeros((1, *shape[1:]), "float32") for name, shape in shapes.items()}
    exported.run("decode", **inputs)  # the first call also allocates
    times, end = [], time.perf_counter() + seconds
    while not times or (len(times) < num_runs and time.perf_counter() < end):
        start = time.perf_counter()
        exported.run("decode", **inputs)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def probes(vae):
    """Where decoders are compared: z `[67, D]`, and conditions `[67, ...]` or None."""
    draws = _prior_draws(vae, NUM_DRAWS)
    z = tf.concat([draws, tf.constant([[0.0], [3.0], [-3.0]]) * tf.ones([1, vae.latent_dim])], axis=0)
    return z.numpy(), _conditions(vae, len(z))


# One function for each signature: the inputs, and what the Keras model makes of them as {name: (values, scale)}.


def _decode_case(vae):
    z, c = probes(vae)
    return _named(z=z, c=c), {"x_mean": _x_mean(vae, z, c)}


def _encode_case(vae):
    x, c = _data(vae)
    posterior = _posterior(vae, x, c)
    references = {"mean": (posterior.mean(), _scale(posterior))}
    with contextlib.suppress(NotImplementedError):  # then it is not exported either
        references["stddev"] = posterior.stddev(), _scale(posterior)
    return _named(x=x, c=c), references


def _reconstruct_case(vae):
    x, c = _data(vae)
    _, scale = _x_mean(vae, _posterior(vae, x, c).mean(), c)
    return _named(x=x, c=c), {"x_mean": (vae(pair(x, c), training=False), scale)}


def _sample_case(vae, num_samples=5):
    z, c = _prior_draws(vae, num_samples), _conditions(vae, num_samples)
    references = {"z": (z, float(tf.reduce_max(tf.abs(z)))), "x_mean": _x_mean(vae, z, c)}
    return _named(seed=_SEED, n=num_samples, c=c), references


_CASES = {"decode": _decode_case, "encode": _encode_case, "reconstruct": _reconstruct_case, "sample": _sample_case}


def _prior_draws(vae, num_samples):
    return vae.prior.from_noise(random.normal(_SEED, tf.range(num_samples), 0, vae.prior.noise_size), vae)


def _conditions(vae, rows):
    """Zeros and ones: what one-hot codes and flags are made of, and small enough to look up an embedding."""
    if vae.condition_shape is None:
        return None
    noise = random.normal(_SEED, 0, tf.range(rows), math.prod(vae.condition_shape)).numpy()
    return (noise > 0).astype("float32").reshape(rows, *vae.condition_shape)


def _data(vae, rows=8):
    """Draws of x, which lie in the support of the likelihood, with holes where the VAE takes them; and conditions."""
    z, c = _prior_draws(vae, rows), _conditions(vae, rows)
    x = vae.decode(pair(z, c)).sample(seed=[_SEED, 0]).numpy()
    if vae.missing is not None:
        x.reshape(-1)[::3] = np.nan
    return x, c


def _posterior(vae, x, c):
    # Not `vae.encode`, which would warn the user of values that are not theirs.
    return vae.posterior.distribution(vae.posterior_params(pair(x, c)))


def _x_mean(vae, z, c):
    params = vae.likelihood_params(tf.convert_to_tensor(z), c)
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
    return max((float(size) for size in map(_largest, sizes) if np.isfinite(size)), default=1.0)


def _largest(values):
    return np.abs(np.asarray(values)).max()


def _error(name, value, reference, scale):
    """The largest difference in units of `scale`."""
    if value.shape != reference.shape:
        raise ParityError(
            f"The exported {name} has shape {list(value.shape)} where the Keras model gives {list(reference.shape)}. "
            "Nothing was written."
        )
    for side, each in (("Keras model's own", reference), ("exported", value)):
        if not np.isfinite(each).all():
            raise ParityError(
                f"The {side} {name} holds {int((~np.isfinite(each)).sum())} NaN or infinite values of {each.size}, for z "
                "drawn from the prior or at most 3 in size. Nothing was written. Look at the weights: "
                "[np.isfinite(w).all() for w in vae.get_weights()]."
            )
    return float(_largest(value - reference) / (scale or 1.0))


def _named(**inputs):
    return {name: value for name, value in inputs.items() if value is not None}
