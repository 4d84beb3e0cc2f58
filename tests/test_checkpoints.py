"""A training that was killed goes on as if it had not been."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import keras
import pytest
from building import digits, make_vae

import kvae

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


def test_wrong_use_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`mode` must be one of"):
        kvae.callbacks.Checkpoint(tmp_path, mode="best")
    with pytest.raises(ValueError, match="`monitor` must be among the logs: .*Received: monitor='val_accuracy'"):
        fit(make_vae(), 1, kvae.callbacks.Checkpoint(tmp_path / "a", monitor="val_accuracy"))
    fit(make_vae(), 1, kvae.callbacks.Checkpoint(tmp_path / "b"))
    with pytest.raises(ValueError, match="by monitor='val_elbo', mode='max'.*Received: monitor='val_loss', mode='min'"):
        fit(make_vae(), 2, kvae.callbacks.Checkpoint(tmp_path / "b", monitor="val_loss", mode="min"))
    with pytest.raises(ValueError, match="is of another model: its weights have other shapes"):
        fit(make_vae(latent_dim=5), 2, kvae.callbacks.Checkpoint(tmp_path / "b"))
