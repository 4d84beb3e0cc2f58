"""A VAE on dynamically binarised MNIST: test ELBO and importance-weighted likelihood, in nats.

Run `python benchmarks/mnist.py`. The test images are binarised once with seed 777. Needs MNIST (see `kvae.data.load`).
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import kvae


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--samples", type=int, default=1000, help="importance samples, on the first 1,000 test images")
    parser.add_argument("--out", help="file for a picture of samples")
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    data = kvae.data.mnist()
    x_test = kvae.data.binarize(data.x_test, seed=777)
    encoder = kvae.networks.dense_encoder((28, 28, 1), latent_dim=40)
    decoder = kvae.networks.dense_decoder(40, (28, 28, 1))
    vae = kvae.VAE(encoder, decoder, seed=0)
    steps = options.epochs * -(-len(data.x_train) // 128)
    vae.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)))

    start = time.perf_counter()
    batches = kvae.data.dynamic_binarization(data.x_train, batch_size=128, seed=0)
    vae.fit(batches, epochs=options.epochs, validation_data=x_test, verbose=2)
    minutes = (time.perf_counter() - start) / 60

    report = vae.evaluate(x_test, return_dict=True, verbose=0)
    likelihood = kvae.evaluation.log_likelihood(vae, x_test[:1000], num_samples=options.samples)
    print(f"{options.epochs} epochs in {minutes:.1f} minutes, {vae.count_params():,} parameters")
    print("test " + ", ".join(f"{name} {value:.2f}" for name, value in report.items()))
    print(f"test log p(x), {options.samples} samples: {kvae.evaluation.estimate(likelihood)}")
    if options.out:
        kvae.plots.samples(vae, 100).savefig(options.out)


if __name__ == "__main__":
    main()
