import inspect
import warnings

import keras
import pytest
import tensorflow as tf
from building import digits, make_vae

import kvae

X = digits()[0][:32]


def fit_and_watch(vae, *callbacks, epochs=5, variable="beta", **arguments):
    values = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: values.append(float(getattr(vae.objective, variable)))
    )
    vae.fit(X, epochs=epochs, verbose=0, callbacks=[*callbacks, watch], **arguments)
    return values


def eager_vae(**arguments):
    """A VAE that is not traced, for what happens between the steps."""
    return make_vae(**arguments, compile_arguments={"run_eagerly": True})


def test_beta_rises_to_the_objective_s_own():
    vae = eager_vae(objective=kvae.objectives.ELBO(beta=2.0))
    assert fit_and_watch(vae, kvae.callbacks.BetaWarmup(epochs=4)) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])


def test_start_and_stop():
    warmup = kvae.callbacks.BetaWarmup(epochs=2, start=1.0, stop=3.0)
    assert fit_and_watch(eager_vae(), warmup, epochs=3) == pytest.approx([2.0, 3.0, 3.0])


def test_ramp_as_long_as_the_training_ends_at_stop():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit_and_watch(eager_vae(), kvae.callbacks.BetaWarmup(epochs=3), epochs=3)[-1] == 1.0


def test_beta_weighs_the_trained_loss():
    vae = make_vae(compile_arguments={"optimizer": keras.optimizers.SGD(0.0)})
    history = vae.fit(X, epochs=2, verbose=0, callbacks=[kvae.callbacks.BetaWarmup(epochs=2)]).history
    for epoch, beta in enumerate((0.5, 1.0)):
        assert history["loss"][epoch] == pytest.approx(
            history["reconstruction"][epoch] + beta * history["kl"][epoch], rel=1e-6
        )
        assert history["elbo"][epoch] == pytest.approx(
            -history["reconstruction"][epoch] - history["kl"][epoch], rel=1e-6
        )


def test_warns_when_longer_than_the_training():
    with pytest.warns(UserWarning, match="BetaWarmup takes 10 epochs and training 2: beta will not reach 1"):
        fit_and_watch(eager_vae(), kvae.callbacks.BetaWarmup(epochs=10), epochs=2)


def test_warns_when_training_stops_on_the_way():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    with pytest.warns(UserWarning, match=r"beta is 0\.25, not 1.*start_from_epoch"):
        fit_and_watch(eager_vae(), kvae.callbacks.BetaWarmup(epochs=4), Stop())


def test_bad_arguments():
    for epochs in (0, -1, 1.5):
        with pytest.raises(ValueError, match="`epochs` must be a whole number"):
            kvae.callbacks.BetaWarmup(epochs=epochs)
    with pytest.raises(ValueError, match="zero or larger"):
        kvae.callbacks.BetaWarmup(epochs=2, stop=-1.0)
    with pytest.raises(ValueError, match="zero or larger"):
        kvae.callbacks.BetaWarmup(epochs=2, start=float("nan"))
    with pytest.raises(ValueError, match="needs an objective with a `beta`.*Received: IWAE"):
        eager_vae(objective="iwae").fit(X, verbose=0, callbacks=[kvae.callbacks.BetaWarmup(2)])


def test_beta_cycle_rises_again_and_again():
    expected = [0.5, 1.0, 1.0, 1.0] * 2
    assert fit_and_watch(eager_vae(), kvae.callbacks.BetaCycle(4), epochs=8) == pytest.approx(expected)
    whole = kvae.callbacks.BetaCycle(cycle_epochs=4, proportion=1.0, start=1.0, stop=3.0)
    assert [whole.value(epoch) for epoch in range(5)] == pytest.approx([1.5, 2.0, 2.5, 3.0, 1.5])
    documented = kvae.callbacks.BetaCycle(cycle_epochs=10, stop=1.0)
    assert [documented.value(epoch) for epoch in range(10)] == pytest.approx([0.2, 0.4, 0.6, 0.8] + 6 * [1.0])


def test_beta_cycle_warns_when_training_ends_on_the_way_up():
    message = "BetaCycle takes 6 epochs and training 5: beta will not reach 1 in the last cycle"
    with pytest.warns(UserWarning, match=message):
        fit_and_watch(eager_vae(), kvae.callbacks.BetaCycle(4), epochs=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_and_watch(eager_vae(), kvae.callbacks.BetaCycle(4), epochs=6)


def test_beta_cycle_drives_the_total_correlation_too():
    objective = kvae.objectives.BetaTC(beta=6.0, dataset_size=32)
    assert fit_and_watch(eager_vae(objective=objective), kvae.callbacks.BetaCycle(4), epochs=2) == [3.0, 6.0]


def test_capacity_rises():
    vae = eager_vae(objective=kvae.objectives.ELBO(beta=10.0, capacity=0.0))
    ramp = kvae.callbacks.CapacityRamp(4, 20.0)
    assert fit_and_watch(vae, ramp, variable="capacity") == pytest.approx([5.0, 10.0, 15.0, 20.0, 20.0])
    vae = eager_vae(objective=kvae.objectives.ELBO(beta=10.0, capacity=8.0))
    assert fit_and_watch(vae, kvae.callbacks.CapacityRamp(2), epochs=2, variable="capacity") == [4.0, 8.0]


def test_capacity_ramp_refuses_an_objective_without_capacity():
    for objective in ("elbo", "iwae"):
        with pytest.raises(ValueError, match=r"CapacityRamp needs an objective with a `capacity`.*capacity=25"):
            eager_vae(objective=objective).fit(X, verbose=0, callbacks=[kvae.callbacks.CapacityRamp(2, 10.0)])
    with pytest.warns(UserWarning, match="CapacityRamp takes 4 epochs and training 1: capacity will not reach 20"):
        vae = eager_vae(objective=kvae.objectives.ELBO(capacity=0.0))
        vae.fit(X, verbose=0, callbacks=[kvae.callbacks.CapacityRamp(4, 20.0)])


@pytest.mark.parametrize("stop", [1.0, None])
def test_resumed_training_goes_on_where_it_was(stop):
    vae, warmup = eager_vae(), kvae.callbacks.BetaWarmup(epochs=4, stop=stop)
    with pytest.warns(UserWarning, match="takes 4 epochs and training 2"):
        assert fit_and_watch(vae, warmup, epochs=2) == [0.25, 0.5]
    assert fit_and_watch(vae, warmup, epochs=5, initial_epoch=2) == [0.75, 1.0, 1.0]


def test_resuming_on_the_way_does_not_take_the_beta_of_the_moment_for_the_end():
    vae = eager_vae(objective=kvae.objectives.ELBO(beta=0.5))
    with pytest.raises(
        ValueError, match=r"resumes in epoch 3.*0\.5, may be a value on the way: give BetaWarmup\(stop="
    ):
        fit_and_watch(vae, kvae.callbacks.BetaWarmup(epochs=4), initial_epoch=2)
    assert fit_and_watch(vae, kvae.callbacks.BetaWarmup(epochs=4, stop=1.0), initial_epoch=2) == [0.75, 1.0, 1.0]
    assert fit_and_watch(vae, kvae.callbacks.BetaWarmup(epochs=4), initial_epoch=4) == [1.0]  # the ramp is over


def test_one_callback_for_two_models_takes_the_end_of_each():
    warmup = kvae.callbacks.BetaWarmup(epochs=1)
    for beta in (2.0, 3.0):
        assert fit_and_watch(eager_vae(objective=kvae.objectives.ELBO(beta=beta)), warmup, epochs=1) == [beta]


def test_nothing_to_change_is_refused():
    with pytest.raises(ValueError, match="BetaWarmup has nothing to change: beta would be 0 from start to stop"):
        fit_and_watch(eager_vae(objective=kvae.objectives.ELBO(beta=0.0)), kvae.callbacks.BetaWarmup(2))


def test_model_without_an_objective_is_refused():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse", run_eagerly=True)
    for callback in (kvae.callbacks.BetaWarmup(2), kvae.callbacks.BetaCycle(4), kvae.callbacks.CapacityRamp(2, 1.0)):
        with pytest.raises(ValueError, match="changes the objective of a kvae.VAE.*Received: Sequential"):
            model.fit(keras.ops.zeros((4, 2)), keras.ops.zeros((4, 1)), verbose=0, callbacks=[callback])


def test_bad_cycles():
    for arguments in (
        {"cycle_epochs": 2},
        {"cycle_epochs": 10, "proportion": 1.5},
        {"cycle_epochs": 10, "proportion": 0},
    ):
        with pytest.raises(ValueError, match="must be longer than one epoch and no longer than the cycle"):
            kvae.callbacks.BetaCycle(**arguments)
    with pytest.raises(ValueError, match="`cycle_epochs` must be a whole number"):
        kvae.callbacks.BetaCycle(0)


def test_every_schedule_names_its_paper_and_has_an_example():
    schedules = [
        each
        for _, each in inspect.getmembers(kvae.callbacks, inspect.isclass)
        if issubclass(each, kvae.callbacks.Schedule) and each is not kvae.callbacks.Schedule
    ]
    assert {each.__name__ for each in schedules} == {"BetaWarmup", "BetaCycle", "CapacityRamp"}
    for each in schedules:
        for part in ("arXiv:", "Args:", "Raises:", "Example:"):
            assert part in each.__doc__


# LatentMonitor

MONITORED = ("active_units", "mutual_information", "marginal_kl", "total_correlation")


def test_monitor_logs_what_the_statistics_are_and_leaves_training_as_it_was(tmp_path):
    plain, watched = make_vae(), make_vae()
    expected = plain.fit(X, epochs=2, batch_size=16, verbose=0, validation_data=X).history
    log = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    callbacks = [kvae.callbacks.LatentMonitor(X, patience=5), log]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it has not learned much yet
        history = watched.fit(X, epochs=2, batch_size=16, verbose=0, validation_data=X, callbacks=callbacks).history
    assert {name: history[name] for name in expected} == expected
    assert set(history) - set(expected) == set(MONITORED)
    statistics = kvae.evaluation.latent_statistics(watched, X, num_examples=1000)
    for name in MONITORED:
        assert history[name][-1] == pytest.approx(getattr(statistics, name), abs=1e-5)
    assert set(MONITORED) <= set((tmp_path / "log.csv").read_text().splitlines()[0].split(","))


def test_monitor_leaves_the_steps_at_once_alone():
    callbacks = [kvae.callbacks.LatentMonitor(X)]
    vae = make_vae(compile_arguments={"jit_compile": True})
    arguments = {"x": tf.data.Dataset.from_tensors(X[:1]).repeat(64), "callbacks": callbacks, "validation_steps": None}
    assert kvae.speed.steps_per_execution(vae, arguments) == kvae.speed.STEPS_AT_ONCE


@pytest.mark.filterwarnings("ignore:The posterior is collapsed")
def test_monitor_looks_every_so_often_and_can_stop_training():
    seen = []

    class Monitor(kvae.callbacks.LatentMonitor):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            seen.append(self.statistics)

    stop = keras.callbacks.EarlyStopping("active_units", mode="max", patience=3)
    vae = make_vae(compile_arguments={"optimizer": keras.optimizers.SGD(0.0), "run_eagerly": True})
    vae.fit(X, epochs=9, verbose=0, callbacks=[Monitor(tf.data.Dataset.from_tensor_slices(X).batch(8), every=3), stop])
    assert len(seen) == 4  # nothing changes, so it stops
    assert seen[0] is seen[1] is seen[2] is not seen[3]


def collapsed_vae():
    vae = eager_vae(objective=kvae.objectives.ELBO(beta=0.0))
    vae.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    for layer in vae.encoder.layers[-1:]:
        layer.set_weights([0 * each for each in layer.get_weights()])
    return vae


@pytest.mark.parametrize(("epochs", "when"), [(2, "at the end of training"), (6, "in epoch 3")])
def test_monitor_warns_once_of_a_collapse(epochs, when):
    with pytest.warns(UserWarning, match="collapsed") as found:
        collapsed_vae().fit(X, epochs=epochs, verbose=0, callbacks=[kvae.callbacks.LatentMonitor(X)])
    (message,) = [str(each.message) for each in found]
    assert f"The posterior is collapsed {when}: 0 of 3 units are active" in message and "BetaWarmup" in message


def test_monitor_refuses_before_the_first_epoch():
    for arguments in ({"every": 0}, {"num_examples": 1}, {"patience": 0}, {"seed": 0.5}):
        with pytest.raises(ValueError, match="must be"):
            kvae.callbacks.LatentMonitor(X, **arguments)
    vae = eager_vae()
    with pytest.raises(ValueError, match=r"`x` must have shape \[batch, 8, 8, 1\]"):
        vae.fit(X, verbose=0, callbacks=[kvae.callbacks.LatentMonitor(X[..., 0])])
    assert int(vae.optimizer.iterations) == 0
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse", run_eagerly=True)
    with pytest.raises(TypeError, match="must be a kvae.VAE"):
        model.fit(keras.ops.zeros((4, 2)), keras.ops.zeros((4, 1)), callbacks=[kvae.callbacks.LatentMonitor(X)])
