"""Models to export, whose weights hide nothing, and a process in which what was exported runs alone."""

import os
import subprocess
import sys

import keras
import numpy as np
from keras import layers

import kvae


def randomised(vae, seed=0):
    """The VAE with seeded normals of scale 0.1 as weights: before training biases are zero, which hides mistakes."""
    generator = np.random.default_rng(seed)
    for variable in vae.trainable_variables:
        variable.assign(0.1 * generator.normal(size=variable.shape))
    return vae


def make_vae(kind="dense", data_shape=(7, 6, 1), latent_dim=3, **arguments):
    encoder = getattr(kvae.networks, f"{kind}_encoder")(data_shape, latent_dim)
    decoder = getattr(kvae.networks, f"{kind}_decoder")(latent_dim, data_shape)
    return randomised(kvae.VAE(encoder, decoder, **arguments))


def make_conditional_vae(data_dim=6, latent_dim=3, num_classes=4):
    def network(num_inputs, num_outputs):
        inputs = [keras.Input((num_inputs,)), keras.Input((num_classes,))]
        hidden = layers.Dense(16, activation="tanh")(layers.Concatenate()(inputs))
        return keras.Model(inputs, layers.Dense(num_outputs)(hidden))

    return randomised(kvae.VAE(network(data_dim, 2 * latent_dim), network(latent_dim, data_dim)))


def make_ending_in(*ending):
    """A VAE whose decoder ends in some more layers."""
    decoder = keras.Sequential([kvae.networks.dense_decoder(3, (6,)), *ending], name="whole_decoder")
    return randomised(kvae.VAE(kvae.networks.dense_encoder((6,), 3), decoder))


CASES = {
    "dense_bernoulli": lambda: make_vae("dense", (28, 28, 1), 16),
    "dense_normal": lambda: make_vae("dense", (13, 9, 3), 4, likelihood="normal"),
    "conv_bernoulli": lambda: make_vae("conv", (28, 28, 1), 16),
    "conv_normal": lambda: make_vae("conv", (13, 9, 3), 4, likelihood="normal"),
    "conditional": make_conditional_vae,
}


def inputs(vae, num_draws=8):
    """float32 arrays by name: z from a normal, at zero and at +-3; x that is black and white; c where there is one."""
    generator, rows = np.random.default_rng(1), num_draws + 3
    corners = np.array([[0.0], [3.0], [-3.0]]) * np.ones(vae.latent_dim)
    arrays = {
        "z": np.concatenate([generator.normal(size=(num_draws, vae.latent_dim)), corners]),
        "x": generator.integers(0, 2, (rows, *vae.data_shape)),
    }
    if vae.condition_shape is not None:
        arrays["c"] = np.eye(*vae.condition_shape)[generator.integers(0, vae.condition_shape[0], rows)]
    return {name: array.astype("float32") for name, array in arrays.items()}


def run_without(blocked, script, folder, log_level="3"):
    """What a script prints to standard error, run in a folder and a process in which some packages cannot be imported."""
    blocker = f"""
import importlib.machinery, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        # TensorFlow looks whether Keras is there, without importing it.
        return importlib.machinery.ModuleSpec(name, self) if name.split(".")[0] in {set(blocked)!r} else None

    def create_module(self, spec):
        raise ImportError(f"{{spec.name}} is not to be had here")

sys.meta_path.insert(0, Blocker())
"""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": log_level}
    done = subprocess.run(
        [sys.executable, "-c", blocker + script], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


def listing(folder):
    """All that lies in a folder, hidden files too."""
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*"))
