"""The fast path takes no detours: one trace for each function, whatever the batches."""

import collections
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from building import digits, make_vae, networks

import kvae
from kvae import speed


@pytest.fixture
def traces(monkeypatch):
    """How often Python ran each step: once for every trace."""
    counts = collections.Counter()
    for name in ("train_step", "test_step"):
        step = getattr(kvae.VAE, name)

        @functools.wraps(step)
        def counted(self, data, step=step, name=name):
            counts[name] += 1
            return step(self, data)

        monkeypatch.setattr(kvae.VAE, name, counted)
    return counts


@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_trace_for_each_step(traces, jit_compile):
    train, test = digits()
    vae = make_vae(compile_arguments={"jit_compile": jit_compile, "steps_per_execution": 1})
    for epochs in (2, 3):  # a second call of fit takes what the first has made
        # Rows that no batch size divides: the last batch is shorter, in training and in validation.
        vae.fit(train[:150], batch_size=64, epochs=epochs, validation_data=(test[:100],), verbose=0)
    vae.evaluate(test[:50], batch_size=64, verbose=0)
    assert traces == {"train_step": 1, "test_step": 1}


@pytest.mark.parametrize("kind", ["dynamic_binarization", "stream"])
def test_streams_and_dynamic_binarization_take_one_trace(traces, kind, tmp_path):
    train, _ = digits()
    np.save(tmp_path / "x.npy", train[:150])
    data = getattr(kvae.data, kind)(tmp_path / "x.npy" if kind == "stream" else train[:150], batch_size=64)
    make_vae().fit(data, epochs=3, verbose=0)
    assert traces == {"train_step": 1}


def test_the_defaults_take_one_trace_and_are_overruled_by_a_choice(traces):
    train, _ = digits()
    vae = kvae.VAE(*networks(), seed=0)
    vae.compile(keras.optimizers.Adam(1e-2))
    assert vae.jit_compile is True  # dense layers, on a CPU
    # 70 steps, the last of them shorter, taken by 16 at once: four whole executions and a part of one.
    taken = Taken()
    vae.fit(train[:277], batch_size=4, epochs=2, validation_data=(train[:300],), verbose=1, callbacks=[taken])
    assert taken.at_once == [16, 16] and vae.steps_per_execution == 1
    assert traces == {"train_step": 1, "test_step": 1}

    convolutions = kvae.networks.conv_encoder((8, 8, 1), 2, (4,)), kvae.networks.conv_decoder(2, (8, 8, 1), (4,))
    for parts, default in ((networks(), True), (convolutions, False)):
        for asked, expected in (("auto", default), (True, True), (False, False)):
            vae = kvae.VAE(*parts)
            vae.compile(jit_compile=asked, steps_per_execution=3)
            assert vae.jit_compile is expected
    vae.fit(train[:256], batch_size=2, verbose=0)
    assert vae.steps_per_execution == 3


class Taken(keras.callbacks.Callback):
    """How many steps are taken at once, and how many are taken in all, after each epoch."""

    def __init__(self):
        super().__init__()
        self.at_once, self.steps, self.validated = [], [], []

    def on_epoch_end(self, epoch, logs=None):
        self.at_once.append(self.model.steps_per_execution)
        self.steps.append(int(self.model.optimizer.iterations.numpy()))
        self.validated.append(int(self.model.examples_seen.result()))


@pytest.fixture(scope="module")
def fast():
    """A VAE that chooses for itself, under XLA."""
    return make_vae(compile_arguments={"jit_compile": True})


def test_what_follows_a_fit_takes_all_batches(fast):
    train, _ = digits()
    before = fast.reconstruct(train[:300], batch_size=100)
    taken = Taken()
    within = []
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: within.append(fast.reconstruct(train[:300])))
    fast.fit(train[:256], batch_size=4, verbose=0, callbacks=[taken, look])
    assert taken.at_once == [16]
    assert before.shape == within[0].shape == fast.reconstruct(train[:300], batch_size=7).shape == (300, 8, 8, 1)
    batches = tf.data.Dataset.from_tensor_slices(train[:300]).batch(5)
    assert fast.predict(batches, steps=3, verbose=0).shape[0] == 15
    fast.evaluate(batches, steps=3, verbose=0)
    assert int(fast.examples_seen.result()) == 15


def test_no_more_steps_are_taken_than_were_asked_for(fast):
    train, _ = digits()
    batches, begin, taken = tf.data.Dataset.from_tensor_slices(train[:400]).batch(4), fast.steps_taken.numpy(), Taken()
    fast.fit(batches, steps_per_epoch=70, validation_data=batches, validation_steps=3, verbose=0, callbacks=[taken])
    assert taken.steps == [begin + 70] and taken.validated == [12]
    fast.fit(train[:400], batch_size=4, validation_data=train, validation_steps=3, verbose=0, callbacks=[taken])
    assert taken.steps[1:] == [begin + 170] and taken.validated[1:] == [12]
    fast.fit(train[:400], batch_size=4, steps_per_epoch=70, epochs=2, verbose=0, callbacks=[taken])
    assert taken.steps[2:] == [begin + 240, begin + 310] and taken.at_once == [1, 1, 16, 16]


def test_a_fit_within_a_fit_leaves_it_alone(fast):
    class Inner(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if not epoch:
                self.model.fit(train[:32], batch_size=16, verbose=0)

    (train, _), begin, taken = digits(), fast.steps_taken.numpy(), Taken()
    fast.fit(train[:256], batch_size=4, epochs=2, verbose=0, callbacks=[taken, Inner()])
    assert [each - begin for each in taken.steps] == [64, 64 + 2 + 64] and taken.at_once == [16, 16]


def test_what_was_left_to_kvae_is_left_to_it_by_a_saved_model(fast):
    assert fast.get_compile_config()["steps_per_execution"] == "auto"
    assert fast.get_compile_config()["jit_compile"] is True  # which was asked for
    vae = kvae.VAE(*networks())
    vae.compile()
    assert vae.jit_compile is True and vae.get_compile_config()["jit_compile"] == "auto"


def test_networks_that_draw_are_not_compiled_by_default():
    encoder, decoder = networks()
    encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Dropout(0.1), *encoder.layers[1:]])
    vae = kvae.VAE(encoder, decoder)
    vae.compile()
    assert vae.jit_compile is False


def test_whoever_overrides_a_hook_of_batches_watches_them(tmp_path):
    class Mine(keras.callbacks.TensorBoard):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)

    assert speed.watched([Mine(tmp_path)])
    assert speed.watched([keras.callbacks.TensorBoard(tmp_path, profile_batch=(2, 3))])
    assert speed.watched([keras.callbacks.TensorBoard(tmp_path, update_freq="batch")])
    assert not speed.watched([keras.callbacks.TensorBoard(tmp_path), keras.callbacks.History()])
    assert not speed.watched(None)


@pytest.fixture
def keras_loop(monkeypatch):
    """How often steps were taken in Keras's own loop."""
    counts = collections.Counter()
    block_function = speed.block_function

    def function(vae, keras_function, blocks):
        def counted(iterator):
            counts[vae.name] += 1
            return keras_function(iterator)

        return block_function(vae, counted, blocks)

    monkeypatch.setattr(speed, "block_function", function)
    return counts


@pytest.mark.parametrize("feed", ["arrays", "pairs and weights", "dynamic_binarization"])
def test_blocks_of_steps_train_as_single_ones(feed, keras_loop):
    def run(**arguments):
        vae = make_vae(compile_arguments={"jit_compile": True, **arguments})
        if feed == "dynamic_binarization":
            data = kvae.data.dynamic_binarization(train, batch_size=8, seed=1)
            histories = [vae.fit(data, epochs=2, verbose=0).history for _ in range(2)]
        else:
            x = {"x": train, "y": train[::-1], "sample_weight": np.linspace(0, 1, len(train))}
            x = {"x": train} if feed == "arrays" else x
            histories = [
                vae.fit(**x, batch_size=8, epochs=2, verbose=0).history,
                vae.fit(**x, batch_size=8, epochs=3, initial_epoch=1, steps_per_epoch=20, verbose=0).history,
            ]
        return vae, histories

    train = digits()[0][:301]  # 37 full batches, and one of five
    blocks, expected = run(steps_per_execution=5)
    assert keras_loop[blocks.name] == 0
    single, histories = run(steps_per_execution=1)
    for history, each in zip(histories, expected, strict=True):
        for name in history:
            np.testing.assert_allclose(history[name], each[name], rtol=1e-5)
    assert blocks.optimizer.iterations.numpy() == single.optimizer.iterations.numpy()
    for weight, each in zip(blocks.get_weights(), single.get_weights(), strict=True):
        np.testing.assert_allclose(weight, each, rtol=1e-4, atol=1e-6)


def test_a_step_of_ones_own_is_taken_by_keras():
    class Own(kvae.VAE):
        def train_step(self, data):
            return {**super().train_step(data), "mine": 1.0}

    train, _ = digits()
    vae = Own(*networks())
    vae.compile(jit_compile=True, steps_per_execution=3)
    assert vae.fit(train[:64], batch_size=8, verbose=0).history["mine"] == [1.0]


def test_train_on_batch_within_fit_takes_its_own_batch(keras_loop):
    class Once(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.train_on_batch(train[:8])

    train, _ = digits()
    vae = make_vae(compile_arguments={"jit_compile": True, "steps_per_execution": 4})
    vae.fit(train[:64], batch_size=8, epochs=2, callbacks=[Once()], verbose=0)
    assert vae.optimizer.iterations.numpy() == 18 and keras_loop[vae.name] == 2


def test_a_callback_sees_every_batch():
    class Watch(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            seen.append(batch)

    seen, (train, _) = [], digits()
    vae = make_vae(compile_arguments={"jit_compile": True})
    arguments = {"batch_size": 4, "verbose": 0}
    vae.fit(train[:256], validation_data=train[:12], callbacks=[Watch()], **arguments)
    assert seen == [0, 1, 2]
    vae.fit(train[:256], **arguments)
    vae.evaluate(train[:12], callbacks=[Watch()], **arguments)
    assert seen == [0, 1, 2] * 2
