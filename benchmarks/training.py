"""Training speed of `vae.fit` against a hand-written `tf.function` loop on the same networks, data and optimiser.

Run `python benchmarks/training.py`. The two are interleaved, so that a machine whose speed drifts treats them alike;
each round gives one ratio, and the median of the ratios is the figure. Needs MNIST (see `kvae.data.load`).
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import kvae

SHAPE, LATENT_DIM, HIDDEN = (784,), 40, (300, 300)


def networks():
    keras.utils.set_random_seed(0)
    return (
        kvae.networks.dense_encoder(SHAPE, LATENT_DIM, hidden=HIDDEN),
        kvae.networks.dense_decoder(LATENT_DIM, SHAPE, hidden=HIDDEN),
    )


def fit_epoch(x, batch_size):
    """A function that trains one epoch as a user would by default."""
    vae = kvae.VAE(*networks(), seed=0)
    vae.compile(keras.optimizers.Adam(1e-3))
    return lambda: vae.fit(x, batch_size=batch_size, epochs=1, verbose=0).history["loss"][-1]


def hand_written_epoch(x, batch_size):
    """A function that trains one epoch in a plain loop: the tutorial VAE, with its loss as one `tf.function`."""
    encoder, decoder = networks()
    optimizer = keras.optimizers.Adam(1e-3)
    variables = encoder.trainable_variables + decoder.trainable_variables
    optimizer.build(variables)
    data = tf.data.Dataset.from_tensor_slices(x).shuffle(len(x)).batch(batch_size).prefetch(tf.data.AUTOTUNE)

    @tf.function(reduce_retracing=True)
    def step(batch):
        with tf.GradientTape() as tape:
            mean, log_var = tf.split(encoder(batch, training=True), 2, axis=-1)
            z = mean + tf.exp(0.5 * log_var) * tf.random.normal(tf.shape(mean))
            cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(batch, decoder(z, training=True))
            kl = 0.5 * tf.reduce_sum(tf.exp(log_var) + tf.square(mean) - 1.0 - log_var, axis=-1)
            loss = tf.reduce_mean(tf.reduce_sum(cross_entropy, axis=-1) + kl)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return lambda: float(np.mean([step(batch).numpy() for batch in data]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()

    x = kvae.data.binarize(kvae.data.mnist().x_train).reshape(-1, *SHAPE)
    contestants = {
        "vae.fit": fit_epoch(x, options.batch_size),
        "tf.function loop": hand_written_epoch(x, options.batch_size),
    }
    for epoch in contestants.values():
        epoch()  # traces and compiles
    speeds = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, epoch in contestants.items():
            start = time.perf_counter()
            epoch()
            speeds[name].append(len(x) / (time.perf_counter() - start))
    for name, values in speeds.items():
        print(f"{name:20} {np.median(values):8,.0f} examples/s   (from {min(values):,.0f} to {max(values):,.0f})")
    ratios = np.divide(*speeds.values())
    print(f"{'ratio':20} {np.median(ratios):8.2f}              (from {ratios.min():.2f} to {ratios.max():.2f})")


if __name__ == "__main__":
    main()
