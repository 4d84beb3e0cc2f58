"""Defaults that were measured to be faster (`benchmarks/training.py`); a user's own choice always goes before them."""

import keras
import tensorflow as tf

# Steps that one call from Python takes, where nobody looks at single batches.
STEPS_AT_ONCE = 16

_SLOW_UNDER_XLA = ("Conv", "RNN", "LSTM", "GRU", "Attention", "Lambda")
_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")


def jit_compile(vae):
    """Whether XLA is the default: with a GPU what Keras thinks ("auto"); without, for dense layers of Keras alone.

    On a CPU XLA makes dense steps faster and convolutions slower, and what a user's own layer holds is not known. It
    does not compile the sums over several replicas.
    """
    if vae.distribute_strategy.num_replicas_in_sync > 1:
        return False
    if tf.config.list_physical_devices("GPU"):
        return "auto"
    names = [type(layer).__name__ for layer in vae._flatten_layers()]
    own = all(type(layer).__module__.startswith(("keras.", "kvae.")) for layer in vae._flatten_layers())
    return own and not any(word in name for name in names for word in _SLOW_UNDER_XLA)


def steps_per_execution(vae, data, callbacks):
    """How many steps `fit` takes at once: 16 under XLA in long epochs that no callback watches batch by batch, else 1.

    Without XLA the steps would be traced one by one, which takes longer than it saves.
    """
    watched = any(map(_watches_batches, callbacks if isinstance(callbacks, list) else callbacks.callbacks))
    steps = int(data.cardinality()) if isinstance(data, tf.data.Dataset) else 0
    return STEPS_AT_ONCE if vae.jit_compile and not watched and steps >= 4 * STEPS_AT_ONCE else 1


def _watches_batches(callback):
    if hasattr(callback, "watches_batches"):  # a callback may say so itself
        return callback.watches_batches
    if "epoch" in (getattr(callback, "save_freq", None), getattr(callback, "update_freq", None)):
        return False  # ModelCheckpoint, BackupAndRestore and TensorBoard have the hooks, and use them only on request
    return any(
        name in vars(callback) or getattr(type(callback), name) is not getattr(keras.callbacks.Callback, name)
        for name in _BATCH_HOOKS
    )
