"""The entry points of `keras.Model` that a VAE touches: arguments are checked and brought to one form, then Keras acts."""

import functools

import keras

from kvae import checks, feeding, inputs, replicas, speed


class Trainable(replicas.AlreadyBuilt, keras.Model):
    """A `keras.Model` that is its own loss, and is fed and compiled in the way that was measured to be fast."""

    _blocks = None  # while `fit` has arrays to read: their batches, several at once

    def compile(
        self,
        optimizer="adam",
        loss=None,
        metrics=None,
        loss_weights=None,
        weighted_metrics=None,
        jit_compile="auto",
        steps_per_execution="auto",
        **kwargs,
    ):
        """As `keras.Model.compile`, without losses and metrics: the VAE's `objective` is the loss.

        "auto" is what was measured to be faster, see `kvae.speed`: without a GPU, XLA for networks of dense layers and
        not for convolutions; under XLA 16 steps at once, of arrays in memory as one computation, unless a callback watches
        single batches. It changes no figure.

        Raises:
            ValueError: for `loss`, `loss_weights`, `metrics` or `weighted_metrics`.
        """
        checks.refuse_losses(loss=loss, metrics=metrics, loss_weights=loss_weights, weighted_metrics=weighted_metrics)
        if jit_compile == "auto" and not kwargs.get("run_eagerly"):
            jit_compile = speed.jit_compile(self)
        self.chooses_steps = steps_per_execution == "auto"
        steps_per_execution = 1 if self.chooses_steps else steps_per_execution
        super().compile(optimizer=optimizer, jit_compile=jit_compile, steps_per_execution=steps_per_execution, **kwargs)
        self._build_optimizer()

    def get_compile_config(self):
        config = super().get_compile_config()
        return {**config, "steps_per_execution": "auto"} if config and self.chooses_steps else config

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    def _build_optimizer(self):
        # In the first step it would cost a second trace; and a model saved before that could not be loaded compiled.
        if self.built and self.compiled and not self.optimizer.built:
            replicas.build_optimizer(self)

    @functools.wraps(keras.Model.fit)
    def fit(self, *args, **kwargs):
        arguments = inputs.fit_arguments(self, args, kwargs)
        self._build_optimizer()
        if self.compiled and self.chooses_steps:
            steps = speed.steps_per_execution(self, arguments["x"], arguments["callbacks"])
            if steps != self.steps_per_execution:
                self.steps_per_execution, self.train_function, self.test_function = steps, None, None
        before, self._blocks = self._blocks, getattr(arguments["x"], "blocks", None)
        try:
            with feeding.reading(arguments["x"], arguments["validation_data"]):
                return super().fit(**arguments)
        finally:
            self._blocks = before

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            super().make_train_function(force)
            if speed.takes_blocks(self):
                self.train_function = speed.block_function(self, self.train_function, lambda: self._blocks)
        return self.train_function

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args, **kwargs):
        arguments = inputs.evaluate_arguments(self, args, kwargs)
        steps, within_fit = self.steps_per_execution, arguments.get("_use_cached_eval_dataset")
        if steps > 1 and self.chooses_steps and not within_fit and speed.watched(arguments["callbacks"]):
            self.steps_per_execution, self.test_function = 1, None
        try:
            with feeding.reading(arguments["x"]):
                return super().evaluate(**arguments)
        finally:
            if steps != self.steps_per_execution:
                self.steps_per_execution, self.test_function = steps, None

    @functools.wraps(keras.Model.predict)
    def predict(self, x, *args, **kwargs):
        return super().predict(inputs.checked_x(self, x), *args, **kwargs)
