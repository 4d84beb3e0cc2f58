"""The functions that leave in an exported model, and the SavedModel they leave in.

Each is a pure function of tensors: networks in inference mode, no variables that change, and noise from
`kvae.random.normal` alone, so that a seed gives the same samples before and after export.
"""

import contextlib
import functools

import keras
import tensorflow as tf

from kvae import random
from kvae.export import graphs
from kvae.export.quiet import quiet


def decode(vae, z, c=None):
    """E[x|z]."""
    return {"x_mean": vae.likelihood(vae.likelihood_params(z, c))}


def encode(vae, x, c=None):
    """Mean of q(z|x), and its standard deviation where the distribution knows it."""
    params = vae.posterior_params(pair(x, c))
    outputs = {"mean": vae.posterior(params)}
    with contextlib.suppress(NotImplementedError):
        outputs["stddev"] = vae.posterior.distribution(params).stddev()
    return outputs


def reconstruct(vae, x, c=None):
    """E[x | z = E[z|x]]."""
    return {"x_mean": vae(pair(x, c), training=False)}


def sample(vae, seed, n, c=None):
    """z ~ p(z) and E[x|z], the rows of `vae.sample(n, seed=seed)`; one condition for all rows, or one for each."""
    z = vae.prior.from_noise(random.normal(seed, tf.range(n), 0, vae.prior.noise_size), vae)
    if c is not None:
        c = tf.broadcast_to(c, tf.concat([[n], tf.shape(c)[1:]], axis=0))
    return {**decode(vae, z, c), "z": z}


# The first is what a server calls by default.
ENDPOINTS = {each.__name__: each for each in (decode, encode, reconstruct, sample)}


def write(vae, path, names=None, batch_size=None):
    """Writes a SavedModel with a signature for each name.

    Args:
        vae: `VAE` in float32.
        path: folder.
        names: of `ENDPOINTS`; by default all that the model has: an autoencoder does not sample.
        batch_size: rows per call, or None for any number.

    Returns:
        dict of the `tf.Graph` of each signature.

    Raises:
        ValueError: if a network draws random numbers or changes variables also in inference mode.
    """
    archive, traced = keras.export.ExportArchive(), {}
    for name in names or [name for name in ENDPOINTS if vae.generative or name != "sample"]:
        endpoint = archive.add_endpoint(name, functools.partial(ENDPOINTS[name], vae), _inputs(vae, name, batch_size))
        traced[name] = endpoint.get_concrete_function().graph
        _check_pure(vae, name, traced[name])
    with quiet():
        archive.write_out(str(path), verbose=False)
    return traced


def pair(x, c):
    """What a network is given: x, or (x, c) for a conditional model."""
    return x if c is None else (x, c)


def _inputs(vae, name, batch_size):
    specs = {
        "decode": [tf.TensorSpec([batch_size, vae.latent_dim], name="z")],
        "sample": [tf.TensorSpec([], tf.int32, name="seed"), tf.TensorSpec([], tf.int32, name="n")],
    }.get(name, [tf.TensorSpec([batch_size, *vae.data_shape], name="x")])
    if vae.condition_shape is not None:
        specs.append(tf.TensorSpec([batch_size, *vae.condition_shape], name="c"))
    return specs


def _check_pure(vae, name, graph):
    places = graphs.find(graph, vae, graphs.is_impure)
    if places:
        raise ValueError(
            f"`{name}` cannot be exported: its network draws random numbers or changes variables outside training too, "
            f"so no two calls need agree. Found: {places}. Give the layer a `training` argument and let it draw only "
            "when that is True."
        )
