"""The fast path takes no detours: one trace for each function, whatever the batches."""

import collections

import pytest
from building import digits, make_vae

import kvae


@pytest.fixture
def traces(monkeypatch):
    """How often Python ran each step: once for every trace."""
    counts = collections.Counter()
    for name in ("train_step", "test_step"):
        step = getattr(kvae.VAE, name)

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


def test_streams_and_dynamic_binarization_take_one_trace(traces):
    train, _ = digits()
    vae = make_vae()
    vae.fit(kvae.data.dynamic_binarization(train[:150], batch_size=64), epochs=3, verbose=0)
    assert traces == {"train_step": 1}
