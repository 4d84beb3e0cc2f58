"""The state of a training, written aside epoch by epoch, so that a training that was killed goes on."""

import json
import math
import os
import pathlib
import shutil
import time
import warnings

import keras

from kvae import checks, replicas

_PREFIX = "epoch-"
# What "auto" keeps the best epoch by, the first that is there, and whether more of it is better.
_BEST_BY = (("val_elbo", 1), ("val_loss", -1))


class Checkpoint(keras.callbacks.Callback):
    """Writes the state of the training, and goes on from it when `fit` begins again: the history is that of one run.

    The unit is the epoch; with kvae's own feeding (arrays, `kvae.data.stream`, `dynamic_binarization`) its batches and
    noise are functions of the seed and the step, so nothing differs from a training that was never interrupted; another
    number of batches in an epoch is warned of. A state is written into a folder of its own, which is then renamed: a kill
    at any moment leaves the last one whole.

    Args:
        folder: to write into, made when needed.
        monitor: figure of the logs by which the best epoch is kept; None keeps none. "auto" is `val_elbo`, or `val_loss`
            of an autoencoder, or none where there is no validation data.
        mode: "max" or "min", which of its values is best; "auto" knows.
        seconds: least time between two writes; the last epoch is always written.
        replay: callbacks that are told the epochs of before, such as `EarlyStopping` and `History`; they stand before
            this one in the list given to `fit`.

    Attributes:
        logs: list of the logs of all epochs, also of those of before.
        elapsed: seconds of training; of what was interrupted, those up to the last state.

    Raises:
        ValueError: when training begins and the state in the folder is of another model or `monitor`, or `monitor` is not
            in the logs.

    Example:
        >>> vae.fit(x, epochs=50, callbacks=[kvae.callbacks.Checkpoint("state")])          # killed after epoch 20
        >>> vae.fit(x, epochs=50, callbacks=[kvae.callbacks.Checkpoint("state")])          # epochs 21 to 50
    """

    watches_batches = False

    def __init__(self, folder, monitor="auto", mode="max", seconds=0.0, replay=()):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.monitor, self.sign = monitor, {"max": 1, "min": -1}[checks.check_choice("mode", mode, ("max", "min"))]
        self.seconds, self.replay = seconds, list(replay)
        self.logs, self._best, self._written, self._began = [], None, None, None

    def on_train_begin(self, logs=None):
        self._written = self._began = time.monotonic()
        state = self.latest(self.folder)
        if state is None:
            return
        try:
            saved = json.loads((state / "training.json").read_text())
        except (OSError, ValueError) as error:  # no kill leaves it so
            raise ValueError(f"The state in '{state}' is damaged: {error}. Remove it to begin anew.") from error
        if saved["shapes"] != self._shapes():
            raise ValueError(
                f"The state in '{state}' is of another model: its weights have other shapes. Give another folder, or remove "
                "it to begin anew."
            )
        before = saved.get("monitor", self._monitored())  # states written before this was kept
        if self.monitor == "auto":
            self.monitor, self.sign = before
        if before != self._monitored():
            raise ValueError(
                f"The best epoch in '{state}' is by {_words(before)}: give the same `monitor` and `mode`, or another folder. "
                f"Received: {_words(self._monitored())}."
            )
        steps = saved.get("steps")
        if steps is not None and self.params.get("steps") not in (None, steps):
            warnings.warn(
                f"The training in '{state}' had {steps} batches in an epoch, and has {self.params['steps']} now: other data or "
                "another batch size. It goes on, but not as one that was never interrupted.",
                stacklevel=2,
            )
        if self.monitor is not None:
            self.model.load_weights(state / "best.weights.h5")
            self._best = self.model.get_weights()
        self.model.load_weights(state / "last.weights.h5")
        self.logs = saved["logs"]
        self._began -= saved.get("elapsed", 0.0)
        for epoch, past in enumerate(self.logs):
            for callback in self.replay:
                callback.on_epoch_end(epoch, dict(past))
        # What Keras's own BackupAndRestore sets; a training that had come to its end takes no further epoch.
        self.model._initial_epoch = self.params["epochs"] if self.model.stop_training else len(self.logs)

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append({name: float(value) for name, value in (logs or {}).items()})
        if self.monitor == "auto":
            self.monitor, self.sign = next((each for each in _BEST_BY if each[0] in self.logs[-1]), (None, 1))
        if self.monitor is not None:
            if self.monitor not in self.logs[-1]:
                validated = any(name.startswith("val_") for name in self.logs[-1])
                hint = "" if validated else " For a figure of validation data, pass `validation_data` to fit."
                raise ValueError(
                    f"`monitor` must be among the logs: {', '.join(self.logs[-1])}. Received: monitor='{self.monitor}'.{hint}"
                )
            *before, last = (past.get(self.monitor) for past in self.logs)
            if all(self._rank(last) > self._rank(value) for value in before):
                self._best = self.model.get_weights()
        if time.monotonic() - self._written >= self.seconds:
            self.write()

    def on_train_end(self, logs=None):
        self.write()

    def write(self):
        """Writes the state as it stood at the end of the last epoch."""
        state = self.folder / f"{_PREFIX}{len(self.logs):06d}"
        if not self.logs or state.exists() or not replicas.is_chief(self.model.distribute_strategy):
            return
        aside = self.folder / "writing"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        self.model.save_weights(aside / "last.weights.h5")
        if self._best is not None:
            last = self.model.get_weights()
            self.model.set_weights(self._best)
            self.model.save_weights(aside / "best.weights.h5")
            self.model.set_weights(last)
        facts = {"shapes": self._shapes(), "monitor": self._monitored(), "steps": self.params.get("steps")}
        facts |= {"elapsed": self.elapsed, "logs": self.logs}
        (aside / "training.json").write_text(json.dumps(facts))
        os.replace(aside, state)
        for old in self.folder.glob(f"{_PREFIX}*"):
            if old != state:
                shutil.rmtree(old)
        self._written = time.monotonic()

    def restore_best(self):
        """Gives the model the weights of its best epoch; those it has, if none was kept."""
        if self._best is not None:
            self.model.set_weights(self._best)

    @property
    def elapsed(self):
        return time.monotonic() - self._began

    def _monitored(self):
        return [self.monitor, self.sign]

    def _rank(self, value):
        return -math.inf if math.isnan(value) else self.sign * value

    def _shapes(self):
        return [list(each.shape) for each in self.model.weights]

    @staticmethod
    def latest(folder):
        """The folder of the last whole state in a folder, or None."""
        return max(pathlib.Path(folder).glob(f"{_PREFIX}*"), default=None)


def _words(monitored):
    monitor, sign = monitored
    return f"monitor={monitor!r}, mode={'max' if sign > 0 else 'min'!r}"
