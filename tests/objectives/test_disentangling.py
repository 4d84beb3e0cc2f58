import itertools

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from building import digits, make_vae

import kvae
from kvae.objectives import DIP, ELBO, BetaTC, FactorVAE, Terms, disentangling, permute_dimensions

tfd = tfp.distributions
X = digits()[1][:20]
RNG = np.random.default_rng(0)


# BetaTC


def brute_force(terms):
    """Mutual information, total correlation and dimension-wise KL with q(z) = 1/N sum_n q(z|x_n), float64 `[B]`."""
    mean, scale = terms.posterior.mean().numpy().astype("float64"), terms.posterior.stddev().numpy()
    z = terms.z.numpy().astype("float64")
    each = scipy.stats.norm.logpdf(z[:, :, None], mean, scale)  # [S, B, N, D]
    own = scipy.stats.norm.logpdf(z, mean, scale).sum(axis=-1)
    aggregate = scipy.special.logsumexp(each.sum(axis=-1), axis=-1) - np.log(len(mean))
    marginals = (scipy.special.logsumexp(each, axis=-2) - np.log(len(mean))).sum(axis=-1)
    prior = scipy.stats.norm.logpdf(z).sum(axis=-1)
    return [part.mean(axis=0) for part in (own - aggregate, aggregate - marginals, marginals - prior)]


@pytest.mark.parametrize("num_samples", [1, 3])
def test_decomposition_is_exact_when_the_batch_is_all_the_data(num_samples):
    terms = make_vae().terms(X, num_samples=num_samples)
    expected = brute_force(terms)
    for part, exact in zip(BetaTC(dataset_size=20).decompose(terms), expected, strict=True):
        np.testing.assert_allclose(part, exact, atol=2e-5)
    # minibatch-weighted sampling has weights 1 / (N B), so log q(z) is less by log N, and log q(z_d) too
    shifts = np.log(20) * np.array([1, 3 - 1, -3])
    weighted = BetaTC(dataset_size=20, sampling="weighted").decompose(terms)
    for part, exact, shift in zip(weighted, expected, shifts, strict=True):
        np.testing.assert_allclose(part, exact + shift, atol=2e-5)


@pytest.mark.parametrize("sampling", ["stratified", "weighted"])
@pytest.mark.parametrize("dataset_size", [20, 1797])
def test_decomposition_sums_to_the_monte_carlo_kl(sampling, dataset_size):
    terms = make_vae().terms(X)
    objective = BetaTC(beta=1.0, dataset_size=dataset_size, sampling=sampling)
    total = tf.add_n(list(objective.decompose(terms)))
    np.testing.assert_allclose(total, (terms.log_posterior - terms.log_prior)[0], atol=1e-4)
    np.testing.assert_allclose(objective.loss(terms), -terms.log_weight[0], rtol=1e-5)


def test_decomposition_sums_to_the_closed_form_kl_within_standard_errors():
    x = digits()[0]
    terms = make_vae().terms(x)
    total = tf.add_n(list(BetaTC(dataset_size=len(x)).decompose(terms)))
    difference = kvae.evaluation.estimate((total - terms.kl).numpy())
    assert abs(difference.mean) < 4 * difference.standard_error


def test_parts_are_non_negative_in_the_mean_over_all_the_data():
    x = digits()[0][:500]
    for part in BetaTC(dataset_size=500).decompose(make_vae().terms(x)):
        value = kvae.evaluation.estimate(part.numpy())
        assert value.mean > -4 * value.standard_error


def test_stratified_sampling_is_unbiased_for_the_aggregate_posterior():
    """The mean of the estimated q(z) over all batches of 3 that hold the example of z is q(z) = 1/6 sum_n q(z|x_n)."""
    mean, scale, z = RNG.normal(size=(6, 2)), RNG.uniform(0.5, 2.0, size=(6, 2)), RNG.normal(size=2)
    objective = BetaTC(dataset_size=6)
    estimates = []
    for others in itertools.combinations(range(1, 6), 2):
        rows = [0, *others]
        posterior = tfd.MultivariateNormalDiag(np.float32(mean[rows]), np.float32(scale[rows]))
        prior = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
        terms = Terms(posterior, prior, tf.constant(np.tile(z, (1, 3, 1)), tf.float32), tf.zeros([1, 3]))
        mutual_information, _, _ = objective.decompose(terms)
        estimates.append(np.exp(terms.log_posterior[0, 0] - mutual_information[0]))
    exact = np.exp(scipy.stats.norm.logpdf(z, mean, scale).sum(axis=-1)).mean()
    assert np.mean(estimates) == pytest.approx(exact, rel=1e-5)


def test_sample_weights_weigh_in_the_aggregate_posterior():
    vae, weight = make_vae(), tf.constant([2.0, 1.0, 1.0])
    terms = vae.terms(X[:3], sample_weight=weight)
    each = scipy.stats.norm.logpdf(
        terms.z.numpy()[0][:, None], terms.posterior.mean(), terms.posterior.stddev()
    )  # log q(z_d[i] | x[j])  [3, 3, D]
    own = each.sum(axis=-1).diagonal()
    # Of 10 examples with the mean weight of these, 4/3, the first weighs 2 of 40/3; the others share the rest.
    others = 1 - 0.075
    for dataset_size, sampling, share in (
        (3, "stratified", [[0.5, 0.25, 0.25]] * 3),  # the batch is all the data: exact
        (
            10,
            "stratified",
            [[0.15, 0.425, 0.425], [others * 2 / 3, 0.075, others / 3], [others * 2 / 3, others / 3, 0.075]],
        ),
        (10, "weighted", [[0.05, 0.025, 0.025]] * 3),
    ):
        share = np.log(share)
        aggregate = scipy.special.logsumexp(share + each.sum(axis=-1), axis=1)
        marginals = scipy.special.logsumexp(share[..., None] + each, axis=1).sum(axis=-1)
        mutual_information, total_correlation, _ = BetaTC(dataset_size=dataset_size, sampling=sampling).decompose(terms)
        np.testing.assert_allclose(mutual_information, own - aggregate, atol=2e-5)
        np.testing.assert_allclose(total_correlation, aggregate - marginals, atol=2e-5)


def test_beta_tc_weighs_the_parts():
    terms = make_vae().terms(X)
    objective = BetaTC(alpha=0.5, beta=4.0, gamma=2.0, dataset_size=20)
    parts = brute_force(terms)
    expected = terms.reconstruction + 0.5 * parts[0] + 4 * parts[1] + 2 * parts[2]
    np.testing.assert_allclose(objective.loss(terms), expected, rtol=1e-5)
    objective.beta.assign(0.0)
    np.testing.assert_allclose(objective.loss(terms), terms.reconstruction + 0.5 * parts[0] + 2 * parts[2], rtol=1e-5)


def test_beta_tc_bad_settings():
    for make in (lambda: BetaTC(), lambda: kvae.objectives.get("beta_tc"), lambda: make_vae(objective="beta_tc")):
        with pytest.raises(ValueError, match=r"BetaTC needs `dataset_size`.*dataset_size=len\(x_train\)"):
            make()
    with pytest.raises(ValueError, match="`dataset_size` must be a whole number"):
        BetaTC(dataset_size=0)
    for name in ("alpha", "beta", "gamma"):
        with pytest.raises(ValueError, match=f"`{name}` must be a number, zero or larger"):
            BetaTC(dataset_size=10, **{name: -1.0})
    with pytest.raises(ValueError, match="`sampling` must be one of 'stratified', 'weighted'"):
        BetaTC(dataset_size=10, sampling="mws")
    with pytest.raises(ValueError, match="more examples than the data set.*dataset_size=10 and a batch of 20"):
        BetaTC(dataset_size=10).loss(make_vae().terms(X))
    with pytest.raises(ValueError, match="BetaTC penalises the dependence.*latent_dim=1"):
        make_vae(latent_dim=1, objective=BetaTC(dataset_size=10))


# FactorVAE


def test_permuted_dimensions_hold_the_same_values_in_another_order():
    z, noise = RNG.normal(size=(50, 4)).astype("float32"), RNG.normal(size=(50, 4)).astype("float32")
    permuted = permute_dimensions(tf.constant(z), tf.constant(noise)).numpy()
    np.testing.assert_array_equal(np.sort(permuted, axis=0), np.sort(z, axis=0))
    np.testing.assert_array_equal(permuted, np.take_along_axis(z, np.argsort(noise, axis=0), axis=0))
    assert (permuted == z).mean() < 0.2


def test_rows_are_drawn_by_their_share():
    z = tf.range(8, dtype=tf.float32)[:, None] * tf.ones([8, 2])
    share = np.array([0.1, 1, 1, 0, 2.5, 1, 0.4, 1])
    share /= share.sum()
    draw = tf.function(lambda noise: disentangling._draw_by_share(z, noise, tf.constant(share, tf.float32)))
    times = np.zeros(8)
    for noise in RNG.normal(size=(2000, 8, 2)).astype("float32"):
        drawn, order, counted = draw(noise)
        np.testing.assert_array_equal(counted, [1] * 7 + [0])  # as many as are there
        assert np.isinf(order[7]).all() and np.isfinite(order[:7]).all()
        times += np.bincount(drawn.numpy()[:7, 0].astype(int), minlength=8)
    # A row is drawn the floor or the ceiling of 7 times its share: a deviation of at most 1/2 over sqrt(2000) = 0.011;
    # and the offset is kept 0.01 off its ends.
    np.testing.assert_allclose(times / 2000, 7 * share, atol=4 * 0.011 + 0.01)
    assert times[3] == 0 and times[0] > 0


@pytest.mark.parametrize("size", [1, 7, 60_000])
def test_rows_of_equal_share_are_each_drawn_once(size):
    z = tf.range(size, dtype=tf.float32)[:, None]
    for first in (-9.0, 0.3, 9.0):
        drawn, _, counted = disentangling._draw_by_share(z, tf.fill([size, 1], first), tf.fill([size], 1 / size))
        np.testing.assert_array_equal(drawn, z)
        assert tf.reduce_all(counted == 1)


def test_factor_vae_is_its_formula_and_trains_its_discriminator_apart():
    vae = make_vae(objective=FactorVAE(gamma=3.0, hidden=(8,)))
    objective, discriminator = vae.objective, vae.objective.discriminator
    weights = [each.value for each in discriminator.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        terms = vae.terms(X)
        loss, auxiliary = objective.loss(terms), objective.auxiliary_loss(terms)
        penalty = loss + terms.elbo
    logit = discriminator(terms.z[0]).numpy()[:, 0].astype("float64")
    np.testing.assert_allclose(loss, -terms.elbo + 3 * logit, rtol=1e-5)
    permuted = discriminator(permute_dimensions(terms.z[0], terms.noise.auxiliary(3))).numpy()[:, 0].astype("float64")
    expected = -0.5 * (np.log(scipy.special.expit(logit)) + np.log(1 - scipy.special.expit(permuted))).mean()
    assert float(auxiliary) == pytest.approx(expected, rel=1e-5)
    assert all(each is None for each in tape.gradient(loss, weights))
    assert all(np.abs(each).max() > 0 for each in tape.gradient(auxiliary, weights))
    assert all(each is None for each in tape.gradient(auxiliary, vae.encoder.trainable_variables))
    assert np.abs(tape.gradient(penalty, vae.encoder.layers[-1].kernel.value)).max() > 0


def test_the_discriminator_learns_by_sample_weights():
    weight = np.float32([2, 0, 1, 1, 0.5, 0, 3])
    vae = make_vae(objective=FactorVAE(hidden=(8,)))
    terms = vae.terms(X[:7], sample_weight=weight)
    z, discriminator = terms.z[0], vae.objective.discriminator
    drawn, order, counted = disentangling._draw_by_share(z, terms.noise.auxiliary(3), terms.share)
    joint = np.log1p(np.exp(-discriminator(z).numpy()[:, 0]))
    product = np.log1p(np.exp(discriminator(permute_dimensions(drawn, order)).numpy()[:, 0]))
    expected = 0.5 * (np.average(joint, weights=weight) + np.average(product, weights=counted))
    vae.objective.loss(terms)
    assert float(vae.objective.auxiliary_loss(terms)) == pytest.approx(expected, rel=1e-5)
    vae.objective.loss(vae.terms(X[:1], sample_weight=np.float32([0.25])))  # and the metric is a mean by weights
    total, count = (float(each) for each in vae.objective.discriminator_loss.variables)
    assert count == pytest.approx(weight.sum() + 0.25)
    assert total < count * 1.5


def test_factor_vae_reports_its_discriminator_in_training_and_evaluation():
    vae = make_vae(objective=FactorVAE(gamma=0.0, hidden=(8,)))
    history = vae.fit(X, verbose=0, validation_data=(X,)).history
    assert 0.3 < history["discriminator_loss"][0] < 1.5 and 0.3 < history["val_discriminator_loss"][0] < 1.5
    report = vae.evaluate(X, return_dict=True, verbose=0)
    assert report["discriminator_loss"] == pytest.approx(history["val_discriminator_loss"][0], rel=1e-6)
    # one step: its loss is that of the first weights, without the discriminator's
    assert history["loss"][0] == pytest.approx(-history["elbo"][0], rel=1e-6)


def test_discriminator_learns_the_total_correlation():
    """For z ~ N(0, C) with one correlation of 0.8, the total correlation is -1/2 log(1 - 0.64) = 0.51 nats."""
    objective = FactorVAE(hidden=(32, 32))
    objective.build(latent_dim=2)
    optimizer = keras.optimizers.Adam(5e-3)
    variables = objective.discriminator.trainable_variables
    optimizer.build(variables)

    def terms(step):
        noise = kvae.random.Noise(0, step, tf.range(512))
        first, second = tf.unstack(noise.normal(2)[0], axis=-1)
        return Terms(None, None, tf.stack([first, 0.8 * first + 0.6 * second], axis=-1)[None], None, noise=noise)

    @tf.function
    def step(index):
        with tf.GradientTape() as tape:
            loss = objective.auxiliary_loss(terms(index))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for index in range(400):
        step(tf.constant(index))
    logit = np.concatenate([objective.discriminator(terms(tf.constant(1000 + index)).z[0]) for index in range(20)])
    assert logit.mean() == pytest.approx(0.51, abs=0.08)  # 10,000 draws: 0.01; the rest is the discriminator's fit


def test_factor_vae_bad_settings():
    with pytest.raises(ValueError, match="`gamma` must be a number, zero or larger"):
        FactorVAE(gamma=-1.0)
    for hidden in ((), 256):
        with pytest.raises(ValueError, match="`hidden` must be a tuple of layer widths"):
            FactorVAE(hidden=hidden)
    with pytest.raises(ValueError, match="`hidden` must be a whole number"):
        FactorVAE(hidden=(0,))
    with pytest.raises(ValueError, match="FactorVAE penalises the dependence.*latent_dim=1"):
        make_vae(latent_dim=1, objective="factor_vae")


def test_factor_vae_discriminator_stays_in_float32(dtype_policy):
    dtype_policy("mixed_float16")
    vae = make_vae(objective=FactorVAE(hidden=(8,)))
    assert vae.compute_dtype == "float16"
    assert {layer.compute_dtype for layer in vae.objective.discriminator.layers} == {"float32"}
    assert np.isfinite(vae.fit(X, verbose=0).history["discriminator_loss"]).all()


# DIP


@pytest.mark.parametrize("kind", ["i", "ii"])
def test_dip_is_its_formula(kind):
    weight = np.linspace(0.0, 2.0, 20).astype("float32")
    terms = make_vae().terms(X, sample_weight=weight)
    mean, scale = terms.posterior.mean().numpy().astype("float64"), terms.posterior.stddev().numpy()
    within = np.average(scale**2, axis=0, weights=weight)
    covariance = np.cov(mean.T, bias=True, aweights=weight) + (kind == "ii") * np.diag(within)
    off_diagonal = covariance - np.diag(np.diag(covariance))
    penalty = 3 * (off_diagonal**2).sum() + 5 * ((np.diag(covariance) - 1) ** 2).sum()
    loss = DIP(kind, diagonal_weight=5.0, off_diagonal_weight=3.0).loss(terms)
    np.testing.assert_allclose(loss, -terms.elbo + penalty, rtol=1e-5)


def test_dip_without_weights_is_the_elbo_and_the_covariance_may_be_full():
    terms = make_vae().terms(X)
    np.testing.assert_allclose(DIP("i", 0.0, 0.0).loss(terms), ELBO().loss(terms), rtol=1e-6)
    scale = tf.constant([[1.0, 0.0], [0.5, 2.0]])
    full = tfd.MultivariateNormalTriL(tf.zeros([4, 2]), tf.tile(scale[None], [4, 1, 1]))
    prior = tfd.MultivariateNormalTriL(tf.zeros(2), tf.eye(2))
    full = Terms(full, prior, tf.zeros([1, 4, 2]), tf.zeros([1, 4]))
    # C = scale scale^T = [[1, 0.5], [0.5, 4.25]]
    np.testing.assert_allclose(DIP("ii", 1.0, 2.0).loss(full), full.kl + 2 * 2 * 0.25 + 3.25**2, rtol=1e-5)


def test_dip_bad_settings():
    with pytest.raises(ValueError, match="`kind` must be one of 'i', 'ii'. Received: kind=2"):
        DIP(2)
    for name in ("diagonal_weight", "off_diagonal_weight"):
        with pytest.raises(ValueError, match=f"`{name}` must be a number, zero or larger"):
            DIP(**{name: -1.0})
    flow = tfd.TransformedDistribution(
        tfd.MultivariateNormalDiag(tf.zeros([4, 2]), tf.ones([4, 2])), tfp.bijectors.Tanh(), name="flow"
    )
    terms = Terms(flow, None, tf.zeros([1, 4, 2]), tf.zeros([1, 4]))
    with pytest.raises(ValueError, match="DIP needs a posterior with a mean and a covariance.*Received: flow"):
        DIP().loss(terms)
    for kind in ("i", "ii"):  # the `mean` of a flow is the image of the base's
        vae = make_vae(posterior=kvae.posteriors.Flow(kind="coupling", hidden=(4,)), objective=DIP(kind))
        with pytest.raises(ValueError, match="DIP needs a posterior with a mean and a covariance.*FlowDistribution"):
            vae.objective.loss(vae.terms(X))
