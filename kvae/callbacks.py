"""Keras callbacks for what changes while a VAE trains."""

import math
import warnings

import keras

from kvae import checks, objectives
from kvae.checkpoints import Checkpoint as Checkpoint
from kvae.evaluation import latents


class Schedule(keras.callbacks.Callback):
    """Base class of the schedules: sets a live variable of the objective at the start of each epoch.

    A subclass names the `variable` and gives `share`; the value is start + (stop - start) * share(epoch). Epochs count
    from the first of the whole training, so `fit(..., initial_epoch=...)` resumes at the right value. When training
    may be resumed, give `stop`: a model saved on the way holds a value on the way.

    Attributes:
        variable: name of the objective's variable.
        remedy: an objective that has it, for the error message.
        epochs: length of the ramp.
    """

    variable = "beta"
    remedy = "kvae.objectives.ELBO()"

    def __init__(self, epochs, start=0.0, stop=None):
        super().__init__()
        self.epochs = checks.check_count("epochs", epochs)
        for value in (start, 0.0 if stop is None else stop):
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"`start` and `stop` must be zero or larger. Received: start={start!r}, stop={stop!r}")
        self.start, self.stop = start, stop
        self._objective = self._target = None  # whose own value is the target while `stop` is None
        self._first_epoch = False

    def share(self, epoch):
        """How much of the way from `start` to `stop` is done in `epoch` = 0, 1, ...: from 0 to 1."""
        raise NotImplementedError

    def value(self, epoch):
        """What the variable is in `epoch` = 0, 1, ...; known once training starts if `stop` was not given."""
        return self.start + (self._stop() - self.start) * self.share(epoch)

    def on_train_begin(self, logs=None):
        self._find_target()
        epochs = self.params.get("epochs")
        if epochs is not None and self.share(epochs - 1) < 1:
            warnings.warn(f"{type(self).__name__} takes {self._shortfall(epochs)}.", stacklevel=2)

    def on_epoch_begin(self, epoch, logs=None):
        if self._first_epoch and epoch > 0 and self.share(epoch - 1) < 1 and self._current() == self._target:
            raise ValueError(
                f"Training resumes in epoch {epoch + 1}, on the way of {type(self).__name__}, and the {self.variable} of the "
                f"model, {self._target:g}, may be a value on the way: give "
                f"{type(self).__name__}(stop=...), which was None."
            )
        self._first_epoch = False
        self._live().assign(self.value(epoch))

    def on_train_end(self, logs=None):
        reached, stop = self._current(), self._stop()
        if abs(reached - stop) > 1e-6 * max(1.0, abs(stop)) and self.model.stop_training:
            warnings.warn(
                f"Training stopped during {type(self).__name__}: {self.variable} is {reached:g}, not {stop:g}. "
                "Give EarlyStopping `start_from_epoch`.",
                stacklevel=2,
            )

    def _live(self):
        objective = getattr(self.model, "objective", None)
        if objective is None:
            raise ValueError(
                f"{type(self).__name__} changes the objective of a kvae.VAE, and this model has none. "
                f"Received: {type(self.model).__name__}."
            )
        live = getattr(objective, self.variable, None)
        if not hasattr(live, "assign"):
            raise ValueError(
                f"{type(self).__name__} needs an objective with a `{self.variable}`, for instance {self.remedy}. "
                f"Received: {type(objective).__name__}."
            )
        return live

    def _current(self):
        return float(self._live().numpy())  # which replicas mirror

    def _stop(self):
        return self._target if self.stop is None else self.stop

    def _find_target(self):
        current = self._current()
        if self.stop is None and self._objective is not self.model.objective:
            self._objective, self._target, self._first_epoch = self.model.objective, current, True
        if self._stop() == self.start:
            raise ValueError(
                f"{type(self).__name__} has nothing to change: {self.variable} would be {self.start:g} from start to stop. "
                f"Give another `stop`. Received: start={self.start!r}, stop={self.stop!r}, and an objective whose "
                f"{self.variable} is {current:g}."
            )

    def _shortfall(self, epochs):
        return f"{self.epochs} epochs and training {epochs}: {self.variable} will not reach {self._stop():g}"


class BetaWarmup(Schedule):
    """Raises the weight of the KL linearly, epoch by epoch, from `start` to `stop`.

    In epoch e = 1, 2, ... beta is start + (stop - start) * min(1, e / epochs), so that `epochs=10` reaches `stop` in the
    tenth epoch. The reported `elbo` never depends on beta; `val_loss` does, so let Keras watch the ELBO:
    `EarlyStopping("val_elbo", mode="max")`.

    References: Bowman et al. 2016, arXiv:1511.06349, section 3.1; Sonderby et al. 2016, arXiv:1602.02282, section 2.3.

    Args:
        epochs: length of the ramp, at least 1.
        start: value before the first epoch.
        stop: value at the end; by default what the objective's beta is when training starts.

    Raises:
        ValueError: for a bad argument; when training starts, if the objective has no `beta` or start and stop are the
            same; when training resumes on the way and `stop` was not given.

    Example:
        >>> vae.fit(x, epochs=50, callbacks=[kvae.callbacks.BetaWarmup(epochs=10)])
    """

    def share(self, epoch):
        return min(1.0, (epoch + 1) / self.epochs)


class BetaCycle(Schedule):
    """Raises the weight of the KL again and again: in each cycle linearly from `start` to `stop`, then held there.

    In epoch e = 1, 2, ... of each cycle beta is start + (stop - start) * min(1, e / (proportion * cycle_epochs)): with
    10 epochs and 0.5 that is 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1. The paper counts steps, this counts epochs.

    Reference: Fu et al. 2019, arXiv:1903.10145, equations 6 and 7.

    Args:
        cycle_epochs: length of a cycle, ramp and plateau.
        proportion: share of the cycle that the ramp takes, R in the paper; more than 0, at most 1.
        start: value before the first epoch of a cycle.
        stop: value of the plateau; by default what the objective's beta is when training starts.

    Raises:
        ValueError: for a bad argument, or a ramp of one epoch or less, which would leave beta constant; when training
            starts, as `BetaWarmup`.

    Example:
        >>> vae.fit(x, epochs=40, callbacks=[kvae.callbacks.BetaCycle(cycle_epochs=10)])
    """

    def __init__(self, cycle_epochs, proportion=0.5, start=0.0, stop=None):
        self.cycle_epochs = checks.check_count("cycle_epochs", cycle_epochs)
        self.proportion = objectives.check_number("proportion", proportion)
        if not 0 < self.proportion <= 1 or self.proportion * self.cycle_epochs <= 1:
            raise ValueError(
                "The ramp of a cycle, proportion * cycle_epochs, must be longer than one epoch and no longer than the "
                "cycle, else beta does not rise. "
                f"Received: cycle_epochs={cycle_epochs!r}, proportion={proportion!r}"
            )
        super().__init__(math.ceil(self.proportion * self.cycle_epochs), start, stop)

    def share(self, epoch):
        return min(1.0, (epoch % self.cycle_epochs + 1) / (self.proportion * self.cycle_epochs))

    def _shortfall(self, epochs):
        begun = (epochs - 1) // self.cycle_epochs * self.cycle_epochs
        return (
            f"{begun + self.epochs} epochs and training {epochs}: {self.variable} will not reach {self._stop():g} "
            "in the last cycle"
        )


class CapacityRamp(Schedule):
    """Raises the capacity of the KL linearly, epoch by epoch, from `start` to `stop` nats.

    For `ELBO(capacity=...)`, which holds the KL at the capacity. In epoch e = 1, 2, ... it is
    start + (stop - start) * min(1, e / epochs).

    Reference: Burgess et al. 2018, arXiv:1804.03599, section 5 (from 0 to 25 nats).

    Args:
        epochs: length of the ramp, at least 1.
        stop: capacity at the end, nats; by default what the objective's is when training starts.
        start: capacity before the first epoch, nats.

    Raises:
        ValueError: for a bad argument; when training starts, if the objective has no `capacity`, as `ELBO()` has none
            unless given one, or start and stop are the same; when training resumes on the way without `stop`.

    Example:
        >>> vae = kvae.VAE(encoder, decoder, objective=kvae.objectives.ELBO(beta=100.0, capacity=25.0))
        >>> vae.compile("adam")
        >>> vae.fit(x, epochs=50, callbacks=[kvae.callbacks.CapacityRamp(epochs=40)])
    """

    variable = "capacity"
    remedy = "kvae.objectives.ELBO(beta=100.0, capacity=25.0)"

    def __init__(self, epochs, stop=None, start=0.0):
        super().__init__(epochs, start, stop)

    def share(self, epoch):
        return min(1.0, (epoch + 1) / self.epochs)


class LatentMonitor(keras.callbacks.Callback):
    """Looks at the latent space while a VAE trains, and warns when it collapses.

    Adds to the logs of each epoch `active_units`, `mutual_information`, `marginal_kl` and, where it is known,
    `total_correlation`, as `kvae.evaluation.latent_statistics` defines them, so that `History`, `CSVLogger`,
    `TensorBoard` and `EarlyStopping(monitor="mutual_information", mode="max")` see them; put it before those in the
    list. Training goes as it does without it.

    It warns once in a training, when the verdict was "collapsed" `patience` times in a row, or is at the end.

    Args:
        x: examples to look at, best held out: arrays, (x, c) for a conditional model, or a data set.
        every: look at the first epoch and then every so many; in between the last figures are repeated.
        num_examples: how many of x at most; `mutual_information` is never above the log of it.
        patience: see above.
        seed: int, of the draws and of the choice of examples.

    Raises:
        ValueError: for numbers that are not positive; when training starts, if the model does not take x.
        TypeError: when training starts, if the model is no `kvae.VAE`.

    Example:
        >>> vae.fit(x_train, epochs=50, callbacks=[kvae.callbacks.LatentMonitor(x_test)]).history["active_units"]
    """

    def __init__(self, x, every=1, num_examples=1000, patience=3, seed=0):
        super().__init__()
        self.x = x
        self.every = checks.check_count("every", every)
        self.num_examples = checks.check_count("num_examples", num_examples, least=2)
        self.patience = checks.check_count("patience", patience)
        self.seed = checks.check_seed(seed)
        self.statistics = None  # the last that were taken

    def on_train_begin(self, logs=None):
        self.statistics, self._collapses, self._warned = None, 0, False
        self._chosen = latents.choose_examples(self.model, self.x, self.num_examples, self.seed)

    def on_epoch_end(self, epoch, logs=None):
        if self.statistics is None or epoch % self.every == 0:
            self.statistics = latents.latent_statistics(
                self.model, self._chosen, seed=self.seed, num_examples=self.num_examples
            )
            self._collapses = self._collapses + 1 if self.statistics.verdict == "collapsed" else 0
            if self._collapses >= self.patience:
                self._warn(f"in epoch {epoch + 1}")
        if logs is not None:
            names = ("active_units", "mutual_information", "marginal_kl", "total_correlation")
            found = {name: getattr(self.statistics, name) for name in names}
            logs.update({name: float(value) for name, value in found.items() if value is not None})

    def on_train_end(self, logs=None):
        if self._collapses:
            self._warn("at the end of training")

    def _warn(self, when):
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"The posterior is collapsed {when}: {self.statistics.reason}. Raise the weight of the KL slowly with "
                "kvae.callbacks.BetaWarmup, lower it with kvae.objectives.ELBO(beta=...), or take a weaker decoder.",
                stacklevel=2,
            )
