import functools
import inspect

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from building import digits, networks
from test_flows import randomized

import kvae
from kvae import likelihoods, posteriors, priors
from kvae.objectives import Terms

tfd = tfp.distributions

X, X_TEST = digits()

# Every class, in every variant that computes something of its own.
PRIORS = {
    "StandardNormal": lambda: priors.StandardNormal(),
    "Normal": lambda: priors.Normal(mean=[1.0, 0.0, -1.0], scale=0.5),
    "Normal of full covariance": lambda: priors.Normal(0.5, FACTOR, covariance="full"),
    "NormalMixture": lambda: priors.NormalMixture(num_components=4),
    "NormalMixture of full covariance": lambda: priors.NormalMixture(num_components=4, covariance="full"),
    "VampPrior": lambda: priors.VampPrior(num_components=7),
    "VampPrior with weights": lambda: priors.VampPrior(num_components=7, learn_weights=True),
    "Flow": lambda: priors.Flow(num_steps=2, hidden=(8,)),
    "Flow of maf": lambda: priors.Flow(num_steps=2, hidden=(8,), kind="maf"),
}
POSTERIORS = {
    "DiagonalNormal": lambda: posteriors.DiagonalNormal(),
    "FullNormal": lambda: posteriors.FullNormal(),
    "Flow": lambda: posteriors.Flow(hidden=(8,), context_size=2),
    "Flow of coupling": lambda: posteriors.Flow(hidden=(8,), kind="coupling"),
}
FACTOR = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.4, 1.5]])


def vae_with(prior, posterior="diagonal_normal", likelihood="bernoulli", **compile_arguments):
    posterior = posteriors.get(posterior)
    encoder, decoder = networks(params_size=posterior.params_size(3))
    vae = kvae.VAE(encoder, decoder, likelihood, posterior, prior, seed=0)
    vae.compile(keras.optimizers.Adam(1e-2), **(compile_arguments or {"run_eagerly": True}))  # sooner done than traced
    return vae


def lively(prior, **arguments):
    """A VAE whose prior is no longer what it starts as."""
    vae = vae_with(prior, **arguments)
    rng = np.random.default_rng(5)
    if isinstance(vae.prior, priors.Flow):
        randomized(vae.prior.steps, scale=0.3)
    elif not isinstance(vae.prior, priors.Normal):
        for each in vae.prior.trainable_variables:
            each.assign_add(0.7 * rng.normal(size=each.shape))
    return vae


def draws(vae, count, stream=0):
    return vae.prior.from_noise(kvae.random.normal(3, stream, tf.range(count), vae.prior.noise_size), vae).numpy()


def test_every_class_has_a_case():
    classes = {
        name
        for name, each in inspect.getmembers(priors, inspect.isclass)
        if issubclass(each, priors.Prior) and each is not priors.Prior
    }
    assert classes == {type(make()).__name__ for make in PRIORS.values()}


# What holds for every prior


@pytest.mark.parametrize("name", PRIORS)
def test_shapes(name):
    vae = lively(PRIORS[name]())
    p = vae.prior.distribution(vae)
    assert p.batch_shape == () and p.event_shape == (3,)
    noise = kvae.random.normal(0, 0, tf.range(10), vae.prior.noise_size)
    z = vae.prior.from_noise(noise, vae)
    assert z.shape == (10, 3) and z.dtype == tf.float32
    again = vae.prior.from_noise(tf.reshape(noise, [2, 5, -1]), vae)
    assert p.log_prob(again).shape == (2, 5)
    np.testing.assert_allclose(tf.reshape(again, [10, 3]), z, atol=1e-6)


@pytest.mark.parametrize("name", PRIORS)
def test_draws_have_the_density_that_is_stated(name):
    """E_p[r / p] = 1 for any r within the tails of p, and the draws are spread as those of TFP are."""
    vae = lively(PRIORS[name]())
    z, p = draws(vae, 20_000), vae.prior.distribution(vae)
    narrow = tfd.MultivariateNormalDiag(z.mean(axis=0), 0.4 * z.std(axis=0))
    ratio = tf.exp(narrow.log_prob(z) - p.log_prob(z)).numpy()
    assert np.abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio))
    others = p.sample(20_000, seed=[1, 2]).numpy()
    for direction in np.vstack([np.eye(3), [1, 1, 1], [1, -1, 0]]):
        assert scipy.stats.ks_2samp(z @ direction, others @ direction).pvalue > 1e-4


@pytest.mark.parametrize("name", PRIORS)
def test_fits_and_continues_where_it_stopped(tmp_path, name):
    vae = vae_with(PRIORS[name]())
    before = [each.numpy() for each in vae.prior.trainable_variables]
    vae.fit(X[:64], batch_size=32, epochs=2, verbose=0)
    for old, new in zip(before, vae.prior.trainable_variables, strict=True):
        assert np.abs(old - new.numpy()).max() > 0
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    assert again.evaluate(X_TEST[:50], verbose=0) == vae.evaluate(X_TEST[:50], verbose=0)
    np.testing.assert_array_equal(draws(again, 4), draws(vae, 4))
    assert again.prior.get_config() == vae.prior.get_config()


@pytest.mark.parametrize("name", ["NormalMixture of full covariance", "VampPrior with weights", "Flow", "Flow of maf"])
def test_density_and_its_gradient_under_xla(name):
    vae = lively(PRIORS[name]())
    z = tf.constant(draws(vae, 8))

    def log_prob(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = vae.prior.distribution(vae).log_prob(z)
        return [value, *tape.gradient(value, [z, *(each.value for each in vae.prior.trainable_variables)])]

    for eager, compiled in zip(log_prob(z), tf.function(log_prob, jit_compile=True)(z), strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=1e-3, atol=1e-4)  # sums over examples and components


@pytest.mark.parametrize("name", PRIORS)
def test_a_sample_does_not_depend_on_how_many_there_are(name):
    vae = lively(PRIORS[name]())
    np.testing.assert_allclose(draws(vae, 9)[:2], draws(vae, 2), atol=1e-6)


# Normal


def test_kl_between_normals_is_closed_form():
    """Diagonal and full against diagonal and full: the textbook formula in float64, and Monte Carlo."""
    rng = np.random.default_rng(0)
    for head in (posteriors.DiagonalNormal(), posteriors.FullNormal()):
        params = rng.normal(size=(4, head.params_size(3))).astype("float32")
        q = head.distribution(params)
        for covariance, scale in (("diagonal", [0.5, 1.0, 2.0]), ("full", FACTOR)):
            prior = priors.Normal([1.0, 0.0, -1.0], scale, covariance)
            prior.build(latent_dim=3)
            p = prior.distribution(None)
            factor = np.diag(scale) if covariance == "diagonal" else FACTOR
            precision = np.linalg.inv(factor @ factor.T)
            moved = q.mean().numpy().astype("float64") - [1.0, 0.0, -1.0]
            own = q.covariance().numpy().astype("float64")
            formula = 0.5 * (
                np.einsum("ij,bji->b", precision, own)
                + np.einsum("bi,ij,bj->b", moved, precision, moved)
                - 3
                + 2 * np.linalg.slogdet(factor)[1]
                - np.linalg.slogdet(own)[1]
            )
            np.testing.assert_allclose(Terms(q, p, None, None).kl, formula, rtol=2e-5)  # float32, two solves
            z = head.from_noise(params, rng.normal(size=(50_000, 4, 3)).astype("float32"))
            values = (q.log_prob(z) - p.log_prob(z)).numpy().astype("float64")
            assert np.all(np.abs(values.mean(axis=0) - formula) < 4 * values.std(axis=0) / np.sqrt(len(values)))


@pytest.mark.parametrize("name", [name for name in PRIORS if "Normal" not in name or "Mixture" in name])
def test_kl_to_any_other_prior_is_monte_carlo(name):
    vae = lively(PRIORS[name]())
    terms = vae.terms(X[:6], num_samples=5)
    with pytest.raises(NotImplementedError):
        terms.posterior.kl_divergence(terms.prior)
    np.testing.assert_allclose(terms.kl, np.mean(terms.log_posterior - terms.log_prior, axis=0), rtol=1e-6)


def test_normal_means_what_it_is_given():
    for scale, factor in ((None, np.eye(3)), (2.0, 2 * np.eye(3)), ([1, 2, 3], np.diag([1, 2, 3])), (FACTOR, FACTOR)):
        for covariance in ("diagonal", "full"):
            if covariance == "diagonal" and np.ndim(scale) == 2:
                continue
            prior = priors.Normal(np.array([1, 2, 3]), None if scale is None else np.array(scale), covariance)
            prior.build(latent_dim=3)
            p = prior.distribution(None)
            np.testing.assert_allclose(p.mean(), [1, 2, 3], rtol=1e-6)
            np.testing.assert_allclose(p.covariance(), factor @ factor.T, rtol=1e-5, atol=1e-6)


def test_default_normal_starts_as_the_standard_normal():
    for covariance in ("diagonal", "full"):
        vae = vae_with(priors.Normal(covariance=covariance))
        standard = vae_with("standard_normal")
        assert vae.evaluate(X_TEST[:50], verbose=0) == pytest.approx(
            standard.evaluate(X_TEST[:50], verbose=0), rel=1e-6
        )


def test_normal_that_is_given_stays():
    vae = vae_with(priors.Normal(mean=1.0, scale=2.0, learned=False))
    assert vae.prior.trainable_variables == []
    before = vae.prior.params.numpy()
    vae.fit(X[:32], verbose=0)
    np.testing.assert_array_equal(vae.prior.params.numpy(), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"covariance": "diag"}, "`covariance` must be one of 'diagonal', 'full'"),
        ({"mean": [np.nan, 1, 2]}, "`mean` must be a number or a list .* finite"),
        ({"mean": np.eye(3)}, "`mean` must be a number or a list"),
        ({"scale": np.eye(3)}, "`scale` must be a number or a list"),
        ({"scale": [1, 0, 1]}, "`scale` must be positive"),
        ({"scale": np.ones((3, 3)), "covariance": "full"}, "lower triangular matrix"),
        ({"scale": np.ones((2, 3)), "covariance": "full"}, "lower triangular matrix"),
        ({"scale": -np.eye(3), "covariance": "full"}, "positive diagonal"),
        ({"scale": [[1, 0], [1e6, 1]], "covariance": "full"}, "total correlation of 13.8 nats"),
        ({"scale": 1e5}, "`scale` must hold standard deviations from 3.1e-07 to 22026"),
        ({"scale": [1.0, 1e-7]}, "`scale` must hold standard deviations"),
        ({"scale": [[1e5, 0], [0, 1]], "covariance": "full"}, "`scale` must hold standard deviations"),
    ],
)
def test_wrong_moments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        priors.Normal(**arguments)


@pytest.mark.parametrize("arguments", [{"mean": [1.0, 2.0]}, {"scale": np.eye(4), "covariance": "full"}])
def test_moments_of_another_dimension_are_refused(arguments):
    with pytest.raises(ValueError, match="`mean` and `scale` of 3 dimensions"):
        vae_with(priors.Normal(**arguments))


# NormalMixture


def test_mixture_of_one_component_is_the_normal():
    for covariance in ("diagonal", "full"):
        mixture, normal = lively(priors.NormalMixture(1, covariance)), vae_with(priors.Normal(covariance=covariance))
        normal.prior.params.assign(tf.concat([mixture.prior.means.value, mixture.prior.scales.value], axis=-1)[0])
        p, q = mixture.prior.distribution(mixture), normal.prior.distribution(normal)
        z = draws(mixture, 50)
        np.testing.assert_allclose(p.log_prob(z), q.log_prob(z), rtol=1e-5)
        noise = kvae.random.normal(0, 0, tf.range(50), 5)
        np.testing.assert_allclose(
            mixture.prior.from_noise(noise, mixture), normal.prior.from_noise(noise[:, :3], normal), atol=1e-6
        )


def test_density_of_narrow_components_far_from_the_origin():
    mixture = lively(priors.NormalMixture(5)).prior
    mean, log_var = mixture.means.numpy() + 4.0, np.full([5, 3], -12.0)  # 4 is 1,600 standard deviations
    mixture.means.assign(mean)
    mixture.scales.assign(log_var)
    rows = np.random.default_rng(0).normal(size=[2, 5, 3])
    z = (mean + np.exp(log_var / 2) * rows).astype("float32")  # [2, 5, D]
    expected = scipy.stats.norm.logpdf(z[:, :, None].astype("float64"), mean, np.exp(log_var / 2)).sum(-1)
    weights = scipy.special.log_softmax(mixture.logits.numpy().astype("float64"))
    expected = scipy.special.logsumexp(expected + weights, axis=-1)
    # Both see the same float32 numbers; of what float32 would make of them, 1e-7 of 1,600^2, a quarter of a nat is lost.
    np.testing.assert_allclose(mixture.distribution(None).log_prob(z), expected, rtol=1e-5)


def test_components_begin_apart_and_the_same_each_time():
    first, second, other = (priors.NormalMixture(5, seed=seed) for seed in (0, 0, 1))
    for each in (first, second, other):
        each.build(latent_dim=3)
    np.testing.assert_array_equal(first.means.numpy(), second.means.numpy())
    assert np.abs(first.means.numpy() - other.means.numpy()).min() > 0
    assert scipy.spatial.distance.pdist(first.means.numpy()).min() > 0.1


def test_components_are_chosen_as_often_as_their_weights_say():
    vae, count = vae_with(priors.NormalMixture(4)), 20_000
    weights = np.array([0.5, 0.3, 0.15, 0.05])
    vae.prior.logits.assign(np.log(weights) + 3)
    vae.prior.means.assign(100 * np.eye(4, 3))
    nearest = scipy.spatial.distance.cdist(draws(vae, count), vae.prior.means.numpy()).argmin(axis=1)
    frequency = np.bincount(nearest, minlength=4) / count
    assert np.all(np.abs(frequency - weights) < 4 * np.sqrt(weights * (1 - weights) / count))


def test_a_component_of_no_weight_is_never_chosen():
    vae = vae_with(priors.NormalMixture(3))
    vae.prior.logits.assign([-200.0, 0.0, -200.0])
    vae.prior.means.assign(100 * np.eye(3))
    assert (draws(vae, 5_000).argmax(axis=1) == 1).all()
    # the ends of what noise can be: both uniform numbers at zero and at one
    for noise in ([0, 0, 0, 0, 0], [0, 0, 0, 5.77, 5.77]):
        assert np.argmax(vae.prior.from_noise(tf.constant([noise], tf.float32), vae)) == 1


@pytest.mark.parametrize("prior", [priors.NormalMixture, priors.VampPrior])
def test_wrong_number_of_components_is_refused(prior):
    with pytest.raises(ValueError, match="`num_components` must be a whole number of at least 1. Received"):
        prior(num_components=0)


# VampPrior


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_vamp_prior_at_data_is_the_aggregated_posterior(posterior):
    vae = vae_with(priors.VampPrior(num_components=20), posterior=POSTERIORS[posterior]())
    if isinstance(vae.posterior, posteriors.Flow):
        randomized(vae.posterior.steps)
    vae.prior.initialize(X[:20])
    x, z = X[:20], draws(vae, 12)
    each = [vae.encode(x[k : k + 1]).log_prob(z[:, None])[:, 0] for k in range(20)]
    brute_force = scipy.special.logsumexp(np.array(each, "float64"), axis=0) - np.log(20)
    p = vae.prior.distribution(vae)
    np.testing.assert_allclose(p.log_prob(z), brute_force, rtol=1e-4)
    np.testing.assert_allclose(p.log_prob(z.reshape(3, 4, 3)), brute_force.reshape(3, 4), rtol=1e-4)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_vamp_prior_draws_from_every_posterior(posterior):
    vae = lively(priors.VampPrior(num_components=5), posterior=POSTERIORS[posterior]())
    if isinstance(vae.posterior, posteriors.Flow):
        randomized(vae.posterior.steps)
    z, others = draws(vae, 10_000), vae.prior.distribution(vae).sample(10_000, seed=[1, 2]).numpy()
    for dim in range(3):
        assert scipy.stats.ks_2samp(z[:, dim], others[:, dim]).pvalue > 1e-4
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(vae.terms(X[:4]).log_prior)
    variables = [vae.prior.pseudo_inputs, vae.encoder.layers[-1].kernel, *vae.posterior.trainable_variables]
    for gradient in tape.gradient(value, [each.value for each in variables]):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_learned_weights_of_the_vamp_prior():
    vae = vae_with(priors.VampPrior(num_components=3, learn_weights=True))
    vae.prior.initialize(X[:3])
    weights = np.array([0.7, 0.2, 0.1])
    vae.prior.logits.assign(np.log(weights))
    z = draws(vae, 10)
    mixture = np.log(np.exp(vae.encode(vae.prior.pseudo_inputs.numpy()).log_prob(z[:, None])) @ weights)
    np.testing.assert_allclose(vae.prior.distribution(vae).log_prob(z), mixture, rtol=1e-5)
    names = [each.name for each in vae_with(priors.VampPrior(num_components=3)).prior.trainable_variables]
    assert names == ["pseudo_inputs"]


def test_pseudo_inputs_stay_in_the_support_and_can_return():
    prior = priors.VampPrior(num_components=4)
    vae = vae_with(prior)
    seen = []
    vae.posterior_params, whole = lambda x: seen.append(x) or whole(x), vae.posterior_params
    prior.pseudo_inputs.assign(np.linspace(-2, 3, 4 * 64).reshape(4, 8, 8, 1))
    with tf.GradientTape() as tape:
        prior.distribution(vae)
        total = tf.reduce_sum(seen[0])  # descent would lower every value
    np.testing.assert_array_equal(seen[0], np.clip(prior.pseudo_inputs.numpy(), 0, 1))
    gradient = tape.gradient(total, prior.pseudo_inputs.value).numpy()
    np.testing.assert_array_equal(gradient, prior.pseudo_inputs.numpy() > 0)  # from above one they come back
    free = vae_with(priors.VampPrior(num_components=4), likelihood=likelihoods.Normal())
    free.posterior_params, whole = lambda x: seen.append(x) or whole(x), free.posterior_params
    free.prior.pseudo_inputs.assign(prior.pseudo_inputs)
    free.prior.distribution(free)
    np.testing.assert_array_equal(seen[-1], prior.pseudo_inputs.numpy())


def test_initialize_takes_different_rows_by_the_seed():
    vae = vae_with(priors.VampPrior(num_components=30))
    x = np.arange(40, dtype="float64").reshape(40, 1, 1, 1) * np.ones((1, 8, 8, 1)) / 40
    chosen = []
    for seed in (0, 0, -1):
        vae.prior.initialize(x, seed=seed)
        chosen.append(vae.prior.pseudo_inputs.numpy()[:, 0, 0, 0])
    np.testing.assert_array_equal(chosen[0], chosen[1])
    assert (chosen[0] != chosen[2]).any() and len(np.unique(chosen[0])) == 30
    assert np.isin(chosen[0], x[:, 0, 0, 0].astype("float32")).all()
    assert "data" not in vae.prior.get_config()
    x[0] = np.nan
    vae.prior.initialize(x, seed=2)
    assert np.isfinite(vae.prior.pseudo_inputs.numpy()).all()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:6], "at least as many rows as the VampPrior has components, 7. Received: 6"),
        (X[:9, :4], r"`x` must have shape \[batch, 8, 8, 1\]"),
        (np.where(X[:9] > 0, np.inf, 0), "must be finite"),
    ],
)
def test_initialize_refuses(x, message):
    with pytest.raises(ValueError, match=message):
        vae_with(priors.VampPrior(num_components=7)).prior.initialize(x)


def test_vamp_prior_by_itself_says_what_it_lacks():
    with pytest.raises(ValueError, match="does not know the shape of the data yet"):
        priors.VampPrior(num_components=7).initialize(X)
    with pytest.raises(ValueError, match="pseudo-inputs of the shape of the data"):
        priors.VampPrior(num_components=7).build(latent_dim=3)


def test_vamp_prior_refuses_a_condition():
    x, c, z = keras.Input((4,)), keras.Input((2,)), keras.Input((3,))
    dense = keras.layers.Dense
    encoder = keras.Model([x, c], dense(6)(keras.layers.Concatenate()([x, c])))
    decoder = keras.Model([z, c], dense(4)(keras.layers.Concatenate()([z, c])))
    vae = kvae.VAE(encoder, decoder, prior=priors.VampPrior(num_components=2))
    with pytest.raises(ValueError, match=r"no pseudo-inputs for the condition.*NormalMixture"):
        vae.terms((np.zeros([1, 4]), np.zeros([1, 2])))


def test_evaluation_takes_draws_one_at_a_time():
    vae = lively(priors.VampPrior(num_components=7))
    chunks = kvae.evaluation.log_likelihood(vae, X_TEST[:10], num_samples=6, samples_at_once=3)
    whole = tf.reduce_logsumexp(vae.terms(X_TEST[:10], num_samples=6).log_weight, axis=0) - np.log(6)
    np.testing.assert_allclose(chunks, whole, rtol=1e-5)


# Flow


@pytest.mark.parametrize("kind", ["coupling", "maf"])
def test_flow_density_integrates_to_one(kind):
    prior = priors.Flow(num_steps=3, hidden=(8,), kind=kind)
    prior.build(latent_dim=2)
    randomized(prior.steps, scale=0.2)  # more would give tails too long for a grid this fine
    z = prior.from_noise(kvae.random.normal(0, 0, tf.range(5_000), 2), None).numpy()
    low, high = z.min(axis=0) - 2 * z.std(axis=0), z.max(axis=0) + 2 * z.std(axis=0)
    axes = [np.linspace(a, b, 300, dtype="float32") for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1)
    density = np.exp(prior.distribution(None).log_prob(grid).numpy().astype("float64"))
    area = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    np.testing.assert_allclose(density.sum() * area, 1.0, atol=1e-3)


@pytest.mark.parametrize("kind", ["coupling", "maf"])
def test_new_flow_is_the_standard_normal(kind):
    prior = priors.Flow(kind=kind)
    prior.build(latent_dim=3)
    noise = kvae.random.normal(0, 0, tf.range(5), 3)
    np.testing.assert_allclose(prior.from_noise(noise, None), noise, atol=1e-6)


def test_flow_of_one_dimension():
    with pytest.raises(ValueError, match="at least 2. Received: 1"):
        priors.Flow().build(latent_dim=1)
    prior = priors.Flow(kind="maf")
    prior.build(latent_dim=1)
    randomized(prior.steps)
    z = prior.from_noise(tf.constant([[0.0], [1.0]]), None).numpy()
    oracle = scipy.stats.norm(z[0, 0], abs(z[1, 0] - z[0, 0])).logpdf(z[:, 0])
    np.testing.assert_allclose(prior.distribution(None).log_prob(z), oracle, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "iaf"}, "`kind` must be one of 'coupling', 'maf'. Received: kind='iaf'"),
        ({"num_steps": -1}, "`num_steps` must be a whole number of at least 1"),
        ({"hidden": (0,)}, "`hidden` must be a whole number of at least 1"),
    ],
)
def test_wrong_settings_of_a_flow_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        priors.Flow(**arguments)


def test_names():
    for each in (priors.Normal, priors.NormalMixture, priors.VampPrior, priors.Flow):
        assert type(priors.get(kvae.parts.snake_case(each.__name__))) is each
    names = [keras.saving.get_registered_name(each) for each in (priors.Normal, priors.Flow, priors.VampPrior)]
    assert names == ["kvae.priors>Normal", "kvae.priors>Flow", "kvae>VampPrior"]


# Export


def test_samples_of_a_phone_are_those_of_the_vae(tmp_path):
    """Every prior draws with operations that TFLite has built in."""
    from ai_edge_litert.interpreter import Interpreter

    def sample(vae, seed, n):
        return {"z": vae.prior.from_noise(kvae.random.normal(seed, tf.range(n), 0, vae.prior.noise_size), vae)}

    specs = [tf.TensorSpec([], tf.int32, name="seed"), tf.TensorSpec([], tf.int32, name="n")]
    archive, samplers = keras.export.ExportArchive(), {}
    for name, make in PRIORS.items():
        vae = lively(make())
        samplers[name.replace(" ", "_")] = functools.partial(sample, vae)
        archive.track(vae)
        archive.add_endpoint(name.replace(" ", "_"), functools.partial(sample, vae), specs)
    archive.write_out(tmp_path / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"), signature_keys=list(samplers))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = Interpreter(model_content=converter.convert())
    for key, sampler in samplers.items():
        received = interpreter.get_signature_runner(key)(seed=np.int32(17), n=np.int32(50))["z"]
        np.testing.assert_allclose(received, sampler(17, 50)["z"], atol=1e-5, err_msg=key)
