"""All scores of disentanglement of two small VAEs on sprites, with their protocols and the time each takes.

Run `python benchmarks/disentanglement.py`. The data is a reduced grid, all of whose images are trained on: the figures
show what a minute of training reaches, not what the models can do, and do not compare with those of dSprites.
"""

import argparse
import itertools
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import kvae

SHAPE = (64, 64, 1)


def train(x, beta, options):
    keras.utils.set_random_seed(options.seed)
    encoder = kvae.networks.dense_encoder(SHAPE, options.latent_dim, hidden=(options.width,) * 2)
    decoder = kvae.networks.dense_decoder(options.latent_dim, SHAPE, hidden=(options.width,) * 2)
    objective = kvae.objectives.ELBO(beta=beta)
    vae = kvae.VAE(encoder, decoder, likelihood="bernoulli", objective=objective, seed=options.seed)
    vae.compile(keras.optimizers.Adam(1e-3))
    start = time.perf_counter()
    vae.fit(x, epochs=options.epochs, batch_size=128, verbose=0)
    elbo = vae.evaluate(x[:2000], return_dict=True, verbose=0)["elbo"]
    seconds = time.perf_counter() - start
    print(
        f"\nbeta {beta:g}: {vae.count_params():,} parameters, {options.epochs} epochs, {seconds:.0f} s, ELBO {elbo:.1f}"
    )
    return vae


def score(vae, sprites, options):
    stamps = []
    result = kvae.evaluation.disentanglement(
        vae,
        sprites,
        num_examples=options.examples,
        seed=options.seed,
        progress=lambda note: stamps.append((note, time.perf_counter())),
    )
    stamps.append(("", time.perf_counter()))
    print(result)
    seconds = [f"{name} {end - start:.1f}" for (name, start), (_, end) in itertools.pairwise(stamps)]
    print(f"seconds: {', '.join(seconds)}; together {stamps[-1][1] - stamps[0][1]:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--betas", type=float, nargs="+", default=[1.0, 4.0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--latent-dim", type=int, default=10)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sprites = kvae.data.sprites(scales=3, orientations=8, positions=12)
    start = time.perf_counter()
    x = sprites.images(sprites.grid())
    print(f"{sprites}: {len(x):,} images drawn in {time.perf_counter() - start:.2f} s")
    x = x[np.random.default_rng(options.seed).permutation(len(x))]
    for beta in options.betas:
        score(train(x, beta, options), sprites, options)


if __name__ == "__main__":
    main()
