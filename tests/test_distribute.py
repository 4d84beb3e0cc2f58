"""Several devices, several processes, and mixed precision, held against one device in float32."""

import concurrent.futures
import functools
import json
import os
import pathlib
import runpy
import socket
import subprocess
import sys
import textwrap
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
import worker
from building import digits, make_vae, networks
from processes import finish, free_addresses, tf_config, wait_for, workers

import kvae
from kvae import cluster
from kvae_cli import devices

X, X_TEST = digits()
EXAMPLE = pathlib.Path(__file__).parent.parent / "examples" / "multi_worker" / "train.py"
# Float32 sums over another order of the rows: 1e-6 relative in each step, and few steps.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def two_replicas():
    # not by collective operations, whose keys of several strategies in one process collide
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())


@pytest.fixture(scope="module")
def alone():
    """What one device gives."""
    return worker.run(worker.make_vae())


def check_same(found, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, **CLOSE, err_msg=name)


# Two devices


def test_two_devices_are_as_one(alone):
    with two_replicas().scope():
        vae = worker.make_vae()
    check_same(worker.run(vae), alone)


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
def test_gradients_of_two_devices_are_those_of_one(objective):
    # One step of plain SGD at rate 1 moves the weights by the gradient.
    def gradients():
        vae = kvae.VAE(*networks(), objective=objective)
        vae.compile(keras.optimizers.SGD(1.0), jit_compile=False)
        before = [each.numpy() for each in vae.trainable_variables]
        vae.fit(X[:37], batch_size=37, verbose=0)
        return [first - each.numpy() for first, each in zip(before, vae.trainable_variables, strict=True)]

    expected = gradients()
    with two_replicas().scope():
        found = gradients()
    for first, second in zip(found, expected, strict=True):
        np.testing.assert_allclose(first, second, **CLOSE)


@pytest.mark.parametrize("objective", [kvae.objectives.BetaTC(dataset_size=65), kvae.objectives.InfoVAE()])
def test_an_objective_that_couples_rows_survives_a_replica_without_any(objective):
    with two_replicas().scope():
        config = keras.saving.serialize_keras_object(objective)
        vae = make_vae(objective=keras.saving.deserialize_keras_object(config))
    history = vae.fit(X[:65], batch_size=64, verbose=0, validation_data=X_TEST[:1]).history
    assert all(np.isfinite(value).all() for value in history.values())
    assert all(np.isfinite(each.numpy()).all() for each in vae.trainable_variables)


def test_many_steps_at_once_end_with_uneven_data():
    histories = []
    for scope in (tf.distribute.get_strategy(), two_replicas()):
        with scope.scope():
            vae = make_vae(compile_arguments={"steps_per_execution": 2})
        histories.append(vae.fit(X[:129], batch_size=64, epochs=2, verbose=0).history)
    check_same(histories[1], histories[0])


def test_predict_puts_uneven_replicas_together():
    with two_replicas().scope():
        vae = make_vae()
    expected = vae.decode(vae.encode(X_TEST[:65]).mean()).mean()
    np.testing.assert_allclose(vae.predict(X_TEST[:65], batch_size=64, verbose=0), expected, atol=1e-6)


def test_networks_without_known_shapes_are_built_in_the_scope():
    def unbuilt(width):
        return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(width)])

    with two_replicas().scope():
        decoder = keras.Sequential([keras.layers.Dense(64), keras.layers.Reshape((8, 8, 1))])
        vae = kvae.VAE(unbuilt(6), decoder)
        vae.compile(jit_compile=False)
    assert np.isfinite(vae.fit(X[:65], batch_size=64, verbose=0).history["loss"][0])


def test_networks_from_outside_of_the_scope_are_refused():
    encoder, decoder = networks()
    with two_replicas().scope():
        vae = kvae.VAE(encoder, decoder)
        with pytest.raises(ValueError, match="outside of the scope of MirroredStrategy.*with strategy.scope"):
            vae.compile()


def test_the_default_compilation_leaves_xla_out_under_replicas():
    with two_replicas().scope():
        vae = kvae.VAE(*networks())
        vae.compile()
    assert not vae.jit_compile
    vae.fit(X[:65], batch_size=64, verbose=0)


def test_streams_are_read_by_replicas_as_by_one(tmp_path):
    np.save(tmp_path / "x.npy", X[:165])  # two batches of 64 and one of 37
    np.save(tmp_path / "x_test.npy", X_TEST[:65])

    def fit():
        vae = make_vae(compile_arguments={"optimizer": keras.optimizers.SGD(1e-2)})
        train = kvae.data.stream(tmp_path / "x.npy", batch_size=64, transform="binarize")
        held_out = kvae.data.stream(tmp_path / "x_test.npy", batch_size=64, shuffle=False)
        return vae.fit(train, epochs=2, steps_per_epoch=2, validation_data=held_out, verbose=0).history

    expected = fit()
    with two_replicas().scope():
        found = fit()
    check_same(found, expected)


@pytest.mark.filterwarnings("ignore:The posterior is collapsed")
def test_callbacks_reach_the_variables_of_replicas(tmp_path):
    def fit():
        vae = make_vae(compile_arguments={"optimizer": keras.optimizers.SGD(1e-2)})
        callbacks = [kvae.callbacks.BetaWarmup(2), kvae.callbacks.LatentMonitor(X_TEST[:64], patience=9)]
        callbacks.append(kvae.callbacks.Checkpoint(tmp_path / str(len(list(tmp_path.iterdir()))), monitor="elbo"))
        return vae.fit(X[:65], batch_size=64, epochs=2, callbacks=callbacks, verbose=0).history

    expected = fit()
    with two_replicas().scope():
        found = fit()
    check_same(found, expected)
    assert len(list(tmp_path.glob("*/epoch-000002"))) == 2


# Several processes


def test_two_processes_are_as_one(alone, tmp_path):
    with workers([worker.__file__, tmp_path], tmp_path) as running:
        finish(running, tmp_path, timeout=240)
    found = [dict(np.load(tmp_path / f"{index}.npz")) for index in range(2)]
    for each in found:
        assert each["replicas"] == 2
        check_same(each, alone)
        assert "same data and batch size" in str(each["complaint"])
    for name in alone:
        np.testing.assert_array_equal(found[0][name], found[1][name])
    checkpoint = keras.models.load_model(tmp_path / "chief.keras")
    for i, each in enumerate(checkpoint.trainable_variables):
        np.testing.assert_array_equal(each, found[0][f"weight_{i}"])


def test_a_killed_worker_costs_only_the_epoch_it_died_in(tmp_path, monkeypatch, capsys):
    def arguments(out):
        return ["--out", str(tmp_path / out), "--epochs", "8", "--batch-size", "512"]

    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments("uninterrupted")])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "1 replicas" in capsys.readouterr().out

    command = [EXAMPLE, *arguments("killed")]
    with workers(command, tmp_path) as running:
        wait_for("Epoch 3/8", tmp_path / "0.log", timeout=180)
        running[1].kill()
    with workers(command, tmp_path) as running:
        finish(running, tmp_path, timeout=240)
    words = (tmp_path / "0.log").read_text()
    assert "2 replicas" in words
    assert 3 <= int(words.partition("Epoch ")[2].partition("/8")[0]) < 8

    found, expected = (keras.models.load_model(tmp_path / out / "vae.keras") for out in ("killed", "uninterrupted"))
    assert int(found.optimizer.iterations) == int(expected.optimizer.iterations)
    for first, second in zip(found.trainable_variables, expected.trainable_variables, strict=True):
        # Adam makes a step of its rate, 1e-3, of a rounding error where a gradient is next to zero, so that single weights
        # differ. On average they differ by 1e-6, and by 2e-3 where the noise is another.
        assert np.abs(first.numpy() - second.numpy()).mean() < 2e-5


def test_kvae_train_goes_on_after_its_chief_was_killed(tmp_path):
    command = ["-m", "kvae_cli", "train", "digits", "--out", tmp_path / "run", "--epochs", "60", "--batch-size", "512"]
    command += ["--samples", "5", "--examples", "20", "--resume"]

    def last_state():
        return kvae.callbacks.Checkpoint.latest(tmp_path / "run.part" / "state")

    with workers(command, tmp_path) as running:
        deadline = time.monotonic() + 180
        while last_state() is None or last_state().name < "epoch-000006":
            assert running[0].poll() is None and time.monotonic() < deadline, (tmp_path / "0.log").read_text()[-3000:]
            time.sleep(0.05)
        running[0].kill()
    before = json.loads((last_state() / "training.json").read_text())["logs"]
    with workers(command, tmp_path) as running:
        finish(running, tmp_path, timeout=240)
    words = (tmp_path / "0.log").read_text()
    assert "training on 2 workers with 1 device(s) each, as worker 0" in words
    assert words.index("epoch 6/60") < words.index("first step after")  # what was done is told, and not done again
    found = np.loadtxt(tmp_path / "run" / "history.csv", delimiter=",", skiprows=1)
    assert len(found) == 60
    np.testing.assert_allclose(found[: len(before), 1:], [list(logs.values()) for logs in before], rtol=1e-12)


# The cluster, before it starts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{cluster", "is not JSON.*Expected for instance.*Received: {cluster"),
        ("[]", "must be an object"),
        ('{"cluster": {"worker": "a:1"}}', "must list the addresses"),
        ('{"cluster": {"worker": ["a:1", "b:1"], "ps": ["c:1"]}}', "does not have: ps"),
        ('{"cluster": {"worker": ["a:1", "b"]}}', "as host:port, and gives 'b'"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}}', "one address to several"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "which of its 2 tasks.*says None"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}', "which of its 2 tasks"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}', "which of its 2 tasks"),
    ],
)
def test_malformed_tf_config(text, message, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=message):
        cluster.strategy()


@pytest.mark.parametrize("text", ["", "{}", '{"cluster": {}}', tf_config(["a:1"], 0)])
def test_one_worker_is_no_cluster(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    assert cluster.strategy().num_replicas_in_sync == 1


@pytest.mark.parametrize("count", [0, 1, 2])
def test_several_visible_gpus_are_mirrored(count, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [kind] * count)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: "mirrored")
    assert (cluster.strategy() == "mirrored") == (count > 1)


@pytest.mark.parametrize("template", ["slurm.sh", "kubernetes.yaml"])
def test_the_templates_give_each_worker_its_task(template, tmp_path):
    text, variables = (EXAMPLE.parent / template).read_text(), {}
    if template == "kubernetes.yaml":
        text = textwrap.dedent(text.partition("            - |\n")[2].partition("          env:")[0])
        number, expected = "JOB_COMPLETION_INDEX", ("kvae-0.kvae:2222", "kvae-1.kvae:2222")
    else:
        number, expected = "SLURM_PROCID", ("first:2222", "second:2222")
    commands = {
        "scontrol": "printf 'first\\nsecond\\n'",
        "srun": 'shift; exec "$@"',
        "python": 'printf "%s" "$TF_CONFIG" > "$TASK"; echo "$@" > "$TASK.command"',
    }
    for name, body in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    for index in range(2):
        task = tmp_path / f"task{index}"
        variables = {number: str(index), "TASK": str(task), "SLURM_JOB_NODELIST": "", "SLURM_JOB_ID": "1"}
        environment = {**os.environ, **variables, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(["bash", "-c", text], check=True, env=environment)
        assert cluster.read_task(task.read_text()) == cluster.Task(expected, index)
        assert (tmp_path / f"task{index}.command").read_text().startswith("train.py --data mnist --out /shared/run")


def test_a_chief_is_the_first_worker():
    text = '{"cluster": {"worker": ["b:1", "c:1"], "chief": ["a:1"]}, "task": {"type": "worker", "index": 1}}'
    assert cluster.read_task(text) == cluster.Task(("a:1", "b:1", "c:1"), 2)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_the_timeout_must_be_positive(timeout):
    with pytest.raises(ValueError, match="`timeout` must be larger than zero"):
        cluster.strategy(timeout=timeout)


def call(addresses, index, seconds=20, **facts):
    """What a worker of a cluster is told: None, or the error."""
    try:
        return cluster.call_roll(cluster.Task(tuple(addresses), index), time.monotonic() + seconds, **facts)
    except (ValueError, TimeoutError) as error:
        return error


def call_together(*calls):
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [each.result(60) for each in [pool.submit(each) for each in calls]]


def test_a_complete_cluster_starts():
    addresses = free_addresses(3)
    assert call_together(*(functools.partial(call, addresses, i, devices=0) for i in range(3))) == [None] * 3


def test_worker_counts_that_do_not_match():
    addresses = free_addresses(3)
    for known_to_first, known_to_second in ((3, 2), (2, 3)):
        for error in call_together(
            functools.partial(call, addresses[:known_to_first], 0),
            functools.partial(call, addresses[:known_to_second], 1),
        ):
            assert isinstance(error, ValueError) and "All workers must have the same addresses" in str(error)


def test_device_counts_that_do_not_match():
    addresses = free_addresses(2)
    errors = call_together(*(functools.partial(call, addresses, i, devices=i) for i in range(2)))
    assert all("same devices. Received: 0 on worker 0, and 1 on worker 1" in str(error) for error in errors)


def test_two_processes_of_one_index():
    addresses = free_addresses(3)
    own = functools.partial(call, addresses, 1)

    def again():
        # As from another machine, where the port is free.
        return _report(addresses, 1)

    errors = call_together(functools.partial(call, addresses, 0), own, again)
    assert all("Two processes say that they are worker 1" in str(error) for error in errors)


def _report(addresses, index):
    try:
        return cluster._report(cluster.Task(tuple(addresses), index), time.monotonic() + 20, {"addresses": addresses})
    except ValueError as error:
        return error


def test_workers_that_do_not_come_are_named():
    addresses = free_addresses(3)
    for error in call_together(*(functools.partial(call, addresses, i, 2.0) for i in (0, 1))):
        assert isinstance(error, TimeoutError) and f"No word from worker 2 ({addresses[2]})" in str(error)
    error = call(addresses, 2, 0.5)
    assert isinstance(error, TimeoutError) and f"No word from worker 0 ({addresses[0]})" in str(error)


def test_strangers_who_connect_are_left_aside():
    addresses = free_addresses(2)

    def stranger():
        host, port = addresses[0].split(":")
        for _ in range(100):
            try:
                with socket.create_connection((host, int(port)), timeout=5) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    return
            except OSError:
                time.sleep(0.05)

    def late():
        time.sleep(0.5)
        return call(addresses, 1)

    assert call_together(functools.partial(call, addresses, 0), stranger, late) == [None] * 3


def test_a_worker_that_dies_while_it_waits_may_come_again():
    addresses = free_addresses(3)

    def dies():
        host, port = addresses[0].split(":")
        word = {"index": 1, "facts": {"addresses": addresses}}
        for _ in range(100):
            try:
                with socket.create_connection((host, int(port)), timeout=5) as connection:
                    connection.sendall(json.dumps(word).encode() + b"\n")
                    time.sleep(0.2)
                    return
            except OSError:
                time.sleep(0.05)

    def late(index):
        time.sleep(1.0)
        return call(addresses, index)

    calls = [functools.partial(call, addresses, 0), dies, functools.partial(late, 1), functools.partial(late, 2)]
    assert call_together(*calls) == [None] * 4


def test_a_port_that_is_taken():
    addresses = free_addresses(2)
    with socket.create_server(("", int(addresses[1].split(":")[1]))):
        assert "Worker 1 cannot use its port" in str(call(addresses, 1))


# Mixed precision


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_log_densities_stay_in_float32(policy, dtype_policy):
    dtype_policy(policy)
    vae = make_vae()
    assert vae.encoder.layers[-1].compute_dtype == policy.removeprefix("mixed_")
    terms = vae.terms(X_TEST[:4])
    for name in ("log_likelihood", "log_prior", "log_posterior", "kl", "z", "elbo"):
        assert getattr(terms, name).dtype == tf.float32
    assert vae.objective.loss(terms).dtype == tf.float32
    assert vae.encode(X_TEST[:4]).dtype == vae.decode(np.zeros([4, 3])).log_prob(X_TEST[:4]).dtype == tf.float32


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_like_float32(policy, dtype_policy):
    def elbo():
        vae = make_vae()
        vae.fit(X, batch_size=64, epochs=5, verbose=0)
        return vae.evaluate(X_TEST, return_dict=True, verbose=0)["elbo"]

    expected = elbo()
    dtype_policy(policy)
    # The bar of benchmarks/precision.py, where the reference model is held to it.
    assert elbo() == pytest.approx(expected, abs=0.5)


def test_a_float16_overflow_of_one_replica_is_one_of_all(dtype_policy):
    dtype_policy("mixed_float16")
    with two_replicas().scope():
        vae = make_vae(likelihood=kvae.likelihoods.Normal(scale=1.0))
    before = [each.numpy() for each in vae.trainable_variables]
    scale, states = float(vae.optimizer.dynamic_scale.numpy()), []

    def look(batch, logs):
        scale = float(vae.optimizer.dynamic_scale.numpy())
        states.append((scale, [each.numpy() for each in vae.trainable_variables]))

    x = X[:8].copy()
    x[3] = 1e6  # in the first batch, on the second replica; float16 ends at 65504
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=look)
    vae.fit(x, batch_size=4, epochs=8, shuffle=False, callbacks=[callback], verbose=0)
    assert states[0][0] == scale / 2
    for first, each in zip(before, states[0][1], strict=True):
        np.testing.assert_array_equal(first, each)
    assert all(np.isfinite(each).all() for each in states[-1][1])
    assert any((first != each).any() for first, each in zip(before, states[-1][1], strict=True))


# The command line


def test_the_command_line_says_what_it_trains_on(monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", "")
    assert devices.strategy(kvae).num_replicas_in_sync == 1
    assert capsys.readouterr().out == "training on the CPU\n"
    assert devices.describe(two_replicas()) == "2 devices of this machine (MirroredStrategy)"
    assert kvae.replicas.is_chief(two_replicas())
