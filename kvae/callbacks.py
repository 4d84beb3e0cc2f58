"""Keras callbacks for what changes while a VAE trains."""

import warnings

import keras


class BetaWarmup(keras.callbacks.Callback):
    """Raises the weight of the KL linearly, epoch by epoch, from `start` to `stop`.

    In epoch e = 1, 2, ... beta is start + (stop - start) * min(1, e / epochs), so that `epochs=10` reaches `stop` in the
    tenth epoch. The reported `elbo` never depends on beta; `val_loss` does, so let `EarlyStopping` watch `val_elbo`.

    References: Bowman et al. 2016, arXiv:1511.06349, section 3.1; Sonderby et al. 2016, arXiv:1602.02282, section 2.3.

    Args:
        epochs: length of the ramp, at least 1.
        start: value before the first epoch.
        stop: value at the end; by default what the objective's beta is when training starts.

    Raises:
        ValueError: for a bad argument; when training starts, if the objective has no `beta`.

    Example:
        >>> vae.fit(x, epochs=50, callbacks=[kvae.callbacks.BetaWarmup(epochs=10)])
    """

    def __init__(self, epochs, start=0.0, stop=None):
        super().__init__()
        if epochs != int(epochs) or epochs < 1:
            raise ValueError(f"`epochs` must be a whole number of at least 1. Received: epochs={epochs!r}")
        if start < 0 or (stop is not None and stop < 0):
            raise ValueError(f"`start` and `stop` must be zero or larger. Received: start={start!r}, stop={stop!r}")
        self.epochs, self.start, self.stop = int(epochs), start, stop

    def on_train_begin(self, logs=None):
        objective = self.model.objective
        if not hasattr(objective, "beta"):
            raise ValueError(
                f"BetaWarmup needs an objective with a `beta`, for instance kvae.objectives.ELBO(). "
                f"Received: {type(objective).__name__}."
            )
        if self.stop is None:
            self.stop = float(objective.beta)
        if self.params.get("epochs") is not None and self.params["epochs"] < self.epochs:
            warnings.warn(
                f"BetaWarmup takes {self.epochs} epochs and training {self.params['epochs']}: beta will not reach {self.stop:g}.",
                stacklevel=2,
            )

    def on_epoch_begin(self, epoch, logs=None):
        share = min(1.0, (epoch + 1) / self.epochs)
        self.model.objective.beta.assign(self.start + (self.stop - self.start) * share)

    def on_train_end(self, logs=None):
        reached = float(self.model.objective.beta)
        if abs(reached - self.stop) > 1e-6 * max(1.0, abs(self.stop)) and self.model.stop_training:
            warnings.warn(
                f"Training stopped during BetaWarmup: beta is {reached:g}, not {self.stop:g}. "
                "Give EarlyStopping `start_from_epoch`.",
                stacklevel=2,
            )
