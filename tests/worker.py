"""What one of several processes does in test_distribute.py, and, for comparison, one device alone.

Run as `python worker.py FOLDER` with TF_CONFIG; writes FOLDER/INDEX.npz.
"""

import pathlib
import sys
import tempfile

import keras
import numpy as np
from building import digits, networks

import kvae

ROWS, BATCH = 129, 64  # the last batch is one row, of which the second replica gets none


def make_vae():
    vae = kvae.VAE(*networks(), objective=kvae.objectives.IWAE(num_samples=2), seed=3)
    vae.compile(keras.optimizers.SGD(1e-2))
    return vae


def run(vae, callbacks=()):
    """Everything that `fit` and `evaluate` give, as a dictionary of arrays."""
    x, x_test = digits()
    weight = np.linspace(0, 2, ROWS)  # the first example is absent
    at_first = vae.evaluate(x_test[:65], batch_size=BATCH, verbose=0)
    steps = []
    logger = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(float(logs["elbo"])))
    history = vae.fit(
        x[:ROWS],
        sample_weight=weight,
        batch_size=BATCH,
        epochs=2,
        validation_data=x_test[:65],
        callbacks=[logger, *callbacks],
        verbose=0,
    ).history
    found = {f"history_{name}": np.array(values) for name, values in history.items()}
    found |= {f"weight_{i}": np.array(each.numpy()) for i, each in enumerate(vae.trainable_variables)}
    found |= {"at_first": np.array(at_first), "steps": np.array(steps)}
    found["one_row"] = np.array(vae.evaluate(x_test[:1], verbose=0))  # fewer rows than workers
    found["transform"] = vae.transform(x_test[:5])
    found["sample"] = vae.sample(3, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "x.npy")
        np.save(path, x[:ROWS])
        for name in ("dynamic_binarization", "stream"):
            data = getattr(kvae.data, name)(path if name == "stream" else x[:ROWS], batch_size=BATCH, seed=1)
            # Five batches, of which a round has three.
            history = vae.fit(data, epochs=5, initial_epoch=4, steps_per_epoch=5, verbose=0).history
            found[name] = np.array(history["loss"])
    return found


def complaint(vae, rows):
    """What `fit` says when each worker brings another number of rows."""
    try:
        vae.fit(digits()[0][:rows], batch_size=BATCH, verbose=0)
    except ValueError as error:
        return str(error)
    return "nothing"


def main():
    folder = pathlib.Path(sys.argv[1])
    strategy = kvae.cluster.strategy(timeout=60)
    with strategy.scope():
        vae = make_vae()
    is_chief = kvae.replicas.is_chief(strategy)
    callbacks = [keras.callbacks.ModelCheckpoint(folder / "chief.keras")] if is_chief else []
    found = run(vae, callbacks)
    found["replicas"] = strategy.num_replicas_in_sync
    found["complaint"] = complaint(vae, 64 if is_chief else 65)
    np.savez(folder / f"{strategy.cluster_resolver.task_id}.npz", **found)


if __name__ == "__main__":
    main()
