"""Priors fitted to the codes of a trained model: where draws from its own prior miss them."""

import math
import warnings

import keras
import numpy as np
import tensorflow as tf

from kvae import checks, inputs, posteriors, random
from kvae.flows.steps import LOG_SCALE_BOUND
from kvae.priors.flow import Flow
from kvae.priors.mixtures import NormalMixture

# The share of the examples by which the fit of a flow is judged, and how many epochs it may be without progress.
_HELD_OUT, _PATIENCE = 0.1, 15
# The least variance of a component, as a share of that of the codes; scikit-learn takes it in their units.
_LEAST_VARIANCE = 1e-6


def fit_mixture(vae, x, num_components=10, covariance="full", num_samples=1, seed=0, batch_size=256):
    """The mixture of normals that fits the codes of x, z ~ q(z|x), best: scikit-learn's expectation-maximisation.

    The fitted prior serves `vae.sample(prior=...)`; or a new `kvae.VAE` of the same networks, whose likelihoods and
    exports then use it. With `kvae.Autoencoder` the codes have no noise, and the prior makes it able to sample. A warning
    says where the codes are more correlated than such a prior can be, see `kvae.posteriors.FullNormal`.

    References: Dai and Wipf 2019, arXiv:1903.05789 (a second stage that learns q(z)); Ghosh et al. 2020,
    arXiv:1903.12436 (a mixture of 10 normals fitted to the codes of an autoencoder).

    Args:
        vae: `kvae.VAE` or `kvae.Autoencoder`, trained.
        x: the training examples: arrays, (x, c) for a conditional model, or a data set.
        num_components: K.
        covariance: "full" or "diagonal", of each component.
        num_samples: draws of z per example.
        seed: int; the same seed gives the same prior.
        batch_size: examples at a time.

    Returns:
        `kvae.priors.NormalMixture`, built.

    Raises:
        ValueError: for too few examples, an x that the model does not take, or codes that are not finite.
        TypeError: if `vae` is no model of kvae.

    Example:
        >>> prior = kvae.priors.fit_mixture(vae, x_train)
        >>> images = vae.sample(16, prior=prior, seed=1)
        >>> better = kvae.VAE(vae.encoder, vae.decoder, vae.likelihood, prior=prior)
    """
    from sklearn.mixture import GaussianMixture

    _check_model(vae)
    seed = checks.check_seed(seed)
    num_samples = checks.check_count("num_samples", num_samples)
    prior = NormalMixture(num_components, covariance, seed)
    params = _posterior_params(vae, x, batch_size)
    dim, count = vae.latent_dim, len(params)
    needed = prior.num_components * (dim + 1 if covariance == "full" else 2)
    if count < needed:
        raise ValueError(
            f"A mixture of {prior.num_components} components with {covariance} covariance in {dim} dimensions needs at "
            f"least {needed} examples. Received: {count}. Pass more of them, or a smaller `num_components`."
        )
    z = _codes(vae, params, seed, num_samples, batch_size)
    found = GaussianMixture(
        prior.num_components,
        covariance_type={"full": "full", "diagonal": "diag"}[covariance],
        reg_covar=_LEAST_VARIANCE * float(z.var(axis=0).mean()) or _LEAST_VARIANCE,  # codes may have any scale
        max_iter=500,
        random_state=seed % 2**32,
    ).fit(z)
    prior.build(vae.data_shape, dim)
    prior.means.assign(found.means_)
    prior.logits.assign(np.log(found.weights_))
    if covariance == "full":
        factors = np.linalg.cholesky(found.covariances_)
        _warn_of_correlation(factors)
        scales = [posteriors.full_params(np.zeros(dim), factor)[dim:] for factor in factors]
    else:
        scales = np.log(found.covariances_)
    prior.scales.assign(np.stack(scales))
    return prior


def fit_flow(
    vae,
    x,
    num_steps=4,
    hidden=(64,),
    kind="coupling",
    epochs=200,
    learning_rate=3e-3,
    seed=0,
    batch_size=128,
):
    """A normalising flow trained on the codes of x, z ~ q(z|x), by maximum likelihood.

    It starts as the normal with the means and variances of the codes. In each epoch the codes are drawn anew; a tenth
    of the examples is held out, training stops when these have not improved for 15 epochs, and the best weights are
    kept. Used as `fit_mixture` is.

    References: Dai and Wipf 2019, arXiv:1903.05789 (a second stage that learns q(z)); for flows see
    `kvae.priors.Flow`.

    Args:
        vae: `kvae.VAE` or `kvae.Autoencoder`, trained.
        x: the training examples: arrays, (x, c) for a conditional model, or a data set.
        num_steps: see `kvae.priors.Flow`.
        hidden: see there.
        kind: see there.
        epochs: how many at most.
        learning_rate: of Adam.
        seed: int; the same seed gives the same prior.
        batch_size: examples at a time.

    Returns:
        `kvae.priors.Flow`, trained.

    Raises:
        ValueError: for fewer than 20 examples, an x that the model does not take, or codes that are not finite.
        FloatingPointError: if training diverged.
        TypeError: if `vae` is no model of kvae.

    Example:
        >>> images = vae.sample(16, prior=kvae.priors.fit_flow(vae, x_train), seed=1)
    """
    _check_model(vae)
    seed = checks.check_seed(seed)
    epochs, batch_size = checks.check_count("epochs", epochs), checks.check_count("batch_size", batch_size)
    prior = Flow(num_steps, hidden, kind)
    params = _posterior_params(vae, x, batch_size)
    if len(params) < 20:
        raise ValueError(f"To fit a flow takes at least 20 examples. Received: {len(params)}.")
    z = _codes(vae, params, seed, 1, batch_size)
    prior.build(vae.data_shape, vae.latent_dim)
    _initialize(prior, seed)
    standardise(prior, z)

    order = np.random.default_rng(seed).permutation(len(params))
    held_out, rest = np.split(order.astype("int32"), [round(_HELD_OUT * len(params))])

    @tf.autograph.experimental.do_not_convert
    def one_epoch(epoch):
        shuffled = tf.random.experimental.stateless_shuffle(rest, seed=[seed % 2**31, tf.cast(epoch, tf.int32)])
        return tf.data.Dataset.from_tensor_slices(shuffled).batch(batch_size).map(lambda row: draw(row, epoch))

    @tf.autograph.experimental.do_not_convert
    def draw(row, epoch):
        chosen = tf.gather(params, row)
        z = vae.posterior.from_noise(chosen, random.normal(seed, epoch, row, vae.posterior.noise_size(chosen)))
        return z, z  # Keras wants a target

    data = tf.data.Dataset.range(epochs).flat_map(one_epoch).prefetch(tf.data.AUTOTUNE)
    model = _LogDensity(prior)
    model.compile(keras.optimizers.Adam(learning_rate), loss=_negative, jit_compile=False)
    stop = keras.callbacks.EarlyStopping(patience=_PATIENCE, restore_best_weights=True)
    model.fit(
        data,
        epochs=epochs,
        steps_per_epoch=-(-len(rest) // batch_size),
        validation_data=(z[held_out], z[held_out]),
        callbacks=[stop, keras.callbacks.TerminateOnNaN()],
        shuffle=False,  # the data set does
        verbose=0,
    )
    if not all(np.isfinite(each).all() for each in prior.get_weights()):
        raise FloatingPointError(
            f"The flow diverged and is of no use. Try a lower `learning_rate`. Received: learning_rate={learning_rate!r}"
        )
    return prior


def standardise(flow, z):
    """Sets a new `Flow` to the normal with independent dimensions that has the means and variances of z `[N, D]`.

    Of the steps that move a dimension the last ones do it, as few as the scale takes: each has its bound.
    """
    mean, log_scale, dim = z.mean(axis=0), np.log(z.std(axis=0) + 1e-6), z.shape[-1]
    if flow.kind == "maf":
        moves = [(slice(0, dim), flow.steps)]
    else:  # one half each
        moves = [(slice(0, dim // 2), flow.steps[1::2]), (slice(dim // 2, dim), flow.steps[::2])]
    reach = 0.99 * LOG_SCALE_BOUND
    for part, steps in moves:
        steps = steps[-math.ceil(max(1.0, np.abs(log_scale[part]).max() / reach)) :]
        for step in steps:
            share, shift = log_scale[part] / len(steps), mean[part] if step is steps[-1] else 0.0 * mean[part]
            if flow.kind == "maf":  # which is written from z to the noise
                share, shift = -share, -shift * np.exp(-share)
            raw = LOG_SCALE_BOUND * np.arctanh(np.clip(share, -reach, reach) / LOG_SCALE_BOUND)
            step.network.biases[-1].assign(np.concatenate([shift, raw]))


class _LogDensity(keras.Model):
    """log p(z) `[B, 1]`, as a model that Keras can train."""

    def __init__(self, prior):
        super().__init__(name="log_density", dtype="float32")
        self.prior = prior

    def call(self, z):
        return self.prior.distribution(None).log_prob(z)[:, None]


def _negative(_, log_density):
    return -log_density


def _initialize(flow, seed):
    """Draws the kernels of the hidden layers by the seed, not by the state of Keras."""
    initializer = keras.initializers.GlorotUniform(seed=keras.random.SeedGenerator(seed % 2**31))
    for step in flow.steps:
        for kernel in step.network.kernels[:-1]:
            kernel.assign(initializer(kernel.shape))


def _posterior_params(vae, x, batch_size):
    """What the posteriors of x are made of, numpy `[N, P]`."""
    params = inputs.map_batches(vae.as_graph(_graph_of_params), inputs.checked_x(vae, x), batch_size)
    if not np.isfinite(params).all():
        raise ValueError(
            "The encoder's output is not finite for some examples. Was the model trained, and on such data?"
        )
    return params


def _graph_of_params(vae, x):
    return vae.posterior_params(x)


def _codes(vae, params, seed, num_samples, batch_size):
    """Draws z ~ q(z|x) of posteriors `[N, P]`, numpy `[N * num_samples, D]`."""
    draw, count = vae.as_graph(_graph_of_codes), tf.constant(num_samples)
    rows, seed = np.arange(len(params), dtype="int32"), tf.constant(seed & 0xFFFFFFFF, tf.uint32)
    blocks = [slice(start, start + batch_size) for start in range(0, len(params), batch_size)]
    return np.concatenate([draw(params[block], seed, rows[block], count).numpy() for block in blocks])


def _graph_of_codes(vae, params, seed, row, num_samples):
    noise = random.Noise(seed, random.EVALUATION, row).normal(vae.posterior.noise_size(params), num_samples)
    z = vae.posterior.from_noise(params, noise)  # [S, B, D]
    return tf.reshape(tf.transpose(z, [1, 0, 2]), [-1, vae.latent_dim])


def _warn_of_correlation(factors):
    """Warns if a component, of Cholesky factors `[K, D, D]`, is more correlated than a prior can be."""
    most = posteriors.total_correlation(factors).max()
    if most > posteriors.MAX_TOTAL_CORRELATION:
        warnings.warn(
            f"A component of the mixture has a total correlation of {most:.1f} nats, which is held to the "
            f"{posteriors.MAX_TOTAL_CORRELATION:g} that float32 can represent: draws will be spread less than the codes. "
            "Some dimensions of the code determine others; take covariance='diagonal', priors.fit_flow or fewer dimensions.",
            stacklevel=3,
        )


def _check_model(vae):
    if not hasattr(vae, "posterior_params"):
        raise TypeError(f"`vae` must be a model of kvae. Received: {vae!r} (of type {type(vae).__name__}).")
