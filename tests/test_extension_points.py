"""The cut of the core, proven: hard variants in about 20 lines each, none of which touches `vae.py`."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from building import digits, make_vae

import kvae
from kvae import likelihoods, objectives, priors

X, X_TEST = digits()
X = X[:256]


def fit(vae, x=X, epochs=2):
    return vae.fit(x, epochs=epochs, batch_size=64, verbose=0).history


# DReG: a gate on z


class DReG(objectives.Objective):
    """Doubly reparameterised gradients of the IWAE bound (Tucker et al. 2019, arXiv:1810.04152)."""

    def __init__(self, num_samples=8, **kwargs):
        super().__init__(**kwargs)
        self.num_samples = num_samples

    def gate(self, z, memo):
        @tf.custom_gradient
        def weigh_gradient(z):
            return tf.identity(z), lambda upstream: upstream * memo["weight"][..., None]

        return weigh_gradient(z)

    def loss(self, terms):
        log_q = terms.posterior_with_stopped_params().log_prob(terms.z)
        log_weight = terms.log_likelihood + terms.log_prior - log_q
        terms.memo["weight"] = weight = tf.stop_gradient(tf.nn.softmax(log_weight, axis=0))
        surrogate = tf.reduce_sum(weight * log_weight, axis=0)
        # the value of the bound, the gradient of the surrogate
        return -(objectives.log_mean_exp(tf.stop_gradient(log_weight)) + surrogate - tf.stop_gradient(surrogate))


def test_dreg_is_unbiased_and_has_less_variance():
    def gradients(objective, seed):
        vae = make_vae(objective=objective, seed=seed)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(vae.objective.loss(vae.terms(X[:32])))
        kernel = vae.encoder.layers[-1].kernel
        return tape.gradient(loss, kernel.value).numpy().ravel(), float(loss)

    runs = {}
    for make in (DReG, objectives.IWAE):
        pairs = [gradients(make(num_samples=16), seed) for seed in range(60)]
        runs[make] = np.array([gradient for gradient, _ in pairs])
        losses = [loss for _, loss in pairs]
        runs[make, "loss"] = losses
    np.testing.assert_allclose(runs[DReG, "loss"], runs[objectives.IWAE, "loss"], rtol=1e-5)
    error = np.sqrt((runs[DReG].var(axis=0) + runs[objectives.IWAE].var(axis=0)) / 60)
    difference = np.abs(runs[DReG].mean(axis=0) - runs[objectives.IWAE].mean(axis=0))
    assert (difference < 5 * error + 1e-6).all()  # 96 gradients, each within 5 standard errors
    assert runs[DReG].var(axis=0).mean() < 0.5 * runs[objectives.IWAE].var(axis=0).mean()


def test_dreg_trains_under_xla():
    vae = make_vae(objective=DReG(), compile_arguments={"jit_compile": True})
    history = fit(vae, epochs=4)
    assert history["loss"][-1] < history["loss"][0]


# VampPrior: a prior that uses the encoder


class VampPrior(priors.Prior):
    """A mixture of posteriors at learned pseudo-inputs (Tomczak and Welling 2018, arXiv:1705.07120)."""

    def __init__(self, num_components=10, **kwargs):
        super().__init__(**kwargs)
        self.num_components = num_components

    def build(self, data_shape=None, latent_dim=None):
        super().build(data_shape, latent_dim)
        self.pseudo_inputs = self.add_weight((self.num_components, *data_shape), "random_normal", name="pseudo_inputs")

    def distribution(self, vae):
        components = vae.posterior.distribution(vae.posterior_params(self.pseudo_inputs.value))
        mixture = tfp.distributions.Categorical(logits=tf.zeros(self.num_components))
        return tfp.distributions.MixtureSameFamily(mixture, components)

    @property
    def noise_size(self):
        return self.latent_dim + 2

    def from_noise(self, noise, vae):
        uniform = tf.exp(-0.5 * tf.reduce_sum(noise[..., -2:] ** 2, axis=-1))  # a squared radius is exponential
        component = tf.minimum(tf.cast(uniform * self.num_components, tf.int32), self.num_components - 1)
        params = tf.gather(vae.posterior_params(self.pseudo_inputs.value), component)
        return vae.posterior.from_noise(params, noise[..., :-2])


def test_vamp_prior_trains_and_samples():
    vae = make_vae(prior=VampPrior())
    before = vae.prior.pseudo_inputs.numpy()
    history = fit(vae, epochs=4)
    assert history["loss"][-1] < history["loss"][0]
    assert np.abs(vae.prior.pseudo_inputs.numpy() - before).max() > 1e-3
    assert vae.sample(5, seed=1).shape == (5, 8, 8, 1)


def test_vamp_prior_with_the_data_as_pseudo_inputs_is_the_aggregate_posterior():
    vae = make_vae(prior=VampPrior(num_components=20))
    vae.prior.pseudo_inputs.assign(X[:20])
    q = vae.encode(X[:20])
    z = q.sample(seed=[0, 1])
    brute_force = tf.reduce_logsumexp(q.log_prob(z[:, None]), axis=1) - np.log(20)
    np.testing.assert_allclose(vae.prior.distribution(vae).log_prob(z), brute_force, rtol=1e-5)


def test_vamp_prior_with_iwae():
    history = fit(make_vae(prior=VampPrior(), objective=objectives.IWAE(num_samples=4)))
    assert np.isfinite(history["loss"]).all()


# FactorVAE: a discriminator inside the one train_step


class FactorVAE(objectives.Objective):
    """Penalises total correlation by a density ratio (Kim and Mnih 2018, arXiv:1802.05983, equation 2)."""

    def __init__(self, gamma=5.0, **kwargs):
        super().__init__(**kwargs)
        self.gamma = gamma
        self.accuracy = keras.metrics.Mean(name="discriminator_loss")

    def build(self, data_shape=None, latent_dim=None):
        super().build(data_shape, latent_dim)
        self.discriminator = keras.Sequential(
            [keras.Input((latent_dim,)), keras.layers.Dense(16, activation="leaky_relu"), keras.layers.Dense(1)]
        )

    def loss(self, terms):
        # with stopped weights the penalty trains the encoder and not the discriminator
        stopped = [tf.stop_gradient(each.value) for each in self.discriminator.trainable_variables]
        logits, _ = self.discriminator.stateless_call(stopped, [], terms.z[0])
        return terms.reconstruction + terms.kl + self.gamma * logits[:, 0]

    def auxiliary_loss(self, terms):
        z = tf.stop_gradient(terms.z[0])
        order = tf.argsort(terms.noise.auxiliary(z.shape[-1]), axis=0)
        permuted = (
            tf.gather(z, order, axis=0, batch_dims=0)
            if z.shape[-1] == 1
            else tf.stack([tf.gather(z[:, dim], order[:, dim]) for dim in range(z.shape[-1])], axis=1)
        )
        real, fake = self.discriminator(z), self.discriminator(permuted)
        loss = tf.reduce_mean(tf.nn.softplus(-real)) + tf.reduce_mean(tf.nn.softplus(fake))
        self.accuracy.update_state(loss)
        return loss


def test_factor_vae_trains_both_in_one_step_with_its_own_metric():
    vae = make_vae(objective=FactorVAE())
    before = [each.numpy() for each in vae.objective.discriminator.trainable_variables]
    history = fit(vae, epochs=3)
    assert set(history) == {"loss", "elbo", "reconstruction", "kl", "discriminator_loss"}
    for old, new in zip(before, vae.objective.discriminator.trainable_variables, strict=True):
        assert np.abs(old - new.numpy()).max() > 0


def test_factor_vae_discriminator_loss_is_kept_out_of_loss():
    vae = make_vae(objective=FactorVAE(gamma=0.0), compile_arguments={"optimizer": keras.optimizers.SGD(0.0)})
    plain = make_vae(compile_arguments={"optimizer": keras.optimizers.SGD(0.0)})
    np.testing.assert_allclose(fit(vae)["loss"], fit(plain)["loss"], rtol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(vae.objective.loss(vae.terms(X[:8])))
    assert all(
        each is None for each in tape.gradient(loss, [v.value for v in vae.objective.discriminator.trainable_variables])
    )


# A masked likelihood


class LeftHalfBernoulli(likelihoods.Bernoulli):
    """Sees the left half of the image only: a likelihood that brings a mask of its own."""

    def distribution(self, params, mask=None):
        left = tf.range(self.data_shape[1]) < self.data_shape[1] // 2
        return super().distribution(params, tf.broadcast_to(left[:, None], self.data_shape))


def test_masked_likelihood():
    vae = make_vae(likelihood=LeftHalfBernoulli())
    assert np.isfinite(fit(vae)["loss"]).all()
    changed = X_TEST.copy()
    changed[:, :, 4:] = 1 - changed[:, :, 4:]
    np.testing.assert_array_equal(vae.terms(X_TEST, X_TEST).log_likelihood, vae.terms(X_TEST, changed).log_likelihood)


# A TFLite decoder with the noise function inside


def test_tflite_sampler_in_builtin_operations(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    vae = make_vae()
    fit(vae)

    class Sampler(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.int32, "seed"), tf.TensorSpec([], tf.int32, "stream")])
        def sample(self, seed, stream):
            z = vae.prior.from_noise(kvae.random.normal(seed, stream, 0, vae.prior.noise_size), vae)
            return {"x": vae.likelihood(vae.likelihood_params(z[None])), "z": z}

    archive = keras.export.ExportArchive()
    archive.track(vae)
    archive.add_endpoint("sample", Sampler().sample)
    archive.write_out(tmp_path / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"), signature_keys=["sample"])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    runner = Interpreter(model_content=converter.convert()).get_signature_runner("sample")
    expected = vae.sample(5, seed=17)
    for stream in range(5):
        result = runner(seed=np.int32(17), stream=np.int32(stream))
        np.testing.assert_allclose(result["z"], kvae.random.normal(17, stream, 0, 3), atol=1e-5)
        np.testing.assert_allclose(result["x"][0], expected[stream], atol=1e-5)
