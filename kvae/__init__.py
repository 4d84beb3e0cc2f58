"""kvae: variational autoencoders for Keras 3 on TensorFlow.

Networks make tensors. Heads turn tensors into `tfp` distributions. An objective turns log-densities into a loss.
`VAE` wires the three; `model.fit` trains it.

    VAE            the model: encode, decode, sample, reconstruct, and all that a keras.Model does
    Autoencoder    its deterministic relative: undercomplete, sparse, denoising, contractive
    Sampling       the reparameterisation trick as a layer
    networks       dense and convolutional encoders and decoders
    posteriors     q(z|x)
    priors         p(z)
    likelihoods    p(x|z)
    objectives     ELBO, IWAE, Renyi, BetaTC, FactorVAE, InfoVAE, WAE, DIP
    flows          normalising flows, of which posteriors and priors are made
    callbacks      schedules of beta, LatentMonitor, Checkpoint
    evaluation     likelihoods with standard errors, latent statistics, disentanglement scores
    data           data sets, files larger than memory, binarisation
    plots          pictures
    export         the decoder as TFLite, SavedModel and ONNX, verified
    pretrained     trained models by name or path
    random         the one source of noise
    cluster        the strategy that TF_CONFIG and the visible devices ask for
    replicas       what several replicas need to know of each other
"""

import importlib
import os

if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
    raise ImportError(
        "kvae needs the TensorFlow backend of Keras; KERAS_BACKEND is "
        f"'{os.environ['KERAS_BACKEND']}'. Set KERAS_BACKEND=tensorflow before importing it."
    )

try:
    import keras
except ImportError as error:  # keras.json may name a backend that is not even there
    raise ImportError(f"kvae needs Keras 3 on TensorFlow: {error}. Set KERAS_BACKEND=tensorflow.") from error

if keras.config.backend() != "tensorflow":
    raise ImportError(
        f"kvae needs the TensorFlow backend of Keras; keras.json names '{keras.config.backend()}'. "
        "Set KERAS_BACKEND=tensorflow before importing it."
    )

from kvae import (
    callbacks,
    cluster,
    data,
    evaluation,
    flows,
    likelihoods,
    networks,
    objectives,
    posteriors,
    pretrained,
    priors,
    random,
    replicas,
)
from kvae.autoencoder import Autoencoder
from kvae.sampling import Sampling
from kvae.vae import VAE

__version__ = "0.1.0"

__all__ = [
    "VAE",
    "Autoencoder",
    "Sampling",
    "callbacks",
    "cluster",
    "data",
    "evaluation",
    "export",
    "flows",
    "likelihoods",
    "networks",
    "objectives",
    "plots",
    "posteriors",
    "pretrained",
    "priors",
    "random",
    "replicas",
]


def __getattr__(name):
    if name in ("export", "plots"):  # they bring matplotlib and the interpreter of TFLite, which training does not need
        return importlib.import_module(f"kvae.{name}")
    raise AttributeError(f"module 'kvae' has no attribute '{name}'")
