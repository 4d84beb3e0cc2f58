"""The entry points of `keras.Model` that a VAE touches: arguments are checked and brought to one form, then Keras acts."""

import contextlib
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
        not for convolutions; under XLA `fit` takes 16 steps at once where an epoch has at least 64 and all of it is taken,
        of arrays in memory as one computation, unless a callback watches single batches. It changes no figure.

        Raises:
            ValueError: for `loss`, `loss_weights`, `metrics` or `weighted_metrics`.
        """
        checks.refuse_losses(
            self, loss=loss, metrics=metrics, loss_weights=loss_weights, weighted_metrics=weighted_metrics
        )
        self.chooses_xla = jit_compile == "auto"
        if self.chooses_xla and not kwargs.get("run_eagerly"):
            jit_compile = speed.jit_compile(self)
        self.chooses_steps = steps_per_execution == "auto"
        self.__dict__["_functions"] = {}  # past Keras, which would track what is in it
        steps_per_execution = 1 if self.chooses_steps else steps_per_execution
        super().compile(optimizer=optimizer, jit_compile=jit_compile, steps_per_execution=steps_per_execution, **kwargs)
        self._build_optimizer()

    def get_compile_config(self):
        config = super().get_compile_config()
        if not config:
            return config
        chosen = {"jit_compile": self.chooses_xla, "steps_per_execution": self.chooses_steps}
        return {**config, **{name: "auto" for name, chooses in chosen.items() if chooses}}

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
        before, self._blocks = self._blocks, getattr(arguments["x"], "blocks", None)
        try:
            with (
                self._taking(lambda: speed.steps_per_execution(self, arguments)),
                feeding.reading(arguments["x"], arguments["validation_data"]),
            ):
                return super().fit(**arguments)
        finally:
            self._blocks = before
            self._initial_epoch = None  # of a training that was resumed: not that of the next

    @contextlib.contextmanager
    def _taking(self, steps):
        """While steps are taken by so many, where the number is kvae's to choose: `steps` is a function that gives it.

        Keras counts by `steps_per_execution` whatever a function does that was made when it was another: so each number
        has functions of its own, which are kept, and the number before comes back.
        """
        before = self.steps_per_execution
        if self.compiled and self.chooses_steps:
            self._take(steps())
        try:
            yield
        finally:
            if self.compiled and self.chooses_steps:
                self._take(before)

    def _take(self, steps):
        if steps != self.steps_per_execution:
            self._functions[self.steps_per_execution] = self.train_function, self.test_function
            self.steps_per_execution = steps
            self.train_function, self.test_function = self._functions.get(steps, (None, None))

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            super().make_train_function(force)
            if speed.takes_blocks(self):
                self.train_function = speed.block_function(self, self.train_function, lambda: self._blocks)
        return self.train_function

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args, **kwargs):
        arguments = inputs.evaluate_arguments(self, args, kwargs)
        of_fit = arguments.get("_use_cached_eval_dataset")
        with self._taking(lambda: self.steps_per_execution if of_fit else 1), feeding.reading(arguments["x"]):
            return super().evaluate(**arguments)

    @functools.wraps(keras.Model.predict)
    def predict(self, x, *args, **kwargs):
        with self._taking(lambda: 1):
            return super().predict(inputs.checked_x(self, x), *args, **kwargs)

    @property
    def steps_taken(self):
        """How many batches the optimizer has seen, a variable: under gradient accumulation more than its `iterations`."""
        return getattr(self.optimizer, "inner_optimizer", self.optimizer)._iterations
