"""Trains one VAE on several machines: every machine runs this same script, with its own TF_CONFIG.

Every worker reads the same data and takes its share of each batch. The first worker alone writes: after each epoch the
state of the training to OUT/state, from which all go on when the script is started again, and in the end OUT/vae.keras.
OUT must be a folder that all workers can read, such as a shared disk. See README.md beside this file.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

import kvae

strategy = kvae.cluster.strategy()  # before anything that makes tensors


def make_vae(data_shape, seed):
    encoder = kvae.networks.dense_encoder(data_shape, latent_dim=16)
    decoder = kvae.networks.dense_decoder(16, data_shape)
    vae = kvae.VAE(encoder, decoder, seed=seed)
    vae.compile(keras.optimizers.Adam(1e-3))
    return vae


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="what kvae.data.load takes: digits, mnist, a path, ...")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/multi_worker"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128, help="of all workers together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    keras.utils.set_random_seed(options.seed)
    data = kvae.data.load(options.data)
    x = kvae.data.binarize(data.x_train, seed=1)
    x_test = kvae.data.binarize(data.x_test, seed=777)

    with strategy.scope():
        vae = make_vae(x.shape[1:], options.seed)
    is_chief = kvae.replicas.is_chief(strategy)
    if is_chief:
        print(f"{strategy.num_replicas_in_sync} replicas", flush=True)
    vae.fit(
        x,
        batch_size=options.batch_size,
        epochs=options.epochs,
        validation_data=x_test,
        validation_batch_size=options.batch_size,
        callbacks=[kvae.callbacks.Checkpoint(options.out / "state")],  # all workers read it, the first writes it
        verbose=2 if is_chief else 0,
    )
    report = vae.evaluate(x_test, batch_size=options.batch_size, return_dict=True, verbose=0)  # by all workers
    if is_chief:
        vae.save(options.out / "vae.keras")
        print("test " + ", ".join(f"{name} {value:.3f}" for name, value in report.items()), flush=True)


if __name__ == "__main__":
    main()
