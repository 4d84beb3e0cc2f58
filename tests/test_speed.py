"""The fast path takes no detours: one trace for each function, whatever the batches."""

import collections
import functools

import keras
import numpy as np
import pytest
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
    vae.fit(train[:277], batch_size=4, epochs=2, validation_data=(train[:300],), verbose=1)
    assert vae.steps_per_execution == 16
    assert traces == {"train_step": 1, "test_step": 1}

    convolutions = kvae.networks.conv_encoder((8, 8, 1), 2, (4,)), kvae.networks.conv_decoder(2, (8, 8, 1), (4,))
    for parts, default in ((networks(), True), (convolutions, False)):
        for asked, expected in (("auto", default), (True, True), (False, False)):
            vae = kvae.VAE(*parts)
            vae.compile(jit_compile=asked, steps_per_execution=3)
            assert vae.jit_compile is expected
    vae.fit(train[:256], batch_size=2, verbose=0)
    assert vae.steps_per_execution == 3


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
    assert vae.steps_per_execution == 16
    vae.evaluate(train[:12], callbacks=[Watch()], **arguments)
    assert seen == [0, 1, 2] * 2
    assert vae.steps_per_execution == 16
