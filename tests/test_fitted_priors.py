"""kvae.priors.fit_mixture and fit_flow: priors for models that are trained already."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from building import digits, make_vae, networks
from sklearn.mixture import GaussianMixture

import kvae
from kvae import posteriors, priors
from kvae.priors import fitted

X, X_TEST = digits()
FIT = {
    "mixture": lambda vae, x, **arguments: priors.fit_mixture(vae, x, num_components=5, **arguments),
    "diagonal mixture": lambda vae, x, **arguments: priors.fit_mixture(vae, x, 5, covariance="diagonal", **arguments),
    "flow": lambda vae, x, **arguments: priors.fit_flow(vae, x, num_steps=2, hidden=(16,), epochs=30, **arguments),
}


@pytest.fixture(scope="module")
def trained():
    """A VAE of beta = 0.05, whose codes the standard normal does not fit."""
    vae = make_vae(latent_dim=4, objective=kvae.objectives.ELBO(beta=0.05))
    vae.fit(X, epochs=15, batch_size=100, verbose=0)
    return vae


@pytest.fixture(scope="module")
def fits(trained):
    return {name: fit(trained, X) for name, fit in FIT.items()}


def with_prior(vae, prior):
    return kvae.VAE(vae.encoder, vae.decoder, vae.likelihood, vae.posterior, prior, seed=0)


def codes(vae, x, seed=0):
    return fitted._codes(vae, vae.as_graph(fitted._graph_of_params)(x).numpy(), seed, 1, 100)


def test_codes_are_draws_from_the_posterior(trained):
    q = trained.encode(X)
    noise = (codes(trained, X) - q.mean().numpy()) / q.stddev().numpy()
    assert scipy.stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
    again = fitted._codes(trained, trained.posterior_params(tf.constant(X)).numpy(), 0, 1, 7)
    np.testing.assert_allclose(again, codes(trained, X), atol=1e-6)  # however they are cut


@pytest.mark.parametrize(("covariance", "kind"), [("full", "full"), ("diagonal", "diag")])
def test_mixture_is_that_of_scikit_learn(trained, fits, covariance, kind):
    prior = fits["mixture" if covariance == "full" else "diagonal mixture"]
    assert isinstance(prior, priors.NormalMixture) and prior.built
    z = codes(trained, X)
    expected = GaussianMixture(5, covariance_type=kind, max_iter=500, random_state=0).fit(z)
    found = prior.distribution(trained).log_prob(z[:200])
    # float32 densities of a few nats against float64
    np.testing.assert_allclose(found, expected.score_samples(z[:200]), atol=1e-3)


@pytest.mark.parametrize("kind", ["coupling", "maf"])
def test_a_flow_starts_as_the_normal_of_the_codes(kind):
    z = np.random.default_rng(0).normal([5.0, -200.0, 0.0], [0.1, 20.0, 1.0], size=(500, 3)).astype("float32")
    flow = priors.Flow(num_steps=3, kind=kind)
    flow.build(latent_dim=3)
    fitted.standardise(flow, z)
    expected = scipy.stats.norm(z.mean(axis=0), z.std(axis=0)).logpdf(z).sum(axis=-1)
    np.testing.assert_allclose(flow.distribution(None).log_prob(z), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["coupling", "maf"])
def test_a_flow_starts_at_scales_that_take_several_steps(kind):
    z = np.random.default_rng(0).normal([5.0, -200.0, 0.0], [3e-3, 2000.0, 1.0], size=(500, 3)).astype("float32")
    flow = priors.Flow(num_steps=4, kind=kind)
    flow.build(latent_dim=3)
    fitted.standardise(flow, z)
    expected = scipy.stats.norm(z.mean(axis=0), z.std(axis=0) + 1e-6).logpdf(z).sum(axis=-1)
    # 5 is held to 5e-7 by float32, which is 2e-4 of the smallest scale
    np.testing.assert_allclose(flow.distribution(None).log_prob(z), expected, rtol=1e-3, atol=1e-2)


def autoencoder_of_codes(weights):
    """An autoencoder of 6 values whose codes are `x @ weights`."""
    dim = weights.shape[1]
    encoder = kvae.networks.dense_encoder((6,), dim, hidden=(), params_size=dim)
    encoder.set_weights([weights, np.zeros(dim)])
    return kvae.Autoencoder(encoder, kvae.networks.dense_decoder(dim, (6,), hidden=()))


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("scale", [1e-4, 1e3])
def test_mixture_of_codes_of_any_scale(covariance, scale):
    x = np.random.default_rng(0).normal(size=(300, 6)).astype("float32")
    one, other = (
        priors.fit_mixture(autoencoder_of_codes(factor * np.eye(6)[:, :2]), x, 2, covariance) for factor in (1, scale)
    )
    z = x[:50, :2]
    # the density of scaled values
    expected = one.distribution(None).log_prob(z) - 2 * np.log(scale)
    np.testing.assert_allclose(other.distribution(None).log_prob(scale * z), expected, atol=1e-2)


def test_a_mixture_more_correlated_than_float32_can_represent_says_so():
    x = np.random.default_rng(0).normal(size=(300, 6)).astype("float32")
    codes_alike = autoencoder_of_codes(np.ones((6, 4)) + 1e-3 * np.eye(6)[:, :4])
    with pytest.warns(UserWarning, match="total correlation of .* nats, which is held to the 12"):
        priors.fit_mixture(codes_alike, x, 1)
    priors.fit_mixture(codes_alike, x, 1, covariance="diagonal")


def test_a_flow_is_fitted_in_float32(dtype_policy):
    x = X[:60]
    expected = priors.fit_flow(make_vae(), x, num_steps=2, hidden=(4,), epochs=2)
    vae = make_vae()
    dtype_policy("mixed_float16")
    found = priors.fit_flow(vae, x, num_steps=2, hidden=(4,), epochs=2)
    for first, second in zip(expected.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)


@pytest.mark.parametrize("name", FIT)
def test_two_stages_are_more_likely_than_one(trained, fits, name):
    """On held-out data; and what the new model draws is what `sample(prior=...)` draws."""
    better = with_prior(trained, fits[name])
    before, after = (kvae.evaluation.log_likelihood(each, X_TEST, num_samples=100) for each in (trained, better))
    gain = kvae.evaluation.estimate(after - before)
    assert gain.mean > 4 * gain.standard_error and gain.mean > 0.5, str(gain)
    np.testing.assert_array_equal(better.sample(8, seed=3), trained.sample(8, seed=3, prior=fits[name]))


@pytest.mark.parametrize("name", FIT)
def test_saves_and_loads(trained, fits, name, tmp_path):
    better = with_prior(trained, fits[name])
    better.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(again.sample(8, seed=3), better.sample(8, seed=3))
    z = codes(trained, X[:50])
    np.testing.assert_array_equal(
        again.prior.distribution(again).log_prob(z), better.prior.distribution(better).log_prob(z)
    )


@pytest.mark.parametrize("name", FIT)
def test_draws_fall_among_the_codes(trained, fits, name):
    """Moments of draws are those of codes, which those of the standard normal are not."""
    z, prior = codes(trained, X), fits[name]
    drawn = prior.from_noise(kvae.random.normal(1, 0, tf.range(5000), prior.noise_size), trained).numpy()
    scale = z.std(axis=0)
    assert (scale > 1.2).all()
    # standard errors of a mean of 1,500 codes and 5,000 draws, and what a flow misses by stopping early
    assert (np.abs(drawn.mean(axis=0) - z.mean(axis=0)) < (4 / np.sqrt(1500) + 0.05) * scale).all()
    assert (np.abs(drawn.std(axis=0) / scale - 1) < 4 / np.sqrt(2 * 1500) + 0.05).all()


@pytest.mark.parametrize("name", FIT)
def test_same_seed_same_prior_same_samples(trained, fits, name):
    keras.utils.set_random_seed(123)  # the state of Keras does not matter
    few = FIT[name](trained, X[:200]), FIT[name](trained, X[:200])
    for first, second in zip(few[0].get_weights(), few[1].get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(trained.sample(4, prior=few[0], seed=5), trained.sample(4, prior=few[1], seed=5))
    assert np.abs(trained.sample(4, prior=few[0], seed=5) - trained.sample(4, prior=few[0], seed=6)).max() > 0
    np.testing.assert_allclose(
        trained.sample(8, prior=few[0], seed=5)[:4], trained.sample(4, prior=few[0], seed=5), atol=1e-6
    )


def test_fit_leaves_the_model_as_it_was(trained):
    before = [each.copy() for each in trained.get_weights()]
    FIT["flow"](trained, X[:100])
    for old, new in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_data_sets_and_other_posteriors():
    head = posteriors.FullNormal()
    encoder, decoder = networks(params_size=head.params_size(3))
    vae = kvae.VAE(encoder, decoder, posterior=head)
    prior = priors.fit_mixture(
        vae, tf.data.Dataset.from_tensor_slices(X[:100]).batch(32), num_components=3, num_samples=2
    )
    assert vae.sample(4, prior=prior, mean=False).shape == (4, 8, 8, 1)


def test_an_autoencoder_samples_with_a_fitted_prior():
    autoencoder = kvae.Autoencoder(*networks(params_size=3), likelihood="bernoulli")
    autoencoder.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    autoencoder.fit(X, epochs=5, batch_size=100, verbose=0)
    prior = priors.fit_mixture(autoencoder, X)
    drawn = prior.from_noise(kvae.random.normal(1, 0, tf.range(2000), prior.noise_size), autoencoder).numpy()
    z = autoencoder.transform(X)
    assert (np.abs(drawn.mean(axis=0) - z.mean(axis=0)) < 0.2 * z.std(axis=0)).all()
    images = autoencoder.sample(16, prior=prior, seed=1)
    assert images.shape == (16, 8, 8, 1)
    np.testing.assert_array_equal(images, autoencoder.sample(16, prior=prior, seed=1))
    with pytest.raises(ValueError, match="cannot sample.*Fit a prior"):
        autoencoder.sample(16)


def test_refusals(trained, fits):
    with pytest.raises(
        ValueError, match="5 components with full covariance in 4 dimensions needs at least 25 examples"
    ):
        FIT["mixture"](trained, X[:24])
    with pytest.raises(ValueError, match="at least 20 examples. Received: 19"):
        FIT["flow"](trained, X[:19])
    with pytest.raises(TypeError, match="must be a model of kvae"):
        FIT["mixture"](trained.encoder, X)
    with pytest.raises(ValueError, match=r"`x` must have shape \[batch, 8, 8, 1\]"):
        FIT["mixture"](trained, X[..., 0])
    with pytest.raises(ValueError, match="`x` must be finite"):
        FIT["flow"](trained, np.full_like(X[:50], np.nan))
    with pytest.raises(ValueError, match="`num_components` must be a whole number"):
        priors.fit_mixture(trained, X, num_components=0)
    with pytest.raises(ValueError, match="`epochs` must be a whole number"):
        priors.fit_flow(trained, X, epochs=0)
    with pytest.raises(FloatingPointError, match="lower `learning_rate`.*Received: learning_rate=1e[+]30"):
        priors.fit_flow(trained, X, epochs=1, learning_rate=1e30)
    other = make_vae(latent_dim=3)
    with pytest.raises(ValueError, match="must have the 3 latent dimensions of the model. Received: one of 4"):
        other.sample(2, prior=fits["mixture"])
    with pytest.raises(ValueError, match="must have the 3 latent dimensions of the model. Received: one of 4"):
        with_prior(other, fits["flow"])
    with pytest.raises(ValueError, match="Received: one that is not built yet"):
        trained.sample(2, prior=priors.NormalMixture(5))
    with pytest.raises(TypeError, match="`prior` must be a built kvae prior"):
        trained.sample(2, prior=GaussianMixture(3))
    other.encoder.layers[-1].set_weights([np.full((16, 6), np.nan), np.zeros(6)])
    for name in ("mixture", "flow"):
        with pytest.raises(ValueError, match="The encoder's output is not finite"):
            FIT[name](other, X[:50])
