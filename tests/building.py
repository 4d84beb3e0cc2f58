"""Small models and data that many tests share."""

import functools

import keras
import numpy as np

import kvae


@functools.cache
def digits():
    """(x_train [1500, 8, 8, 1], x_test [297, 8, 8, 1]), binarised digits."""
    data = kvae.data.load("digits")
    return kvae.data.binarize(data.x_train, seed=1), kvae.data.binarize(data.x_test, seed=2)


def networks(data_shape=(8, 8, 1), latent_dim=3, num_params=1, params_size=None, hidden=(16,)):
    """A dense encoder and decoder, of the same weights at each call."""
    keras.utils.set_random_seed(0)
    return (
        kvae.networks.dense_encoder(data_shape, latent_dim, hidden=hidden, params_size=params_size),
        kvae.networks.dense_decoder(latent_dim, data_shape, hidden=hidden, num_params=num_params),
    )


def make_vae(data_shape=(8, 8, 1), latent_dim=3, compile_arguments=None, **arguments):
    """A small VAE, compiled without XLA unless asked, which takes seconds less."""
    vae = kvae.VAE(*networks(data_shape, latent_dim), **{"seed": 0, **arguments})
    vae.compile(**{"optimizer": keras.optimizers.Adam(1e-2), "jit_compile": False, **(compile_arguments or {})})
    return vae


def linear_vae(noise_scale=0.5, data_dim=5, latent_dim=2, objective="elbo"):
    """A linear-Gaussian VAE with its exact posterior, and the function x -> log p(x) in closed form.

    Probabilistic PCA: x = W z + b + noise_scale * noise, with W of orthogonal columns, so that the exact posterior is
    diagonal: precision_j = 1 + |W_j|^2 / noise_scale^2 and mean_j = W_j^T (x - b) / (noise_scale^2 precision_j).
    """
    rng = np.random.default_rng(3)
    columns = np.linalg.qr(rng.normal(size=(data_dim, latent_dim)))[0] * np.linspace(1.0, 2.0, latent_dim)
    offset = rng.normal(size=data_dim)
    precision = 1 + (columns**2).sum(axis=0) / noise_scale**2
    gain = columns / (noise_scale**2 * precision)

    encoder = kvae.networks.dense_encoder((data_dim,), latent_dim, hidden=())
    decoder = kvae.networks.dense_decoder(latent_dim, (data_dim,), hidden=())
    encoder.set_weights(
        [
            np.hstack([gain, np.zeros((data_dim, latent_dim))]),
            np.concatenate([-offset @ gain, -np.log(precision)]),
        ]
    )
    decoder.set_weights([columns.T, offset])
    vae = kvae.VAE(encoder, decoder, kvae.likelihoods.Normal(scale=noise_scale), objective=objective)

    covariance = columns @ columns.T + noise_scale**2 * np.eye(data_dim)

    def log_marginal(x):
        centred = x - offset
        quadratic = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
        return -0.5 * (quadratic + np.linalg.slogdet(covariance)[1] + data_dim * np.log(2 * np.pi))

    x = rng.multivariate_normal(offset, covariance, size=200).astype("float32")
    return vae, x, log_marginal
