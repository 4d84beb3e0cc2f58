"""The deterministic autoencoder that the VAE is explained from: a VAE whose code has no noise and whose loss has no KL."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import checks, inputs, objectives, posteriors
from kvae.vae import VAE


@keras.saving.register_keras_serializable(package="kvae")
class Code(posteriors.Posterior):
    """The encoder's output itself, as a distribution without spread: `[B, D]` gives batch `[B]`, event `[D]`."""

    def params_size(self, latent_dim):
        return latent_dim

    def noise_size(self, params):
        return params.shape[-1]

    def distribution(self, params):
        return tfp.distributions.Independent(tfp.distributions.Deterministic(tf.cast(params, tf.float32)), 1)

    def from_noise(self, params, noise):
        return tf.broadcast_to(params, tf.shape(noise))


@keras.saving.register_keras_serializable(package="kvae")
class Reconstruction(objectives.Objective):
    """-log p(x|code), and what is asked of the code; see `Autoencoder`."""

    def __init__(self, l1=0.0, sparsity=0.0, sparsity_target=0.05, contraction=0.0, corruption=None, **kwargs):
        super().__init__(**kwargs)
        weights = (("l1", l1), ("sparsity", sparsity), ("contraction", contraction))
        self.l1, self.sparsity, self.contraction = (objectives.check_number(*each) for each in weights)
        if not checks.is_number(sparsity_target) or not 0 < sparsity_target < 1:
            raise ValueError(f"`sparsity_target` must lie between 0 and 1. Received: {sparsity_target!r}")
        if corruption is not None and not isinstance(corruption, keras.layers.Layer):
            raise TypeError(
                "`corruption` must be a layer, which can be saved, such as keras.layers.GaussianNoise(0.3). "
                f"Received: {corruption!r} (of type {type(corruption).__name__})."
            )
        self.sparsity_target = float(sparsity_target)
        self.corruption = corruption

    def loss(self, terms):
        loss, code = terms.reconstruction, terms.posterior_params
        if self.l1:
            loss += self.l1 * tf.reduce_sum(tf.abs(code), axis=-1)
        if self.sparsity:
            active = tfp.distributions.Bernoulli(probs=tf.clip_by_value(terms.mean(code), 1e-6, 1 - 1e-6))
            target = tfp.distributions.Bernoulli(probs=self.sparsity_target)
            loss += self.sparsity * tf.reduce_sum(target.kl_divergence(active))
        if self.contraction:
            loss += self.contraction * terms.memo["squared_jacobian"]
        return loss


@keras.saving.register_keras_serializable(package="kvae")
class Autoencoder(VAE):
    """A deterministic autoencoder: undercomplete, sparse, denoising or contractive.

    It shares networks, likelihoods, training, saving, plots and exports with `VAE`. Its metrics are `loss` and
    `reconstruction`, -log p(x|code) in nats per example; it is no density of x, so there is no ELBO, and no `sample`
    without a prior fitted to the codes (`kvae.priors.fit_mixture`).

    References: Ng 2011, "Sparse autoencoder", CS294A lecture notes, section 3 (`sparsity`); Vincent et al. 2008,
    "Extracting and composing robust features with denoising autoencoders", ICML (`corruption`); Rifai et al. 2011,
    "Contractive auto-encoders", ICML, equation 7 (`contraction`).

    Args:
        encoder: `keras.Model` from x `[B, *data_shape]` to the code `[B, D]`.
        decoder: `keras.Model` from the code to the likelihood's parameters, as for `VAE`.
        likelihood: p(x|code), a name or `kvae.likelihoods` object; `Normal(scale=1.0)` is the squared error.
        l1: weight of sum_j |code_j|.
        sparsity: weight of sum_j KL(target || mean activation of j in the batch); for codes in (0, 1), so end the encoder
            in a sigmoid.
        sparsity_target: the activation aimed at.
        contraction: weight of the squared Frobenius norm of d code / d x.
        corruption: layer that the input of the encoder passes while training, for instance
            `keras.layers.GaussianNoise(0.3)` or `keras.layers.Dropout(0.5)`; the clean x stays the target.
        seed: int; the order of the data.
        missing: as for `VAE`.

    Raises:
        ValueError: as `VAE`; and for a weight that is negative or no finite number.
        TypeError: as `VAE`; and for a `corruption` that is no layer.

    Example:
        >>> encoder = kvae.networks.dense_encoder((28, 28, 1), 16, params_size=16)
        >>> autoencoder = kvae.Autoencoder(encoder, kvae.networks.dense_decoder(16, (28, 28, 1)))
        >>> autoencoder.compile("adam")
        >>> history = autoencoder.fit(x_train, epochs=20, validation_data=(x_test,))
    """

    reported = ("loss", "reconstruction")
    generative = False

    def __init__(
        self,
        encoder,
        decoder,
        likelihood="normal",
        l1=0.0,
        sparsity=0.0,
        sparsity_target=0.05,
        contraction=0.0,
        corruption=None,
        seed=0,
        missing=None,
        **kwargs,
    ):
        if chosen := sorted({"posterior", "prior", "objective"} & kwargs.keys()):
            raise TypeError(
                f"An Autoencoder has no `{chosen[0]}` to choose: its loss is -log p(x|code) and what `l1`, `sparsity` and "
                "`contraction` ask. For the rest, use kvae.VAE."
            )
        parts = {
            "posterior": Code(),
            "prior": "standard_normal",  # of no effect
            "objective": Reconstruction(l1, sparsity, sparsity_target, contraction, corruption),
        }
        super().__init__(encoder, decoder, likelihood, **parts, seed=seed, missing=missing, **kwargs)

    def posterior_params(self, x, mask=None, training=False):
        if training and self.objective.corruption is not None:
            x, condition = inputs.split_condition(self, x)
            x = self.objective.corruption(x, training=True)
            if mask is not None:
                x = tf.where(mask, x, 0.0)  # what was not observed has nothing to corrupt
            x = x if condition is None else (x, condition)
        return super().posterior_params(x, mask, training)

    def terms(self, x, *args, **kwargs):
        if not self.objective.contraction:
            return super().terms(x, *args, **kwargs)
        data, condition = inputs.split_condition(self, x)
        with tf.GradientTape() as tape:
            tape.watch(data)
            terms = super().terms(data if condition is None else (data, condition), *args, **kwargs)
            code = terms.posterior_params
        jacobian = tape.batch_jacobian(code, data)  # [B, D, *data_shape]
        terms.memo["squared_jacobian"] = tf.reduce_sum(tf.square(jacobian), axis=list(range(1, len(jacobian.shape))))
        return terms

    def sample(self, *args, prior=None, **kwargs):
        """As `VAE.sample`, by a prior that was fitted to the codes; without one it is refused.

        Example:
            >>> autoencoder.sample(16, prior=kvae.priors.fit_mixture(autoencoder, x_train))
        """
        if prior is None:
            raise ValueError(
                "An autoencoder cannot sample: nothing tells how its codes are distributed. Fit a prior to them, "
                "`sample(prior=kvae.priors.fit_mixture(autoencoder, x_train))`, or use a kvae.VAE."
            )
        return super().sample(*args, prior=prior, **kwargs)

    def get_config(self):
        config = super().get_config()
        for name in ("posterior", "prior", "objective"):
            del config[name]
        asked = self.objective.get_config()
        return {**config, **{name: asked[name] for name in _ASKED}}


# What an autoencoder asks of its code: arguments of both classes.
_ASKED = ("l1", "sparsity", "sparsity_target", "contraction", "corruption")
