"""Two things that composed models can do, measured on the 8x8 digits: draw the digit asked for, and fill in what is hidden.

Run `python benchmarks/composition.py`. The first figure is how often a classifier trained on real digits sees the label
that a conditional VAE was asked for. The second is the root mean squared error of the hidden half of the pixels, for
imputation by a VAE that was trained on digits with holes, and for the mean of each pixel over what was observed of it.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from sklearn.svm import SVC

import kvae

SHAPE = (8, 8, 1)


def conditional(data, epochs):
    keras.utils.set_random_seed(0)
    encoder = kvae.networks.dense_encoder(SHAPE, 8, num_classes=10)
    decoder = kvae.networks.dense_decoder(8, SHAPE, num_classes=10)
    vae = kvae.VAE(encoder, decoder, likelihood="normal", seed=0)
    vae.compile(keras.optimizers.Adam(1e-3))
    vae.fit((data.x_train, data.y_train), epochs=epochs, batch_size=128, verbose=0)
    asked = np.arange(1000) % 10
    drawn = vae.sample(1000, condition=asked, seed=1)
    classifier = SVC().fit(data.x_train.reshape(-1, 64), data.y_train)
    real = classifier.score(data.x_test.reshape(-1, 64), data.y_test)
    print(f"the classifier is right on {real:.1%} of the real test digits")
    print(
        f"the classifier agrees on   {classifier.score(drawn.reshape(-1, 64), asked):.1%} of 1,000 conditional samples"
    )


def imputation(data, epochs):
    rng = np.random.default_rng(0)
    x_train, x_test = (np.where(rng.random(x.shape) < 0.5, np.nan, x) for x in (data.x_train, data.x_test))
    keras.utils.set_random_seed(0)
    encoder = kvae.networks.dense_encoder((8, 8, 2), 8)
    decoder = kvae.networks.dense_decoder(8, SHAPE)
    vae = kvae.VAE(encoder, decoder, likelihood="normal", missing="fill+mask", seed=0)
    vae.compile(keras.optimizers.Adam(1e-3))
    vae.fit(x_train, epochs=epochs, batch_size=128, verbose=0)
    hidden = np.isnan(x_test)
    guesses = {
        "VAE, importance-weighted": vae.impute(x_test, num_samples=200),
        "mean of the pixel": np.where(hidden, np.nanmean(x_train, axis=0), x_test),
    }
    for name, filled in guesses.items():
        error = np.sqrt(np.mean((filled - data.x_test)[hidden] ** 2))
        print(f"{name:26} root mean squared error of the hidden half {error:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=150)
    options = parser.parse_args()
    data = kvae.data.digits()
    conditional(data, options.epochs)
    imputation(data, options.epochs)


if __name__ == "__main__":
    main()
