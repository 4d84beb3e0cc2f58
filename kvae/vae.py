"""The variational autoencoder as one Keras model."""

import functools

import keras
import tensorflow as tf

from kvae import checks, imputation, inputs, likelihoods, objectives, posteriors, priors, random, replicas
from kvae.sampling import Sampling, join_params
from kvae.training import Trainable


@keras.saving.register_keras_serializable(package="kvae")
class VAE(Trainable):
    """A variational autoencoder: two networks, and the heads that turn their tensors into distributions.

    It is trained by `fit` like any Keras model, on x alone, and needs no loss: the `objective` is one. All figures are
    nats per example. Called as a layer it reconstructs: E[x | z = E[z|x]].

    Reference: Kingma and Welling 2014, "Auto-encoding variational Bayes", arXiv:1312.6114.

    Args:
        encoder: `keras.Model` from x `[B, *data_shape]` to the posterior's parameters `[B, P]`, or to a list
            `[z_mean, z_log_var]` (a third output is left out).
        decoder: `keras.Model` from z `[B, D]` to the likelihood's parameters: `data_shape` with
            `likelihood.num_params` times as many channels, and no activation where the likelihood has a link.
        likelihood: p(x|z), a name or `kvae.likelihoods` object.
        posterior: q(z|x), a name or `kvae.posteriors` object.
        prior: p(z), a name or `kvae.priors` object.
        objective: what training minimises, a name or `kvae.objectives` object.
        seed: int; fixes the order of the data and all noise, in `fit`, `evaluate`, `sample` and exported decoders. The
            initial weights are drawn when the networks are made, before: see `keras.utils.set_random_seed`.
        missing: what NaN in x means. None: an error. "fill": not observed; the encoder sees zero there and the
            likelihood leaves it out. "fill+mask": the encoder also sees, as further channels, what was observed.

    A conditional model has networks of two inputs, (x, c) and (z, c); wherever x or z goes in, the pair goes in, also as
    `validation_data=((x, c),)`. With "fill+mask" the encoder has twice the channels of the data, those of x first.

    Raises:
        ValueError: when the networks do not fit each other, the posterior or the likelihood; the message gives the
            width needed.
        TypeError: when a network is no `keras.Model`.

    Example:
        >>> encoder = kvae.networks.dense_encoder((28, 28, 1), latent_dim=16)
        >>> decoder = kvae.networks.dense_decoder(16, (28, 28, 1))
        >>> vae = kvae.VAE(encoder, decoder, likelihood="bernoulli", seed=0)
        >>> vae.compile(keras.optimizers.Adam(1e-3))
        >>> history = vae.fit(x_train, epochs=50, batch_size=128, validation_data=(x_test,))
    """

    reported = ("loss", "elbo", "reconstruction", "kl")
    generative = True

    def __init__(
        self,
        encoder,
        decoder,
        likelihood="bernoulli",
        posterior="diagonal_normal",
        prior="standard_normal",
        objective="elbo",
        seed=0,
        missing=None,
        **kwargs,
    ):
        checks.check_models(encoder, decoder)
        super().__init__(**{"dtype": encoder.dtype_policy, **kwargs})
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihoods.get(likelihood)
        self.posterior = posteriors.get(posterior)
        self.prior = priors.get(prior)
        self.objective = objectives.get(objective)
        self.seed = checks.check_seed(seed)
        self.missing = checks.check_choice("missing", missing, (None, "fill", "fill+mask"))
        self.sampling = Sampling(self.posterior, seed=self.seed)
        # Float64 sums, so that a mean over a million examples does not depend on how they were cut into batches.
        self.trackers = {name: keras.metrics.Mean(name=name, dtype="float64") for name in self.reported}
        self.examples_seen = replicas.RowCounter()
        self.data_shape = self.condition_shape = self.latent_dim = None
        if checks.known_input_shape(encoder) is not None:
            self.build(checks.known_input_shape(encoder))

    def build(self, input_shape):
        """Checks that the networks fit, and makes the variables of the parts. Called once the shape of x is known."""
        wiring = checks.wire(self, input_shape)
        self.data_shape, self.condition_shape, self.latent_dim = wiring
        for part in (self.posterior, self.sampling, self.prior, self.likelihood, self.objective):
            if part.data_shape is None:  # a part that was loaded comes back built
                part.build(data_shape=self.data_shape, latent_dim=self.latent_dim)
        checks.check_prior(self.prior, self.latent_dim)  # it may have been built for another model
        self.built = True

    # From x to distributions

    def encode(self, x):
        """The posterior q(z|x) of x `[B, *data_shape]`: a tfd distribution, batch `[B]`, event `[D]`.

        Raises:
            ValueError: for a wrong shape, NaN, or values that the likelihood does not support.

        Example:
            >>> vae.encode(x).mean()          # [B, D]
        """
        return self.posterior.distribution(self.posterior_params(inputs.checked_x(self, x)))

    def decode(self, z):
        """The likelihood p(x|z) of z `[..., D]`: a tfd distribution, batch `[...]`, event `data_shape`.

        Raises:
            ValueError: when the last axis of z is not `latent_dim`.

        Example:
            >>> vae.decode(tf.zeros([4, vae.latent_dim])).mean()          # [4, *data_shape]
        """
        return self.likelihood.distribution(self.likelihood_params(*inputs.checked_z(self, z)))

    def as_graph(self, function, jit_compile=None):
        """`function(vae, ...)` of tensors as a TensorFlow graph, traced once for this VAE: a function of the rest."""
        graphs = self.__dict__.setdefault("_graphs", {})  # past Keras, which would track the dictionary
        key, graph = (function, jit_compile), functools.partial(function, self)
        if key not in graphs:
            graphs[key] = tf.function(graph, autograph=False, reduce_retracing=True, jit_compile=jit_compile)
        return graphs[key]

    def posterior_params(self, x, mask=None, training=False):
        """What the posterior is made of, float32 `[B, P]`: the encoder's output. No values are checked."""
        x, condition = inputs.split_condition(self, x)
        if self.missing is not None:
            x, mask = inputs.fill_missing(x) if mask is None else (x, mask)
        if self.missing == "fill+mask":
            x = tf.concat([x, tf.cast(mask, x.dtype)], axis=-1)
        return join_params(self.encoder(x if condition is None else [x, condition], training=training))

    def likelihood_params(self, z, condition=None, training=False):
        """What the likelihood is made of, `[..., *data_shape]` times `num_params`: the decoder's output at z."""
        leading = tf.shape(z)[:-1]
        flat = tf.reshape(z, [-1, z.shape[-1]])
        if condition is not None:
            condition = tf.broadcast_to(condition, tf.concat([leading, tf.shape(condition)[1:]], axis=0))
            condition = tf.reshape(condition, tf.concat([[-1], tf.shape(condition)[len(z.shape) - 1 :]], axis=0))
        params = self.decoder(flat if condition is None else [flat, condition], training=training)
        return tf.reshape(params, tf.concat([leading, tf.shape(params)[1:]], axis=0)) if len(z.shape) != 2 else params

    def terms(
        self, x, y=None, noise=None, num_samples=None, first_sample=0, training=False, params=None, sample_weight=None
    ):
        """All log-densities of a batch, from which an objective makes a loss.

        Args:
            x: `[B, *data_shape]`, or (x, c).
            y: optional target `[B, *data_shape]` of the reconstruction, x by default.
            noise: `kvae.random.Noise`; by default that of `evaluate` for the first B examples.
            num_samples: draws of z per example, S; by default the objective's.
            first_sample: index of the first draw: draws s, s + 1, ... do not depend on how they are asked for.
            training: whether the networks run in training mode.
            params: what `posterior_params` gives for x, where it is known already.
            sample_weight: `[B]`, for what looks at the batch as a whole.

        Returns:
            `kvae.objectives.Terms`.

        Example:
            >>> vae.terms(x, num_samples=8).log_weight          # log p(x|z) + log p(z) - log q(z|x)  [8, B]
        """
        x, condition = inputs.split_condition(self, x)
        x, mask = inputs.fill_missing(x) if self.missing else (x, None)
        target, target_mask = (x, mask) if y is None else inputs.fill_missing(inputs.target(self, y, x))
        target_mask = target_mask if self.missing else None
        noise = noise or random.Noise(self.seed, random.EVALUATION, tf.range(tf.shape(x)[0]))

        prior = self.prior.distribution(self)  # p(z)
        if params is None:
            params = self.posterior_params(x if condition is None else (x, condition), mask, training)  # [B, P]
        posterior = self.posterior.distribution(params)  # q(z|x)  [B]
        num_samples = self.objective.num_samples if num_samples is None else num_samples
        draws = noise.normal(self.posterior.noise_size(params), num_samples, first_sample)
        memo = {}
        z = self.objective.gate(self.sampling(params, draws), memo)  # z  [S, B, D]
        likelihood_params = self.likelihood_params(z, condition, training)  # [S, B, ...]
        if sample_weight is not None:
            sample_weight = tf.ensure_shape(tf.cast(sample_weight, tf.float32), x.shape[:1])
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        log_likelihood = self.likelihood.log_prob(
            likelihood_params, target, target_mask, training, **weights
        )  # log p(x|z)  [S, B]

        def draw_prior():
            return self.prior.from_noise(noise.auxiliary(self.prior.noise_size), self)

        return objectives.Terms(
            posterior, prior, z, log_likelihood, self.posterior, params, noise, memo, draw_prior, sample_weight
        )

    def call(self, x, training=False):
        params = self.posterior_params(x, training=training)
        _, condition = inputs.split_condition(self, x)
        return self.likelihood(self.likelihood_params(self.posterior(params), condition, training))

    # Training and evaluation; `compile`, `fit`, `evaluate` and `predict` are Keras's, see `training.py`

    @property
    def metrics(self):
        parts = (self.likelihood, self.posterior, self.prior, self.objective)
        return [*self.trackers.values(), *(metric for part in parts for metric in part.metrics)]

    def reset_metrics(self):
        super().reset_metrics()
        self.examples_seen.reset_state()

    def train_step(self, data):
        x, y, weight = inputs.unpack(self, data)
        stream = tf.cast(self.steps_taken.value, tf.int32)
        noise, _ = self._batch_noise(stream, x, weight)
        with tf.GradientTape() as tape:
            terms = self.terms(x, y, noise, training=True, sample_weight=weight)
            loss = self._loss(terms)  # [B]
            auxiliary = self.objective.auxiliary_loss(terms)
            penalty = self._penalty()
            total = replicas.share_of_mean(loss + auxiliary, weight) + replicas.share(penalty)
            scaled = self.optimizer.scale_loss(total)
        gradients = replicas.overflow_together(self.optimizer, tape.gradient(scaled, self.trainable_variables))
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            # A float16 step that overflowed is skipped by the optimizer, so it does not count here either.
            weight = (tf.ones_like(loss) if weight is None else weight) * tf.cast(tf.math.is_finite(total), tf.float32)
        return self._track(loss + penalty, terms, weight)

    def test_step(self, data):
        x, y, weight = inputs.unpack(self, data)
        noise, rows = self._batch_noise(random.EVALUATION, x, weight, first_row=self.examples_seen.rows.value)
        self.examples_seen.update_state(rows)
        terms = self.terms(x, y, noise, sample_weight=weight)
        return self._track(self._loss(terms) + self._penalty(), terms, weight)

    def _batch_noise(self, stream, x, weight, first_row=0):
        """The noise of a batch and the number of its rows, over all replicas. Rows of weight zero take no noise."""
        size = tf.shape(tf.nest.flatten(x)[0])[0]
        present = tf.ones([size], tf.int32) if weight is None else tf.cast(weight > 0, tf.int32)
        count = tf.reduce_sum(present)
        row = first_row + replicas.rows_before(count) + tf.cumsum(present, exclusive=True)
        return random.Noise(self.seed, stream, row), replicas.total(count)

    def _loss(self, terms):
        loss = self.objective.loss(terms)
        if loss.shape.rank != 1:
            raise ValueError(
                f"`loss` of the objective {type(self.objective).__name__} must give the cost of each example, [B]. "
                f"Received: shape {list(loss.shape)}."
            )
        return loss

    def _penalty(self):
        """What the regularisers of the networks ask for, a float32 scalar."""
        return tf.add_n([tf.cast(each, tf.float32) for each in self.losses]) if self.losses else 0.0

    def _track(self, loss, terms, weight):
        for name, tracker in self.trackers.items():
            value = loss if name == "loss" else getattr(terms, name)
            value = value if weight is None else tf.where(weight > 0, value, 0.0)  # zero times NaN is NaN
            tracker.update_state(value, sample_weight=weight)
        return replicas.step_logs(self)

    # From z and x to arrays

    def sample(self, num_samples=1, mean=True, seed=None, condition=None, batch_size=256, prior=None):
        """Draws from the model: z ~ p(z), then E[x|z] or x ~ p(x|z).

        Args:
            num_samples: how many, N.
            mean: whether to give the mean of p(x|z) rather than a draw from it.
            seed: int, by default that of the VAE. The same seed gives the same samples; mean i does not depend on N, while
                draws of x do.
            condition: for a conditional model, c: one for all samples, or one for each `[N, ...]`.
            batch_size: how many the decoder takes at a time.
            prior: what to draw z from in place of the VAE's own prior, see `kvae.priors.fit_mixture`.

        Returns:
            numpy array `[N, *data_shape]`.

        Example:
            >>> images = vae.sample(16, seed=1)
        """
        num_samples = objectives.check_num_samples(num_samples)
        seed = self.seed if seed is None else checks.check_seed(seed)
        inputs.check_condition(self, condition)
        prior = self.prior if prior is None else checks.check_prior(prior, self.latent_dim)
        z = prior.from_noise(random.normal(seed, tf.range(num_samples), 0, prior.noise_size), self)
        z, condition = inputs.checked_z(self, z if condition is None else (z, condition))
        latents = z if condition is None else (z, condition)
        params = inputs.map_batches(self.as_graph(_likelihood_params), latents, batch_size)
        if mean:
            return self.likelihood(params).numpy()
        return self.likelihood.distribution(params).sample(seed=[seed, num_samples]).numpy()

    def reconstruct(self, x, batch_size=256):
        """E[x | z = E[z|x]] as a numpy array `[N, *data_shape]`; deterministic.

        Example:
            >>> vae.reconstruct(x_test[:8])
        """
        return self.predict(x, batch_size=batch_size, verbose=0)

    def transform(self, x, batch_size=256):
        """E[z|x], the posterior means, as a numpy array `[N, D]`.

        Example:
            >>> codes = vae.transform(x_test)
        """
        return inputs.map_batches(self.as_graph(_posterior_mean), inputs.checked_x(self, x), batch_size)

    def impute(self, x, num_samples=100, num_draws=None, seed=None, batch_size=64):
        """Fills in what is NaN in x, from what is observed; needs `VAE(missing=...)`.

        The mean of p(x missing | x observed), or draws from it, by self-normalised importance sampling with q(z|x
        observed) as the proposal.

        Reference: Mattei and Frellsen 2019 (MIWAE), arXiv:1812.02633.

        Args:
            x: array `[N, *data_shape]` with NaN where nothing was observed, or (x, c).
            num_samples: importance samples for each example.
            num_draws: None for the mean, or how many completions to draw.
            seed: int, by default that of the VAE.
            batch_size: examples at a time.

        Returns:
            numpy array `[N, *data_shape]`, or `[num_draws, N, *data_shape]`; observed values are as they were.

        Raises:
            ValueError: if the VAE was made without `missing`, or the likelihood has no mean in the data's space.

        Example:
            >>> vae = kvae.VAE(encoder, decoder, missing="fill")  # and trained
            >>> hidden = np.random.default_rng(0).random(x_test.shape) < 0.5
            >>> filled = vae.impute(np.where(hidden, np.nan, x_test))
        """
        seed = self.seed if seed is None else checks.check_seed(seed)
        return imputation.impute(self, x, num_samples, num_draws, seed, batch_size)

    # Saving

    def save(self, filepath, *args, **kwargs):
        """As `keras.Model.save`, in the `.keras` format: it keeps the optimizer, and loads by `import kvae` alone.

        Raises:
            ValueError: for the old HDF5 format, which cannot hold parts.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(f"A VAE is saved in the .keras format. Received: filepath='{filepath}'. End it in .keras.")
        return super().save(filepath, *args, **kwargs)

    def export(self, filepath, format="tf_saved_model", **kwargs):
        """As `keras.Model.export`: "tf_saved_model", "litert" or "onnx", with the arguments of `kvae.export.saved_model`,
        `tflite` or `onnx`. Verified, deterministic, of built-in operations only; returns a `kvae.export.Report`.
        """
        from kvae.export import formats

        return formats.export(self, filepath, format, **kwargs)

    def get_config(self):
        config = super().get_config()
        for name in ("encoder", "decoder", "likelihood", "posterior", "prior", "objective"):
            config[name] = keras.saving.serialize_keras_object(getattr(self, name))
        return {**config, "seed": self.seed, "missing": self.missing}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
                for name, value in config.items()
            }
        )


def _likelihood_params(vae, z):
    return vae.likelihood_params(*z) if isinstance(z, tuple) else vae.likelihood_params(z)


def _posterior_mean(vae, x):
    return vae.posterior(vae.posterior_params(x))
