import inspect

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from building import digits, networks
from test_flows import randomized

import kvae
from kvae import objectives, posteriors, priors
from kvae.objectives import Terms

tfd = tfp.distributions

# Every class, in every variant that computes something of its own.
HEADS = {
    "DiagonalNormal": lambda: posteriors.DiagonalNormal(),
    "FullNormal": lambda: posteriors.FullNormal(),
    "Flow": lambda: posteriors.Flow(hidden=(8,)),
    "Flow with context": lambda: posteriors.Flow(hidden=(8,), context_size=3),
    "Flow of coupling": lambda: posteriors.Flow(num_steps=3, hidden=(8,), kind="coupling", context_size=2),
}


def built(name, dim=4, scale=0.4):
    head = HEADS[name]()
    head.build(latent_dim=dim)
    if isinstance(head, posteriors.Flow):
        randomized(head.steps, scale=scale)
    return head


def params_of(head, dim=4, batch=6, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, head.params_size(dim))).astype("float32")


def noise_of(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def standard_normal(dim):
    prior = priors.StandardNormal()
    prior.build(latent_dim=dim)
    return prior.distribution(None)


def diagonal_params(seed=0, batch=6, dim=4):
    return params_of(posteriors.DiagonalNormal(), dim, batch, seed)


def test_every_class_has_a_case():
    classes = {
        name
        for name, each in inspect.getmembers(posteriors, inspect.isclass)
        if issubclass(each, posteriors.Posterior) and each is not posteriors.Posterior
    }
    assert classes == {type(make()).__name__ for make in HEADS.values()}


# What holds for every posterior


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("dim", [2, 5])
def test_sizes_and_shapes(name, dim):
    head = built(name, dim)
    params = params_of(head, dim)
    assert head.noise_size(params) == dim
    q = head.distribution(params)
    assert q.batch_shape == (6,) and q.event_shape == (dim,)
    assert head.from_noise(params, noise_of(6, dim)).shape == (6, dim)
    z = head.from_noise(params, noise_of(3, 6, dim))
    assert z.shape == (3, 6, dim) and z.dtype == tf.float32
    assert q.log_prob(z).shape == (3, 6)
    assert head(params).shape == (6, dim)


@pytest.mark.parametrize("name", HEADS)
def test_zero_noise_gives_the_mean(name):
    head = built(name)
    params = params_of(head)
    np.testing.assert_allclose(head.from_noise(params, np.zeros([6, 4], "float32")), head(params), atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_draws_have_the_density_that_is_stated(name):
    """E_q[p / q] = 1 for any p within the tails of q: an error of either the draws or the density would show."""
    head = built(name, dim=2)
    params = params_of(head, dim=2, batch=3)
    q = head.distribution(params)
    z = head.from_noise(params, noise_of(40_000, 3, 2))
    centre, spread = tf.reduce_mean(z, axis=0), tf.math.reduce_std(z, axis=0)
    ratio = tf.exp(tfd.MultivariateNormalDiag(centre, 0.5 * spread).log_prob(z) - q.log_prob(z)).numpy()
    assert np.all(np.abs(ratio.mean(axis=0) - 1) < 4 * ratio.std(axis=0) / np.sqrt(len(ratio)))


@pytest.mark.parametrize("name", HEADS)
def test_density_broadcasts_over_many_posteriors(name):
    """As the VampPrior asks: every z under every posterior."""
    head = built(name)
    params, z = params_of(head, batch=5), noise_of(2, 3, 4)
    together = head.distribution(params).log_prob(z[..., None, :])
    assert together.shape == (2, 3, 5)
    for index in range(5):
        one = head.distribution(params[index : index + 1]).log_prob(z[..., None, :])[..., 0]
        np.testing.assert_allclose(together[..., index], one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(
    ("dtype", "signs"),
    [("float32", "positive"), ("float32", "negative"), ("float32", "random"), ("bfloat16", "random")],
)
def test_finite_at_extreme_encoder_outputs(name, dtype, signs):
    head, dim = built(name, 12), 12
    sign = {"positive": 1.0, "negative": -1.0, "random": np.sign(noise_of(3, head.params_size(dim)))}[signs]
    params = tf.cast(1e4 * sign * np.ones([3, head.params_size(dim)]), dtype)
    with tf.GradientTape() as tape:
        tape.watch(params)
        q = head.distribution(params)
        z = head.from_noise(params, noise_of(1, 3, dim))
        terms = Terms(q, standard_normal(dim), z, None)
        total = tf.reduce_sum(terms.kl) + tf.reduce_sum(terms.log_posterior) + tf.reduce_sum(terms.log_prior)
    assert np.isfinite(total)
    weights = [each.value for each in head.trainable_variables]
    for gradient in tape.gradient(total, [params, *weights]):
        assert np.isfinite(tf.cast(gradient, tf.float32)).all()


@pytest.mark.parametrize("name", HEADS)
def test_weight_without_the_score_reaches_the_posterior_through_z_alone(name):
    """The extra gradient of the score is zero in the mean, but not of each draw: nothing of it may be left."""
    head = built(name)
    params, z = tf.constant(params_of(head)), tf.constant(noise_of(1, 6, 4))
    weights = [each.value for each in head.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch([params, z])
        q = head.distribution(params)
        terms = Terms(q, standard_normal(4), z, tf.zeros([1, 6]), posterior_head=head, posterior_params=params)
        log_weight = terms.path_log_weight
    to_z, *rest = tape.gradient(log_weight, [z, params, *weights])
    assert np.abs(to_z).max() > 0 and all(each is None for each in rest)
    np.testing.assert_allclose(log_weight, terms.log_weight, rtol=1e-5)


def vae_with(name, prior="standard_normal", **compile_arguments):
    head = HEADS[name]()
    encoder, decoder = networks(params_size=head.params_size(3))
    vae = kvae.VAE(encoder, decoder, posterior=head, prior=prior, seed=0)
    vae.compile(keras.optimizers.Adam(1e-2), **(compile_arguments or {"run_eagerly": True}))  # sooner done than traced
    return vae


@pytest.mark.parametrize("name", HEADS)
def test_fits_and_continues_where_it_stopped(tmp_path, name):
    x, x_test = digits()
    vae = vae_with(name)
    before = [each.numpy() for each in vae.posterior.trainable_variables]
    vae.fit(x[:64], batch_size=32, epochs=2, verbose=0)
    for old, new in zip(before, vae.posterior.trainable_variables, strict=True):
        assert np.abs(old - new.numpy()).max() > 0
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    assert again.evaluate(x_test[:50], verbose=0) == vae.evaluate(x_test[:50], verbose=0)
    np.testing.assert_array_equal(again.encode(x_test[:9]).mean(), vae.encode(x_test[:9]).mean())
    assert again.posterior.get_config() == vae.posterior.get_config()


def test_flows_train_under_xla_as_without():
    x, runs = digits()[0][:64], []
    for how in ("run_eagerly", "jit_compile"):
        prior = priors.Flow(num_steps=2, hidden=(8,), kind="maf")
        keras.utils.set_random_seed(0)
        runs.append(vae_with("Flow with context", prior, **{how: True}))
    losses = [vae.fit(x, batch_size=32, epochs=2, verbose=0).history["loss"] for vae in runs]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)  # four steps of Adam on gradients rounded otherwise


@pytest.mark.parametrize("name", ["FullNormal", "Flow with context"])
def test_importance_weighted(name):
    vae = vae_with(name)
    x = digits()[0][:20]
    bounds = [vae.terms(x, num_samples=count) for count in (1, 64)]
    values = [float(tf.reduce_mean(objectives.log_mean_exp(terms.log_weight))) for terms in bounds]
    assert values[0] < values[1]


# Normals


def test_diagonal_kl_three_ways():
    params = diagonal_params()
    q, p = posteriors.DiagonalNormal().distribution(params), standard_normal(4)
    mean, log_var = np.split(params.astype("float64"), 2, axis=-1)
    formula = 0.5 * np.sum(np.exp(log_var) + mean**2 - 1 - log_var, axis=-1)
    terms = Terms(q, p, None, None)
    np.testing.assert_allclose(terms.kl, formula, rtol=1e-5)  # float32 sums of four terms
    z = q.sample(200_000, seed=[1, 2])
    draws = (q.log_prob(z) - p.log_prob(z)).numpy().astype("float64")
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - formula) < 4 * error).all()


def test_which_pairs_are_exact():
    """KL is closed form between multivariate normals. A pair outside the list falls to Monte Carlo, knowingly."""
    exact = [standard_normal(4), tfd.MultivariateNormalTriL(tf.zeros(4), tf.eye(4))]
    monte_carlo = [
        tfd.Independent(tfd.Normal(tf.zeros(4), 1.0), 1),
        tfd.MixtureSameFamily(tfd.Categorical(logits=[0.0]), tfd.MultivariateNormalDiag(tf.zeros([1, 4]), tf.ones(4))),
    ]
    for name in HEADS:
        head = built(name)
        q = head.distribution(params_of(head))
        for prior in exact + monte_carlo:
            if prior in exact and not name.startswith("Flow"):
                assert q.kl_divergence(prior).shape == (6,)
            else:
                with pytest.raises(NotImplementedError):
                    q.kl_divergence(prior)


def test_kl_of_an_unregistered_pair_is_monte_carlo():
    q = posteriors.DiagonalNormal().distribution(diagonal_params())
    z = q.sample(50_000, seed=[3, 4])
    p = tfd.MixtureSameFamily(tfd.Categorical(logits=[0.0]), tfd.MultivariateNormalDiag(tf.zeros([1, 4]), tf.ones(4)))
    terms = Terms(q, p, z, None)
    np.testing.assert_allclose(terms.kl, tf.reduce_mean(q.log_prob(z) - p.log_prob(z), axis=0), rtol=1e-6)
    exact = q.kl_divergence(standard_normal(4))
    # four standard errors of the difference of two log-densities in four dimensions
    spread = tf.math.reduce_std(q.log_prob(z) - p.log_prob(z), axis=0) / np.sqrt(50_000)
    assert np.all(np.abs(terms.kl - exact) < 4 * spread)


def test_from_noise_is_the_reparameterisation():
    params, noise = diagonal_params(), noise_of(3, 6, 4)
    head = posteriors.DiagonalNormal()
    mean, log_var = np.split(params, 2, axis=-1)
    np.testing.assert_allclose(head.from_noise(params, noise), mean + np.exp(log_var / 2) * noise, rtol=1e-5)
    assert head.params_size(4) == 8
    assert head.noise_size(params) == 4


@pytest.mark.parametrize("head", [posteriors.DiagonalNormal(), posteriors.FullNormal()])
def test_log_var_is_bounded_as_documented(head):
    params = np.zeros([1, head.params_size(2)], "float32")
    params[0, 2:4] = -100.0, 100.0
    q = head.distribution(params)
    np.testing.assert_allclose(np.log(q.variance()[0]), kvae.posteriors.LOG_VAR_RANGE, rtol=1e-5)


def test_full_normal_has_the_documented_layout():
    params = np.array([[1.0, 2.0, 3.0, 0.2, -0.4, 0.6, 0.5, -0.7, 0.9]], "float32")
    scale = np.exp([0.1, -0.2, 0.3])
    factor = scale[:, None] * np.array([[1, 0, 0], [0.5, 1, 0], [-0.7, 0.9, 1]])
    head = posteriors.FullNormal()
    assert head.params_size(3) == 9 and head.noise_size(params) == 3
    q = head.distribution(params)
    np.testing.assert_allclose(q.mean(), [[1, 2, 3]])
    np.testing.assert_allclose(q.covariance()[0], factor @ factor.T, rtol=1e-5)
    noise = noise_of(5, 1, 3)
    np.testing.assert_allclose(head.from_noise(params, noise), [1, 2, 3] + noise @ factor.T, rtol=1e-5)
    z = noise_of(4, 3, seed=2)
    oracle = scipy.stats.multivariate_normal([1, 2, 3], factor @ factor.T).logpdf(z)
    np.testing.assert_allclose(q.log_prob(z), oracle, rtol=1e-5)
    np.testing.assert_allclose(posteriors.full_params(params[0, :3], factor), params[0], rtol=1e-6)


def test_full_normal_without_correlation_is_diagonal():
    params = diagonal_params()
    full = np.hstack([params, np.zeros([6, 6], "float32")])
    z = noise_of(6, 4)
    a, b = posteriors.DiagonalNormal(), posteriors.FullNormal()
    np.testing.assert_allclose(a.distribution(params).log_prob(z), b.distribution(full).log_prob(z), rtol=1e-5)
    np.testing.assert_array_equal(a.from_noise(params, z), b.from_noise(full, z))
    with tf.GradientTape() as tape:  # the square root of the bound must not spoil the gradient at zero
        full = tf.constant(full)
        tape.watch(full)
        log_prob = b.distribution(full).log_prob(z)
    gradient = tape.gradient(log_prob, full).numpy()
    assert np.isfinite(gradient).all() and np.abs(gradient[:, 8:]).max() > 0


def test_total_correlation_is_bounded_as_documented():
    head = posteriors.FullNormal()
    for size, dim in ((1e4, 2), (1e4, 8), (3.0, 8), (0.1, 8)):
        params = np.zeros([1, head.params_size(dim)], "float32")
        params[:, 2 * dim :] = size
        lower = np.zeros((dim, dim))
        lower[np.tril_indices(dim, -1)] = size
        wanted = 0.5 * np.log1p((lower**2).sum(axis=1)).sum()
        factor = posteriors.mean_and_scale_tril(params)[1][0].numpy().astype("float64")
        received = 0.5 * np.log((factor**2).sum(axis=1)).sum()  # the diagonal is one
        np.testing.assert_allclose(received, min(wanted, posteriors.MAX_TOTAL_CORRELATION), rtol=1e-5)


def test_full_normal_of_one_dimension():
    head = posteriors.FullNormal()
    assert head.params_size(1) == 2
    params = np.array([[0.5, 0.2]], "float32")
    z = noise_of(1, 1)
    np.testing.assert_allclose(
        head.distribution(params).log_prob(z), posteriors.DiagonalNormal().distribution(params).log_prob(z), rtol=1e-6
    )


def test_full_normal_refuses_a_wrong_width():
    with pytest.raises(ValueError, match=r"2, 5, 9, 14, ... Received: 6. End the encoder in Dense"):
        posteriors.FullNormal().distribution(np.zeros([1, 6], "float32"))


# Flows


@pytest.mark.parametrize("name", [name for name in HEADS if name.startswith("Flow")])
def test_flow_density_integrates_to_one(name):
    head = built(name, dim=2, scale=0.3)
    params = params_of(head, dim=2, batch=1)
    z = head.from_noise(params, noise_of(5_000, 1, 2)).numpy()[:, 0]
    low, high = z.min(axis=0) - 2 * z.std(axis=0), z.max(axis=0) + 2 * z.std(axis=0)
    axes = [np.linspace(a, b, 300, dtype="float32") for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1)
    density = np.exp(head.distribution(params).log_prob(grid.reshape(-1, 1, 2)).numpy().astype("float64"))
    area = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    np.testing.assert_allclose(density.sum() * area, 1.0, atol=1e-3)


def test_new_coupling_flow_is_the_diagonal_normal():
    head = posteriors.Flow(kind="coupling")
    head.build(latent_dim=4)
    params, noise = diagonal_params(), noise_of(3, 6, 4)
    np.testing.assert_allclose(
        head.from_noise(params, noise), posteriors.DiagonalNormal().from_noise(params, noise), rtol=1e-6
    )


def test_flow_of_one_dimension():
    head = posteriors.Flow(context_size=1)
    head.build(latent_dim=1)
    randomized(head.steps)
    params, noise = params_of(head, dim=1), noise_of(6, 1)
    z = head.from_noise(params, noise)
    mean, scale = head(params), head.from_noise(params, np.ones([6, 1], "float32")) - head(params)
    np.testing.assert_allclose(
        head.distribution(params).log_prob(z), tfd.Normal(mean, scale).log_prob(z)[:, 0], rtol=1e-4
    )
    with pytest.raises(ValueError, match="at least 2. Received: 1"):
        posteriors.Flow(kind="coupling").build(latent_dim=1)


def fit_reverse_kl(head, target, steps=300):
    """Trains a posterior of no x towards a density, and returns the bound E_q[log p - log q] that it reaches."""
    keras.utils.set_random_seed(0)
    head.build(latent_dim=2)
    params = keras.Variable(np.zeros([1, 4], "float32"))
    variables, optimizer = [params, *head.trainable_variables], keras.optimizers.Adam(0.02)
    optimizer.build(variables)

    @tf.function
    def bound(stream, rows):
        values = tf.identity(params.value)
        z = head.from_noise(values, kvae.random.normal(0, stream, tf.range(rows), 2)[:, None])
        return (target.log_prob(z) - head.distribution(values).log_prob(z))[:, 0]

    @tf.function
    def train():
        for step in tf.range(steps):
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(bound(step, 128))
            gradients = tape.gradient(loss, [each.value for each in variables])
            optimizer.apply_gradients(zip(gradients, variables, strict=True))

    train()
    return kvae.evaluation.estimate(bound(-1, 5_000).numpy())


def test_flow_fits_a_correlated_posterior_that_the_diagonal_normal_cannot():
    correlation = 0.95
    factor = np.linalg.cholesky([[1, correlation], [correlation, 1]]).astype("float32")
    target = tfd.MultivariateNormalTriL(tf.zeros(2), factor)
    diagonal = fit_reverse_kl(posteriors.DiagonalNormal(), target)
    # the best diagonal normal is off by the total correlation, 1.16 nats
    np.testing.assert_allclose(diagonal.mean, 0.5 * np.log(1 - correlation**2), atol=0.05)
    for kind in ("iaf", "coupling"):
        flow = fit_reverse_kl(posteriors.Flow(hidden=(16,), kind=kind), target)
        assert flow.mean - diagonal.mean > 10 * np.hypot(flow.standard_error, diagonal.standard_error)
        assert -0.15 < flow.mean <= 4 * flow.standard_error  # a lower bound on log 1


@pytest.mark.parametrize("name", ["Flow", "Flow with context"])
def test_density_of_a_fresh_draw_needs_no_inverse_and_equals_it(name):
    vae = vae_with(name)
    randomized(vae.posterior.steps)
    x, results = tf.constant(digits()[0][:5]), {}
    for fresh in (True, False):

        @tf.function
        def log_posterior(x, fresh=fresh):
            with tf.GradientTape() as tape:
                terms = vae.terms(x, num_samples=2)
                # an identity is another tensor, of which nothing is known
                log_prob = terms.log_posterior if fresh else terms.posterior.log_prob(tf.identity(terms.z))
            variables = [*vae.encoder.trainable_variables, *vae.posterior.trainable_variables]
            return [log_prob, *tape.gradient(log_prob, [each.value for each in variables])]

        graph = log_posterior.get_concrete_function(x)
        results[fresh] = graph(x)
        assert any("While" in each.type for each in graph.graph.get_operations()) is not fresh
    for forward, inverse in zip(results[True], results[False], strict=True):
        np.testing.assert_allclose(forward, inverse, rtol=1e-3, atol=1e-4)  # the inverse rounds at every pass
    # eagerly it is always the inverse
    np.testing.assert_allclose(vae.terms(x, num_samples=2).log_posterior, results[True][0], atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "planar"}, "`kind` must be one of 'iaf', 'coupling'. Received: kind='planar'"),
        ({"num_steps": 0}, "`num_steps` must be a whole number of at least 1"),
        ({"hidden": 64}, "`hidden` must be the widths"),
        ({"context_size": -1}, "`context_size` must be a whole number of at least 0"),
    ],
)
def test_wrong_settings_of_a_flow_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        posteriors.Flow(**arguments)


def test_flow_that_was_not_built_says_so():
    with pytest.raises(ValueError, match=r"has weights.*Give it to a VAE, or call `build\(latent_dim=D\)`"):
        posteriors.Flow().distribution(np.zeros([1, 4], "float32"))
    with pytest.raises(ValueError, match="has weights"):
        posteriors.Flow()(np.zeros([1, 4], "float32"))


def test_names():
    for name, kind in (("flow", posteriors.Flow), ("full_normal", posteriors.FullNormal)):
        assert type(posteriors.get(name)) is kind
    assert keras.saving.get_registered_name(posteriors.Flow) == "kvae.posteriors>Flow"
