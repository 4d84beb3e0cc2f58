"""The functions that leave in an exported model, and the SavedModel they leave in.

Each is a pure function of tensors: networks in inference mode, no variables that change, and noise from `kvae.random`
alone, so that a seed gives the same samples before and after export.

    name         inputs, any number of rows      inputs, B rows          outputs
    decode       z                               z                       x_mean
    encode       x                               x                       mean, stddev where the posterior knows it
    reconstruct  x                               x                       x_mean
    sample       seed, n                         seed, stream            x_mean, z
    score        x, seed                         x, seed                 elbo

Those of a conditional model also take c. `Form` says what else may differ.
"""

import contextlib
import dataclasses
import inspect
import math

import keras
import tensorflow as tf

from kvae import random
from kvae.export import graphs
from kvae.export.quiet import quiet


@dataclasses.dataclass(frozen=True)
class Form:
    """In which form the endpoints of an export take and give their values.

    Attributes:
        batch_size: rows per call, or None for any number.
        output: what is told of p(x|z): "mean", as `x_mean`; "params", the decoder's output, as `x_params`; or "sample",
            a draw, as `x`, for which `decode` and `reconstruct` also take a seed and, with a `batch_size`, a stream.
        input_dtype: "float32", or "uint8" for x of 0 to 255, which is divided by 255.
        output_dtype: "float32", or "uint8" for x_mean and x of 0 to 255, which are multiplied by 255 and rounded.
    """

    batch_size: int | None = None
    output: str = "mean"
    input_dtype: str = "float32"
    output_dtype: str = "float32"


FORM = Form()


def decode(vae, z, c=None, seed=None, stream=0, form=FORM):
    """E[x|z], or what else `form.output` says."""
    params = vae.likelihood_params(z, c)
    if form.output == "params":
        return {"x_params": params}
    if form.output == "sample":
        rows = stream + tf.range(form.batch_size or tf.shape(z)[0])
        return {"x": _as_output(vae.likelihood.from_uniform(params, noise(vae, seed, rows)), form)}
    return {"x_mean": _as_output(vae.likelihood(params), form)}


def encode(vae, x, c=None, form=FORM):
    """Mean of q(z|x), and its standard deviation where the distribution knows it."""
    params = vae.posterior_params(pair(_as_input(x, form), c))
    outputs = {"mean": vae.posterior(params)}
    with contextlib.suppress(NotImplementedError):
        outputs["stddev"] = vae.posterior.distribution(params).stddev()
    return outputs


def reconstruct(vae, x, c=None, seed=None, stream=0, form=FORM):
    """E[x | z = E[z|x]], or what else `form.output` says."""
    z = vae.posterior(vae.posterior_params(pair(_as_input(x, form), c)))
    return decode(vae, z, c, seed, stream, form)


def sample(vae, seed, n=None, stream=0, c=None, form=FORM):
    """z ~ p(z) and E[x|z], the rows of `vae.sample(n, seed=seed)`; one condition for all rows, or one for each.

    With a batch size B, the rows `stream`, ..., `stream + B - 1`.
    """
    rows = stream + tf.range(form.batch_size if n is None else n)
    z = vae.prior.from_noise(random.normal(seed, rows, 0, vae.prior.noise_size), vae)
    if c is not None:
        c = tf.broadcast_to(c, tf.concat([tf.shape(z)[:1], tf.shape(c)[1:]], axis=0))
    return {**decode(vae, z, c, seed, stream, form), "z": z}


def score(vae, x, seed, c=None, form=FORM):
    """A bound on log p(x) in nats, that of `kvae.evaluation.elbo(vae, x, seed)`."""
    x = _as_input(x, form)
    rows = tf.range(form.batch_size or tf.shape(x)[0])
    noise_of_z = random.Noise(seed, random.EVALUATION, rows)
    return {"elbo": vae.terms(pair(x, c), noise=noise_of_z, num_samples=1).elbo}


# The first is what a server calls by default.
ENDPOINTS = {each.__name__: each for each in (decode, encode, reconstruct, sample, score)}


def names(vae):
    """The endpoints that a model has: an autoencoder, which is no density, neither samples nor scores."""
    return [name for name in ENDPOINTS if vae.generative or name not in ("sample", "score")]


def networks(vae, signature):
    """The networks whose weights a signature needs. What a prior takes from the encoder is a constant."""
    name = endpoint_name(signature)
    used = {"encode": [vae.encoder], "decode": [vae.decoder], "sample": [vae.decoder]}
    return used.get(name, [vae.encoder, vae.decoder])


def signature_name(name, batch_size):
    """What an endpoint is called in a file: `decode`, and `decode_b16` for 16 rows at once."""
    return name if batch_size in (None, 1) else f"{name}_b{batch_size}"


def endpoint_name(signature):
    """The endpoint that a signature of a file is: `decode` of `decode_b16`."""
    name, separator, size = signature.rpartition("_b")
    return name if separator and size.isdigit() else signature


def bound(vae, name, form=FORM):
    """An endpoint of one VAE: (function of tensors in order, their `tf.TensorSpec`s)."""
    size, known = form.batch_size, inspect.signature(ENDPOINTS[name]).parameters
    specs = {
        "z": tf.TensorSpec([size, vae.latent_dim]),
        "x": tf.TensorSpec([size, *vae.data_shape], form.input_dtype),
        "seed": tf.TensorSpec([], tf.int32),
        "n": tf.TensorSpec([], tf.int32),
        "stream": tf.TensorSpec([], tf.int32),
        "c": tf.TensorSpec([size, *(vae.condition_shape or ())]),
    }
    unused = {"n"} if size else {"stream"}
    if name in ("decode", "reconstruct") and form.output != "sample":
        unused |= {"seed", "stream"}
    if vae.condition_shape is None:
        unused.add("c")
    taken = [each for each in known if each in specs and each not in unused]

    def function(*tensors):
        return ENDPOINTS[name](vae, form=form, **dict(zip(taken, tensors, strict=True)))

    return function, [tf.TensorSpec(specs[each].shape, specs[each].dtype, name=each) for each in taken]


def write(vae, path, wanted=None, forms=(FORM,)):
    """Writes a SavedModel with a signature for each name in each form.

    Args:
        vae: `VAE` in float32.
        path: folder.
        wanted: of `ENDPOINTS`; by default all that the model has.
        forms: of different batch sizes.

    Returns:
        dict of the concrete `tf.function` of each signature.

    Raises:
        ValueError: if a network draws random numbers or changes variables also in inference mode.
    """
    archive, traced = keras.export.ExportArchive(), {}
    for form in forms:
        for name in wanted or names(vae):
            signature = signature_name(name, form.batch_size)
            traced[signature] = archive.add_endpoint(signature, *bound(vae, name, form)).get_concrete_function()
            check_pure(vae, name, traced[signature].graph)
    with quiet():
        archive.write_out(str(path), verbose=False)
    return traced


def pair(x, c):
    """What a network is given: x, or (x, c) for a conditional model."""
    return x if c is None else (x, c)


def _as_input(x, form):
    return tf.cast(x, tf.float32) / 255.0 if form.input_dtype == "uint8" else x


def _as_output(x, form):
    # Numbers of at least zero: to cut off the fraction is to round, in operations that TFLite has everywhere.
    return tf.cast(255.0 * x + 0.5, tf.uint8) if form.output_dtype == "uint8" else x


def noise(vae, seed, rows):
    """What draws of x from p(x|z) are made of: two uniform tensors `[B, *data_shape]`."""
    values = random.uniform(seed, random.OUTPUT, rows, 2 * math.prod(vae.data_shape))
    return [tf.reshape(each, [-1, *vae.data_shape]) for each in tf.split(values, 2, axis=-1)]


def check_pure(vae, name, graph):
    """Raises if the graph of an endpoint draws random numbers other than ours, or changes variables."""
    places = graphs.find(graph, vae, graphs.is_impure)
    if places:
        raise ValueError(
            f"`{name}` cannot be exported: its network draws random numbers or changes variables outside training too, "
            f"so no two calls need agree. Found: {places}. Give the layer a `training` argument and let it draw only "
            "when that is True."
        )
