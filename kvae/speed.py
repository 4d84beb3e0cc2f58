"""Defaults that were measured to be faster (`benchmarks/training.py`); a user's own choice always goes before them."""

import keras
import tensorflow as tf

from kvae import feeding

# Steps that one call from Python takes, where nobody looks at single batches.
STEPS_AT_ONCE = 16

_SLOW_UNDER_XLA = ("Conv", "RNN", "LSTM", "GRU", "Attention", "Lambda")
_BATCH_HOOKS = (
    "on_batch_begin",
    "on_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_batch_begin",
    "on_test_batch_end",
)
_NO_HOOKS = {getattr(keras.callbacks.Callback, name) for name in _BATCH_HOOKS}


def jit_compile(vae):
    """Whether XLA is the default: with a GPU what Keras thinks ("auto"); without, for dense layers of Keras alone.

    On a CPU XLA makes dense steps faster and convolutions slower, and what a user's own layer holds is not known. It
    does not compile the sums over several replicas.
    """
    if vae.distribute_strategy.num_replicas_in_sync > 1:
        return False
    if tf.config.list_physical_devices("GPU"):
        return "auto"
    layers = list(vae._flatten_layers())
    names = [type(layer).__name__ for layer in layers]
    own = all(type(layer).__module__.startswith(("keras.", "kvae.")) for layer in layers)
    able = all(layer.supports_jit for layer in layers)
    # Dropout and the like: what Keras draws under XLA is not what it draws without.
    draws = any(hasattr(layer, "seed_generator") for layer in layers)
    return own and able and not draws and not any(word in name for name in names for word in _SLOW_UNDER_XLA)


def steps_per_execution(vae, arguments):
    """How many steps `fit` takes at once: 16 under XLA in long epochs that no callback watches batch by batch, else 1.

    Without XLA nothing is gained that could be measured. Keras takes whole executions, so it is 1 as well where the steps
    of an epoch or of its validation are cut at a number: more would be taken. (Feeds of kvae are cut themselves.)

    Args:
        vae: the model.
        arguments: those of `keras.Model.fit`.
    """
    data, cut = arguments["x"], (arguments.get("steps_per_epoch"), arguments["validation_steps"])
    steps = int(data.cardinality()) if isinstance(data, tf.data.Dataset) else 0
    gains = vae.jit_compile and steps >= 4 * STEPS_AT_ONCE and cut == (None, None)
    return STEPS_AT_ONCE if gains and not watched(arguments["callbacks"]) else 1


def takes_blocks(vae):
    """Whether the loop over the steps of one execution may be compiled as well: those of kvae, under XLA on one device."""
    own = type(vae).train_step.__module__.startswith("kvae.")
    return own and vae.jit_compile is True and vae.steps_per_execution > 1 and not vae.run_eagerly


def block_function(vae, keras_function, blocks):
    """A `keras.Model.train_function`: from an iterator to the logs, after `vae.steps_per_execution` steps.

    Keras reads a batch before each of the steps, and begins an XLA computation for each. On a CPU that is a fifth of a
    small step. Here several batches are read at once, and the loop over the steps is part of the computation.

    Args:
        vae: one that `takes_blocks`.
        keras_function: Keras's own, for what is not read by blocks.
        blocks: function that gives the `kvae.feeding.Blocks` to read, or None.
    """

    @tf.function(jit_compile=True)
    @feeding.plain
    def steps(batches):
        def body(number):
            vae.train_step(tf.nest.map_structure(lambda each: each[number], batches))
            return [number + 1]

        tf.while_loop(lambda number: number < tf.shape(tf.nest.flatten(batches)[0])[0], body, [0])
        return vae.get_metrics_result()

    def any_number(each):
        return tf.TensorSpec([None, None, *each.shape[2:]], each.dtype)

    def run(iterator):
        source, done, logs = blocks(), 0, None
        if source is None or not isinstance(iterator, tf.data.Iterator):
            return keras_function(iterator)
        while done < vae.steps_per_execution:
            count, batches = source.next(vae.steps_per_execution - done)
            if not count:
                break
            # One trace for any number of batches and rows; XLA compiles each number.
            logs = steps.get_concrete_function(tf.nest.map_structure(any_number, batches))(batches)
            done += count
        if not done:
            raise StopIteration
        return logs

    return run


def watched(callbacks):
    """Whether one of some callbacks, a list or Keras's own or None, looks at single batches of `fit` or `evaluate`."""
    return any(map(_watches_batches, keras.tree.flatten(getattr(callbacks, "callbacks", callbacks) or [])))


def _watches_batches(callback):
    if hasattr(callback, "watches_batches"):  # a callback may say so itself
        return callback.watches_batches
    own = [getattr(callback, name) for name in _BATCH_HOOKS]
    own = [each for each in own if getattr(each, "__func__", each) not in _NO_HOOKS]
    if "epoch" in (getattr(callback, "save_freq", None), getattr(callback, "update_freq", None)):
        # ModelCheckpoint, BackupAndRestore and TensorBoard have the hooks, and use them only on request.
        own = [each for each in own if not each.__module__.startswith("keras.")]
        return bool(own or getattr(callback, "_should_trace", False))
    return bool(own)
