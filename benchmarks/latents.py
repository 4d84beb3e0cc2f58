"""The latent space of three VAEs of the binarised 8x8 digits, and what priors fitted to it gain.

Run `python benchmarks/latents.py`. For each weight of the KL, the latent statistics of the training examples with their
verdict, and the time they take the second time. Then -log p(x) of the test examples, nats, by importance weighting with
the standard normal prior that the networks were trained with, and with priors fitted to the codes afterwards.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import kvae

PRIORS = {
    "mixture of 10 normals": kvae.priors.fit_mixture,
    "flow": kvae.priors.fit_flow,
}


def train(x, beta, epochs):
    keras.utils.set_random_seed(0)
    encoder = kvae.networks.dense_encoder((8, 8, 1), 8, hidden=(128,))
    decoder = kvae.networks.dense_decoder(8, (8, 8, 1), hidden=(128,))
    vae = kvae.VAE(encoder, decoder, objective=kvae.objectives.ELBO(beta=beta), seed=0)
    vae.compile(keras.optimizers.Adam(3e-3))
    vae.fit(x, epochs=epochs, batch_size=100, verbose=0)
    return vae


def timed(function, *arguments, **options):
    start = time.perf_counter()
    return function(*arguments, **options), time.perf_counter() - start


def report(name, vae, x_test, num_samples, note=""):
    values = kvae.evaluation.log_likelihood(vae, x_test, num_samples=num_samples)
    print(f"  -log p(x), {name:22} {kvae.evaluation.estimate(-values)}   {note}".rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--betas", type=float, nargs="+", default=[0.001, 0.05, 1.0, 100.0])
    options = parser.parse_args()
    data = kvae.data.digits()
    x_train, x_test = kvae.data.binarize(data.x_train, seed=1), kvae.data.binarize(data.x_test, seed=2)
    for beta in options.betas:
        vae = train(x_train, beta, options.epochs)
        kvae.evaluation.latent_statistics(vae, x_train)
        statistics, seconds = timed(kvae.evaluation.latent_statistics, vae, x_train)
        print(f"beta = {beta:g}\n{statistics}\n  in {seconds:.2f} s")
        report("standard normal", vae, x_test, options.num_samples)
        for name, fit in PRIORS.items():
            prior, seconds = timed(fit, vae, x_train, seed=0)
            better = kvae.VAE(vae.encoder, vae.decoder, vae.likelihood, vae.posterior, prior)
            report(name, better, x_test, options.num_samples, f"fitted in {seconds:.1f} s")
        print()


if __name__ == "__main__":
    main()
