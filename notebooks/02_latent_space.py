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
# # What the two terms of the ELBO do to the latent space
#
# The ELBO is a reconstruction term less a KL term. Train the same networks with the first alone, with the second alone,
# and with both, and look at the codes: that is the shortest explanation of a VAE there is.
#
# MNIST, where it can be had (see `kvae.data.load`), else the 8x8 digits of scikit-learn.

# %%
EPOCHS = 15

# %%
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np

import kvae

try:
    data = kvae.data.mnist()
except ConnectionError:
    data = kvae.data.digits()
shape = data.x_train.shape[1:]
x_test = kvae.data.binarize(data.x_test, seed=777)
shape


# %% [markdown]
# ## Three objectives
#
# Reconstruction only is `ELBO(beta=0)`. KL only is a class with one line in it: an objective is a function of the log-densities
# of a batch.


# %%
class KLOnly(kvae.objectives.Objective):
    def loss(self, terms):
        return terms.kl + 0.0 * terms.reconstruction  # the decoder is asked for nothing, but is there


objectives = {
    "reconstruction only": kvae.objectives.ELBO(beta=0.0),
    "KL only": KLOnly(),
    "both": kvae.objectives.ELBO(),
}


# %%
def train(objective):
    keras.utils.set_random_seed(0)
    encoder = kvae.networks.dense_encoder(shape, latent_dim=2)
    decoder = kvae.networks.dense_decoder(2, shape)
    vae = kvae.VAE(encoder, decoder, objective=objective, seed=0)
    vae.compile(keras.optimizers.Adam(1e-3))
    vae.fit(kvae.data.dynamic_binarization(data.x_train, batch_size=128), epochs=EPOCHS, verbose=0)
    return vae


models = {name: train(objective) for name, objective in objectives.items()}

# %% [markdown]
# The ELBO is reported whatever the objective, so the three can be compared. A latent dimension is active when its
# posterior mean varies over the data by more than 0.01 (Burda et al. 2016).

# %%
print(f"{'':20} {'ELBO':>9} {'reconstruction':>15} {'KL':>8} {'active units':>13}")
for name, vae in models.items():
    report = vae.evaluate(x_test, batch_size=500, return_dict=True, verbose=0)
    active = int((vae.transform(x_test).var(axis=0) > 0.01).sum())
    print(f"{name:20} {report['elbo']:9.1f} {report['reconstruction']:15.1f} {report['kl']:8.2f} {active:13d}")

# %% [markdown]
# ## Reconstruction only
#
# The codes drift far apart, for nothing holds them together, and leave holes: between and outside them the decoder was
# never asked anything. The KL, which was not trained, is large, so the ELBO is poor, and a draw from the prior lands
# where no code is.

# %%
kvae.plots.latent_scatter(models["reconstruction only"], x_test[:5000], data.y_test[:5000])

# %%
kvae.plots.manifold(models["reconstruction only"], num_steps=12)

# %% [markdown]
# ## KL only
#
# Every posterior is the prior: the codes say nothing about x, no unit is active, and all classes lie on one point.

# %%
kvae.plots.latent_scatter(models["KL only"], x_test[:5000], data.y_test[:5000])

# %%
kvae.plots.manifold(models["KL only"], num_steps=12)

# %% [markdown]
# ## Both
#
# The codes fill the prior without holes, and like lies near like. Any draw from the prior decodes to something.

# %%
kvae.plots.latent_scatter(models["both"], x_test[:5000], data.y_test[:5000])

# %%
kvae.plots.manifold(models["both"], num_steps=16)

# %% [markdown]
# ## Smooth
#
# Along each axis, and between two images, the decoded image changes without a jump. The largest step between neighbours
# on a line of 50, as a share of the whole way (a straight fade would give 1/49 = 0.02):

# %%
kvae.plots.traversals(models["both"], x_test)

# %%
kvae.plots.interpolations(models["both"], x_test[:5], x_test[5:10])

# %%
codes = models["both"].transform(x_test[:10])
for start, end in zip(codes[:5], codes[5:], strict=True):
    line = start + np.linspace(0, 1, 50)[:, None] * (end - start)
    images = models["both"].decode(line.astype("float32")).mean().numpy().reshape(50, -1)
    steps = np.linalg.norm(np.diff(images, axis=0), axis=1)
    print(f"{steps.max() / steps.sum():.3f}")
