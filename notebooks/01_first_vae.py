# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first VAE
#
# Load data, build, fit, look, sample, save, export, and run the exported file: the whole way on the 8x8 digits that
# come with scikit-learn, so it needs no network and takes about a minute. At the end, how to bring over the VAE of the
# Keras documentation.

# %%
EPOCHS = 120

# %%
import os
import pathlib
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np

import kvae

keras.utils.set_random_seed(0)  # the initial weights; all the rest follows `VAE(seed=...)`
folder = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## Data
#
# Float images in [0, 1], with a channel axis.

# %%
data = kvae.data.load("digits")
data.x_train.shape, data.x_test.shape

# %%
kvae.plots.grid(data.x_train[:32], columns=16)

# %% [markdown]
# ## Build
#
# Networks make tensors; heads turn them into distributions. Each part is one argument, by name or as an object. Here
# the pixels are grey, so p(x|z) is a normal with one learned standard deviation.

# %%
encoder = kvae.networks.dense_encoder((8, 8, 1), latent_dim=8)
decoder = kvae.networks.dense_decoder(8, (8, 8, 1))
vae = kvae.VAE(encoder, decoder, likelihood="normal", seed=0)
vae.compile(keras.optimizers.Adam(1e-3))
vae.summary()

# %% [markdown]
# ## Fit
#
# It is a Keras model: `fit`, validation, callbacks. There is no loss to choose; the objective is one. All figures are
# nats per example, and `elbo` is a bound on log p(x) that can be compared between models.

# %%
history = vae.fit(data.x_train, epochs=EPOCHS, batch_size=128, validation_data=(data.x_test,), verbose=0)
kvae.plots.curves(history)

# %%
vae.evaluate(data.x_test, return_dict=True, verbose=0)

# %% [markdown]
# The ELBO is a lower bound. With importance samples it comes closer to log p(x), here with its standard error:

# %%
print(kvae.evaluation.estimate(kvae.evaluation.log_likelihood(vae, data.x_test, num_samples=500)))

# %% [markdown]
# ## Look
#
# Reconstructions are deterministic: the mean of p(x|z) at the mean of q(z|x).

# %%
kvae.plots.reconstructions(vae, data.x_test)

# %%
kvae.plots.latent_scatter(vae, data.x_test, data.y_test)

# %%
kvae.plots.traversals(vae, data.x_test)

# %% [markdown]
# ## Sample

# %%
kvae.plots.grid(vae.sample(32, seed=1), columns=16)

# %% [markdown]
# The distributions themselves are TensorFlow Probability's:

# %%
q = vae.encode(data.x_test[:3])
p = vae.decode(q.sample(5))
q, p

# %% [markdown]
# ## Save and load
#
# One file; loading needs nothing but `import kvae`, and training continues where it stopped.

# %%
vae.save(folder / "vae.keras")
again = keras.models.load_model(folder / "vae.keras")
np.abs(again.sample(4, seed=1) - vae.sample(4, seed=1)).max()

# %% [markdown]
# ## Export, and run the file
#
# The decoder as TFLite, in built-in operations only. It is run and compared with the model before it is written.

# %%
print(kvae.export.tflite(vae, folder / "decoder.tflite"))

# %%
from ai_edge_litert.interpreter import Interpreter

decode = Interpreter(str(folder / "decoder.tflite")).get_signature_runner("decode")
image = decode(z=np.zeros((1, 8), "float32"))["x_mean"]
kvae.plots.grid(image)

# %% [markdown]
# ## From the Keras example
#
# The example's encoder, with its outputs `[z_mean, z_log_var, z]`, is taken as it is. Its decoder ends in a sigmoid,
# which the Bernoulli likelihood applies itself; one line drops it. There is no subclass to write: validation,
# `evaluate`, saving and sampling are there.

# %%
inputs = keras.Input((8, 8, 1))
features = keras.layers.Conv2D(32, 3, activation="relu", strides=2, padding="same")(inputs)
features = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(features))
z_mean = keras.layers.Dense(2, name="z_mean")(features)
z_log_var = keras.layers.Dense(2, name="z_log_var")(features)
z = kvae.Sampling(seed=0)([z_mean, z_log_var])
example_encoder = keras.Model(inputs, [z_mean, z_log_var, z], name="encoder")

latent = keras.Input((2,))
features = keras.layers.Reshape((4, 4, 32))(keras.layers.Dense(4 * 4 * 32, activation="relu")(latent))
images = keras.layers.Conv2DTranspose(1, 3, activation="sigmoid", strides=2, padding="same")(features)
example_decoder = keras.Model(latent, images, name="decoder")

# %%
example_decoder.layers[-1].activation = keras.activations.linear
moved = kvae.VAE(example_encoder, example_decoder, likelihood="bernoulli")
moved.compile(keras.optimizers.Adam(3e-3))
batches = kvae.data.dynamic_binarization(data.x_train, batch_size=128)
x_test = kvae.data.binarize(data.x_test)
moved.fit(batches, epochs=EPOCHS, validation_data=x_test, verbose=0)
moved.evaluate(x_test, return_dict=True, verbose=0)

# %%
kvae.plots.manifold(moved, num_steps=15)
