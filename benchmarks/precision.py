"""The reference network on MNIST in float32 and in mixed precision: test ELBO in nats, and how far each is from float32.

Run `python benchmarks/precision.py`. The dense network 784-300-300-40 and its mirror; for each seed the same initial
weights, order of the data and noise under each policy. One seed says little, as two trainings that round otherwise part:
the figure is the mean difference over seeds, with its standard error. float16 and bfloat16 are emulated on most CPUs, so
the times there say nothing of a GPU. Needs MNIST (see `kvae.data.load`). Ends with code 1 if a policy is on average more
than 0.5 nats away, or was not finite.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import kvae

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
BOUND = 0.5  # nats


def train(policy, seed, x, x_test, epochs):
    """(test ELBO, whether every loss and weight was finite, seconds) of a training under a policy."""
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed)
    encoder = kvae.networks.dense_encoder((28, 28, 1), latent_dim=40, hidden=(300, 300))
    decoder = kvae.networks.dense_decoder(40, (28, 28, 1), hidden=(300, 300))
    vae = kvae.VAE(encoder, decoder, seed=seed)
    vae.compile(keras.optimizers.Adam(1e-3))
    start = time.perf_counter()
    losses = vae.fit(x, batch_size=128, epochs=epochs, verbose=0).history["loss"]
    seconds = time.perf_counter() - start
    elbo = vae.evaluate(x_test, batch_size=500, return_dict=True, verbose=0)["elbo"]
    finite = np.isfinite([elbo, *losses]).all() and all(np.isfinite(each).all() for each in vae.get_weights())
    return elbo, bool(finite), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--examples", type=int, default=60_000, help="how many training images")
    parser.add_argument("--seeds", type=int, default=3, help="how many; at least 2, for the standard error")
    options = parser.parse_args()

    data = kvae.data.mnist()
    x = kvae.data.binarize(data.x_train[: options.examples], seed=1)
    x_test = kvae.data.binarize(data.x_test, seed=777)
    print(f"{options.epochs} epochs of {len(x):,} images")
    print(f"{'seed':>4} {'policy':16} {'ELBO':>9} {'difference':>11} {'finite':>7} {'seconds':>8}")
    elbos, bad = {policy: [] for policy in POLICIES}, set()
    for seed in range(options.seeds):
        for policy in POLICIES:
            elbo, finite, seconds = train(policy, seed, x, x_test, options.epochs)
            elbos[policy].append(elbo)
            difference = elbo - elbos["float32"][seed]
            print(f"{seed:4} {policy:16} {elbo:9.3f} {difference:+11.3f} {finite!s:>7} {seconds:8.1f}", flush=True)
            if not finite:
                bad.add(policy)
    print(f"spread of float32 over seeds: standard deviation {np.std(elbos['float32'], ddof=1):.3f} nats")
    for policy in POLICIES[1:]:
        differences = np.subtract(elbos[policy], elbos["float32"])
        error = differences.std(ddof=1) / np.sqrt(len(differences))
        print(f"{policy:16} {differences.mean():+.3f} +- {error:.3f} nats from float32, {len(differences)} seeds")
        if not abs(differences.mean()) <= BOUND:
            bad.add(policy)
    if bad:
        raise SystemExit(f"more than {BOUND} nats from float32, or not finite: {', '.join(sorted(bad))}")


if __name__ == "__main__":
    main()
