"""A training that was killed goes on as if it had not been."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from building import digits, make_vae, networks

import kvae
import kvae_cli
from kvae_cli import exporting, looking, reports

RUN = """
import sys
from building import digits, make_vae
import kvae

class Says(kvae.callbacks.Checkpoint):
    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        print(epoch, flush=True)

train, test = digits()
vae = make_vae()
checkpoint = Says(sys.argv[1])
vae.fit(train[:256], epochs=12, batch_size=64, validation_data=(test[:64],), callbacks=[checkpoint], verbose=0)
import json
print(json.dumps(checkpoint.logs))
"""


def test_kills_at_any_moment_change_nothing(tmp_path):
    """Killed three times, at once after an epoch or while it writes, the run ends with the history of one never killed."""
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(RUN))

    def run(folder, kill_after=None):
        command = [sys.executable, str(script), str(folder)]
        environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if len(lines) == kill_after:
                    process.send_signal(signal.SIGKILL)
                    break
            process.wait()
        return lines

    for epochs in (1, 3, 2):
        run(tmp_path / "killed", kill_after=epochs)
        state = kvae.callbacks.Checkpoint.latest(tmp_path / "killed")
        assert state is not None
        assert {path.name for path in state.iterdir()} == {"last.weights.h5", "best.weights.h5", "training.json"}
    *epochs, killed = run(tmp_path / "killed")
    assert int(epochs[0]) >= 6  # six epochs were done when it was killed
    *_, whole = run(tmp_path / "whole")
    assert json.loads(killed) == json.loads(whole)


def fit(vae, epochs, *callbacks, **arguments):
    train, test = digits()
    return vae.fit(
        train[:128],
        epochs=epochs,
        batch_size=64,
        validation_data=(test[:64],),
        callbacks=list(callbacks),
        verbose=0,
        **arguments,
    )


class Killed(BaseException):
    """Ends a process where it stands: nothing handles it."""


def eager_vae():
    return make_vae(compile_arguments={"run_eagerly": True})


def eager_autoencoder():
    autoencoder = kvae.Autoencoder(*networks(params_size=3))
    autoencoder.compile(run_eagerly=True)
    return autoencoder


@pytest.mark.parametrize(
    ("owner", "name", "call", "whole"),
    [
        (keras.Model, "save_weights", 3, 1),  # of the second epoch, the last weights
        (keras.Model, "save_weights", 4, 1),  # the best
        (pathlib.Path, "write_text", 2, 1),
        (os, "replace", 2, 1),
        (shutil, "rmtree", 3, 2),  # all is written, and the state before is half removed
    ],
)
def test_a_kill_within_a_write_leaves_a_whole_state(tmp_path, monkeypatch, owner, name, call, whole):
    expected = kvae.callbacks.Checkpoint(tmp_path / "whole")
    fit(eager_vae(), 3, expected)
    original, calls = getattr(owner, name), []

    def kill(*arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            if name == "rmtree":
                next(pathlib.Path(arguments[0]).iterdir()).unlink()
            elif owner is not os:
                path = arguments[1] if owner is keras.Model else arguments[0]
                pathlib.Path(path).write_bytes(b"half")
            raise Killed
        return original(*arguments, **options)

    vae, killed = eager_vae(), kvae.callbacks.Checkpoint(tmp_path / "killed")
    monkeypatch.setattr(owner, name, kill)
    with pytest.raises(Killed):
        fit(vae, 3, killed)
    monkeypatch.undo()
    state = killed.latest(killed.folder)
    assert state.name == f"epoch-00000{whole}"
    again = kvae.callbacks.Checkpoint(tmp_path / "killed")
    fit(eager_vae(), 3, again)
    assert again.logs == expected.logs
    assert [path.name for path in again.folder.iterdir()] == ["epoch-000003"]  # what was half done is cleared away


def test_best_epoch_is_kept_and_others_hear_of_those_before(tmp_path):
    stopping = keras.callbacks.EarlyStopping("val_elbo", mode="max", patience=3)
    checkpoint = kvae.callbacks.Checkpoint(tmp_path / "state", replay=[stopping])
    fit(make_vae(compile_arguments={"optimizer": keras.optimizers.Adam(0.3)}), 3, stopping, checkpoint)
    vae = make_vae(compile_arguments={"optimizer": keras.optimizers.Adam(0.3)})
    checkpoint = kvae.callbacks.Checkpoint(tmp_path / "state", replay=[stopping])
    fit(vae, 30, stopping, checkpoint)
    bounds = [logs["val_elbo"] for logs in checkpoint.logs]
    assert len(bounds) < 30 and len(bounds) == bounds.index(max(bounds)) + 4  # three epochs of patience after the best
    checkpoint.restore_best()
    assert vae.evaluate(digits()[1][:64], verbose=0, return_dict=True)["elbo"] == pytest.approx(max(bounds), rel=1e-6)
    # A training that had come to its end does not go on.
    again = kvae.callbacks.Checkpoint(tmp_path / "state", replay=[stopping])
    fit(make_vae(compile_arguments={"optimizer": keras.optimizers.Adam(0.3)}), 30, stopping, again)
    assert again.logs == checkpoint.logs
    (state,) = (tmp_path / "state").iterdir()
    # Nor does the time of the first leg get lost.
    assert again.elapsed > json.loads((state / "training.json").read_text())["elapsed"] > 0


def test_a_fit_after_a_resumed_one_begins_at_its_own_first_epoch(tmp_path):
    fit(eager_vae(), 2, kvae.callbacks.Checkpoint(tmp_path))
    vae = eager_vae()
    assert fit(vae, 3, kvae.callbacks.Checkpoint(tmp_path)).epoch == [2]
    assert fit(vae, 3).epoch == [0, 1, 2]


def test_wrong_use_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`mode` must be one of"):
        kvae.callbacks.Checkpoint(tmp_path, mode="best")
    with pytest.raises(ValueError, match="`monitor` must be among the logs: .*Received: monitor='val_accuracy'"):
        fit(make_vae(), 1, kvae.callbacks.Checkpoint(tmp_path / "a", monitor="val_accuracy"))
    checkpoint = kvae.callbacks.Checkpoint(tmp_path / "c", monitor="val_elbo")
    with pytest.raises(ValueError, match="For a figure of validation data, pass `validation_data` to fit"):
        eager_vae().fit(digits()[0][:64], verbose=0, callbacks=[checkpoint])
    fit(make_vae(), 1, kvae.callbacks.Checkpoint(tmp_path / "b"))
    with pytest.raises(ValueError, match="by monitor='val_elbo', mode='max'.*Received: monitor='val_loss', mode='min'"):
        fit(make_vae(), 2, kvae.callbacks.Checkpoint(tmp_path / "b", monitor="val_loss", mode="min"))
    with pytest.raises(ValueError, match="is of another model: its weights have other shapes"):
        fit(make_vae(latent_dim=5), 2, kvae.callbacks.Checkpoint(tmp_path / "b"))
    (state,) = (tmp_path / "b").iterdir()
    (state / "training.json").write_text("{")
    with pytest.raises(ValueError, match=f"The state in '{state}' is damaged: .*Remove it to begin anew"):
        fit(make_vae(), 2, kvae.callbacks.Checkpoint(tmp_path / "b"))


@pytest.mark.parametrize(
    ("make", "validated", "monitored"),
    [
        (eager_vae, True, ["val_elbo", 1]),
        (eager_vae, False, [None, 1]),
        (lambda: eager_autoencoder(), True, ["val_loss", -1]),
    ],
)
def test_the_best_epoch_is_by_the_validation_data_if_there_is_any(make, validated, monitored, tmp_path):
    x, x_test = (each[:64] for each in digits())
    for epochs in (1, 3):  # the second goes on with the first
        checkpoint, model = kvae.callbacks.Checkpoint(tmp_path), make()
        data = {"validation_data": (x_test,)} if validated else {}
        history = model.fit(x, epochs=epochs, verbose=0, callbacks=[checkpoint], **data)
        assert [checkpoint.monitor, checkpoint.sign] == monitored and len(checkpoint.logs) == epochs
    assert history.epoch == [1, 2]
    checkpoint.restore_best()
    if validated:
        name, sign = monitored
        best = max(sign * each[name] for each in checkpoint.logs)
        report = model.evaluate(x_test, verbose=0, return_dict=True)
        assert sign * report[name.removeprefix("val_")] == pytest.approx(best, rel=1e-6)


def test_other_data_is_told(tmp_path):
    x = digits()[0]
    eager_vae().fit(x[:128], batch_size=64, verbose=0, callbacks=[kvae.callbacks.Checkpoint(tmp_path, monitor="loss")])
    with pytest.warns(UserWarning, match="had 2 batches in an epoch, and has 3 now"):
        checkpoint = kvae.callbacks.Checkpoint(tmp_path, monitor="loss")
        eager_vae().fit(x[:192], batch_size=64, epochs=2, verbose=0, callbacks=[checkpoint])


def test_an_epoch_whose_figure_is_no_number_is_not_the_best(tmp_path):
    class Says(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["figure"] = [float("nan"), 1.0, float("nan"), 0.5][epoch]
            seen.append([np.array(each) for each in self.model.get_weights()])

    seen, vae = [], eager_vae()
    checkpoint = kvae.callbacks.Checkpoint(tmp_path, monitor="figure")
    vae.fit(digits()[0][:64], epochs=4, verbose=0, callbacks=[Says(), checkpoint])
    checkpoint.restore_best()
    for first, second in zip(vae.get_weights(), seen[1], strict=True):
        np.testing.assert_array_equal(first, second)


def test_kvae_train_goes_on_as_if_it_had_not_been_killed(tmp_path, monkeypatch):
    """Killed in its fourth epoch, under a warm-up, a falling learning rate, and rounds that are cut into epochs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exporting, "export_all", lambda kvae, vae, out: {})
    monkeypatch.setattr(looking, "draw", lambda *arguments: ())
    monkeypatch.setattr(reports, "card", lambda *arguments: "")
    monkeypatch.setattr(reports, "print_report", lambda *arguments: None)
    options = [
        "--epochs",
        "5",
        "--steps-per-epoch",
        "2",
        "--warmup",
        "3",
        "--samples",
        "2",
        "--likelihood",
        "bernoulli",
    ]
    kvae.data.write_records((kvae.data.load("digits").x_train[:400] * 255).astype("uint8"), "shards", num_shards=2)

    def train(out, code, *more):
        monkeypatch.setattr(sys, "argv", ["kvae", "train", "shards", "--out", out, *options, *more])
        with pytest.raises(SystemExit) as end:
            kvae_cli.main()
        assert (end.value.code or 0) == code

    class Dies(kvae.callbacks.Checkpoint):
        def __init__(self, folder, seconds, **arguments):
            super().__init__(folder, seconds=0.0, **arguments)

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 3:
                raise RuntimeError("killed")
            super().on_epoch_end(epoch, logs)

    train("whole", 0)
    with monkeypatch.context() as patch:
        patch.setattr(kvae.callbacks, "Checkpoint", Dies)
        train("killed", 1)
    assert kvae.callbacks.Checkpoint.latest("killed.part/state").name == "epoch-000003"
    train("killed", 0, "--resume")
    assert pathlib.Path("killed/history.csv").read_text() == pathlib.Path("whole/history.csv").read_text()
    assert not pathlib.Path("killed/state").exists()
    tests = [json.loads(pathlib.Path(out, "metrics.json").read_text())["test"] for out in ("killed", "whole")]
    assert tests[0] == tests[1]
