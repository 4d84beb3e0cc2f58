import itertools

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from building import digits, linear_vae, make_vae
from replicas import two_replicas

import kvae
from kvae.objectives import ELBO, IWAE, Renyi

X = digits()[1][:20]


def shifted_linear_vae(**arguments):
    """The linear VAE with a posterior that is not the exact one: means off by 0.4, variances by a factor 1.5."""
    vae, x, log_marginal = linear_vae(**arguments)
    weights = vae.encoder.get_weights()
    weights[1] += 0.4
    vae.encoder.set_weights(weights)
    return vae, x, log_marginal


def gradient_function(vae, num_rows):
    """(x, seed) -> gradients of the mean loss: (encoder's, decoder's), flat."""
    networks = (vae.encoder, vae.decoder)

    def gradients(x, seed):
        with tf.GradientTape() as tape:
            noise = kvae.random.Noise(seed, 0, tf.range(num_rows))
            loss = tf.reduce_mean(vae.objective.loss(vae.terms(x, noise=noise)))
        found = tape.gradient(loss, [[each.value for each in network.trainable_variables] for network in networks])
        return [tf.concat([tf.reshape(each, [-1]) for each in of_network], axis=0) for of_network in found]

    return gradients


# Bounds


def test_exact_posterior_makes_every_weight_the_marginal_likelihood():
    """With q(z|x) = p(z|x), log p(x, z) - log q(z|x) = log p(x) for every single draw."""
    vae, x, log_marginal = linear_vae()
    log_weight = vae.terms(x, num_samples=50).log_weight.numpy()
    assert log_weight.shape == (50, 200)
    np.testing.assert_allclose(log_weight, np.tile(log_marginal(x), (50, 1)), rtol=1e-5)
    for objective in (ELBO(num_samples=3), IWAE(num_samples=3), Renyi(alpha=-2.0, num_samples=3)):
        terms = linear_vae(objective=objective)[0].terms(x)
        # the ELBO has its KL in closed form and so a spread over draws, whose mean is log p(x): 4 standard errors
        gap = -objective.loss(terms).numpy() - log_marginal(x)
        if not isinstance(objective, ELBO):
            np.testing.assert_allclose(gap, 0, atol=1e-4)
        assert abs(gap.mean()) < 4 * max(gap.std() / np.sqrt(len(gap)), 1e-6)


def test_perturbed_bounds_order_and_rise_to_the_marginal_likelihood():
    vae, x, log_marginal = shifted_linear_vae()
    x = np.tile(x, (20, 1))
    bounds = {
        count: -IWAE(num_samples=count).loss(vae.terms(x, num_samples=count)).numpy() for count in (1, 8, 64, 1024)
    }
    bounds = {0: kvae.evaluation.elbo(vae, x), **bounds, "exact": log_marginal(x)}
    values = list(bounds.values())
    for lower, upper in itertools.pairwise(values[1:]):
        difference = kvae.evaluation.estimate(upper - lower)
        assert difference.mean > -4 * difference.standard_error
    assert kvae.evaluation.estimate(values[-1] - values[0]).mean > 0.1
    assert abs(kvae.evaluation.estimate(values[-1] - values[-2]).mean) < 0.01


def test_elbo_reported_by_other_objectives_is_the_same_bound():
    reports = [
        make_vae(objective=objective).evaluate(X, return_dict=True, verbose=0)
        for objective in (ELBO(), ELBO(beta=4.0), IWAE(num_samples=1))
    ]
    for report in reports[1:]:
        assert report["elbo"] == pytest.approx(reports[0]["elbo"], rel=1e-6)


# ELBO


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_elbo_weighs_the_kl(beta):
    terms = make_vae().terms(X)
    loss = ELBO(beta=beta).loss(terms)
    np.testing.assert_allclose(loss, terms.reconstruction + beta * terms.kl, rtol=1e-6)
    if beta == 1.0:
        np.testing.assert_allclose(loss, -terms.elbo, rtol=1e-6)


def test_beta_assigned_between_steps_changes_the_traced_step_and_not_the_elbo():
    vae = make_vae(compile_arguments={"optimizer": keras.optimizers.SGD(0.0)})
    first = vae.evaluate(X, return_dict=True, verbose=0)
    assert first["loss"] == pytest.approx(-first["elbo"], rel=1e-6)
    traced = vae.test_function
    vae.objective.beta.assign(3.0)
    second = vae.evaluate(X, return_dict=True, verbose=0)
    assert vae.test_function is traced
    assert second["elbo"] == first["elbo"]
    assert second["loss"] == pytest.approx(first["reconstruction"] + 3 * first["kl"], rel=1e-6)


def spread_vae(**arguments):
    """A VAE whose three latent dimensions have KLs far apart: about 0.02, 0.5 and 2 nats."""
    vae = make_vae(**arguments)
    kernel, bias = vae.encoder.layers[-1].get_weights()
    kernel *= [0.1, 1.0, 2.0] * 2
    vae.encoder.layers[-1].set_weights([kernel, bias])
    return vae


@pytest.mark.parametrize("floor", [0.05, 0.5, 50.0])
def test_free_bits_put_a_floor_under_the_mean_kl_of_each_dimension(floor):
    terms = spread_vae().terms(X)
    kl = terms.kl_per_dimension.numpy().astype("float64").mean(axis=0)
    assert kl[0] < 0.05 < kl[1] and 0.5 < kl[2] < 50
    expected = terms.reconstruction.numpy().mean() + 2 * np.maximum(floor, kl).sum()
    loss = ELBO(beta=2.0, free_bits=floor).loss(terms).numpy()
    assert loss.shape == (20,)
    assert loss.mean() == pytest.approx(expected, rel=1e-5)


def test_free_bits_leave_a_dimension_below_the_floor_alone():
    """Its gradient is that of the reconstruction, and so for every weighing of the examples."""
    vae = spread_vae()
    kernel = vae.encoder.layers[-1].kernel.value
    weight = np.random.default_rng(0).uniform(size=20).astype("float32")
    with tf.GradientTape(persistent=True) as tape:
        terms = vae.terms(X)
        loss = tf.reduce_sum(weight * ELBO(free_bits=0.05).loss(terms))
        reconstruction = tf.reduce_sum(weight * terms.reconstruction)
        bound = -tf.reduce_sum(weight * terms.elbo)
    loss, reconstruction, bound = (tape.gradient(each, kernel).numpy() for each in (loss, reconstruction, bound))
    np.testing.assert_allclose(loss[:, [0, 3]], reconstruction[:, [0, 3]], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(loss[:, [2, 5]], bound[:, [2, 5]], rtol=1e-4, atol=1e-6)
    assert np.abs(bound[:, [0, 3]] - reconstruction[:, [0, 3]]).max() > 1e-3


def test_free_bits_hold_the_floor_in_training():
    """On data that z cannot explain, the KL of each dimension falls to the floor and no further."""
    x = np.random.default_rng(0).integers(0, 2, size=(512, 8, 8, 1)).astype("float32")
    vae = make_vae(objective=ELBO(free_bits=0.1))
    assert (vae.terms(x).kl_per_dimension.numpy().mean(axis=0) > 0.18).all()
    vae.fit(x, epochs=10, batch_size=128, verbose=0)
    kl = vae.terms(x).kl_per_dimension.numpy().mean(axis=0)
    # Adam's momentum carries it a little below, where it is let alone; the ELBO gets to 0.0003.
    assert (kl > 0.05).all() and (kl < 0.15).all()


@pytest.mark.parametrize("capacity", [0.0, 1.0, 100.0])
def test_capacity_holds_the_mean_kl(capacity):
    vae = make_vae()
    kernel = vae.encoder.layers[-1].kernel.value
    objective = ELBO(beta=10.0, capacity=capacity)
    with tf.GradientTape(persistent=True) as tape:
        terms = vae.terms(X)
        loss = objective.loss(terms)
        expected = tf.reduce_mean(terms.reconstruction) + 10 * tf.abs(tf.reduce_mean(terms.kl) - capacity)
        mean = tf.reduce_mean(loss)
    assert loss.shape == (20,)
    np.testing.assert_allclose(mean, expected, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(mean, kernel), tape.gradient(expected, kernel), rtol=1e-4, atol=1e-5)


def test_capacity_is_live_and_saved():
    terms = make_vae().terms(X)
    objective = ELBO(capacity=0.0)
    np.testing.assert_allclose(objective.loss(terms), ELBO().loss(terms), rtol=1e-6)
    objective.capacity.assign(2.0)
    np.testing.assert_allclose(objective.loss(terms), ELBO(capacity=2.0).loss(terms), rtol=1e-6)
    assert objective.get_config()["capacity"] == 2.0
    assert ELBO().get_config()["capacity"] is None


def test_free_bits_on_two_replicas_are_those_of_the_whole_batch():
    expected = tf.reduce_mean(ELBO(free_bits=0.05).loss(spread_vae().terms(X)))
    with two_replicas().scope():
        vae = spread_vae(objective=ELBO(free_bits=0.05))
    assert vae.evaluate(X, batch_size=20, verbose=0)[0] == pytest.approx(float(expected), rel=1e-5)


# IWAE and its gradients


def test_iwae_of_one_sample_is_the_monte_carlo_elbo():
    vae = make_vae()
    terms = vae.terms(X, num_samples=1)
    expected = -(terms.log_likelihood + terms.log_prior - terms.log_posterior)[0]
    for gradient in ("standard", "stl", "dreg"):
        np.testing.assert_allclose(IWAE(num_samples=1, gradient=gradient).loss(terms), expected, rtol=1e-6)


def test_iwae_of_one_sample_equals_the_elbo_within_standard_errors():
    vae, x, _ = shifted_linear_vae()
    terms = vae.terms(x, num_samples=1)
    difference = kvae.evaluation.estimate((IWAE(num_samples=1).loss(terms) - ELBO().loss(terms)).numpy())
    assert abs(difference.mean) < 4 * difference.standard_error


@pytest.mark.parametrize("gradient", ["standard", "stl", "dreg"])
def test_iwae_is_the_log_of_the_mean_weight(gradient):
    terms = make_vae().terms(X, num_samples=6)
    expected = -(scipy.special.logsumexp(terms.log_weight.numpy().astype("float64"), axis=0) - np.log(6))
    np.testing.assert_allclose(IWAE(num_samples=6, gradient=gradient).loss(terms), expected, rtol=1e-5)


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
def test_gradient_is_zero_for_every_draw_at_the_exact_posterior(gradient):
    """There log w does not depend on z, and only the score, which is left out, moves the encoder."""
    exact = {
        kind: gradient_function(linear_vae(objective=IWAE(num_samples=5, gradient=kind))[0], 50)(
            linear_vae()[1][:50], tf.constant(1)
        )[0]
        for kind in ("standard", gradient)
    }
    # float32: terms of about 10 / noise_scale^2 cancel
    assert np.abs(exact[gradient]).max() < 1e-4
    assert np.abs(exact["standard"]).max() > 1e-2


def test_generative_gradients_are_the_standard_ones():
    x = shifted_linear_vae()[1][:50]
    decoders = {
        kind: gradient_function(shifted_linear_vae(objective=IWAE(num_samples=5, gradient=kind))[0], 50)(
            x, tf.constant(1)
        )[1]
        for kind in ("standard", "stl", "dreg")
    }
    for kind in ("stl", "dreg"):
        np.testing.assert_allclose(decoders[kind], decoders["standard"], rtol=1e-4, atol=1e-5)


class LearnedNormal(kvae.priors.StandardNormal):
    def build(self, data_shape=None, latent_dim=None):
        super().build(data_shape, latent_dim)
        self.mean = self.add_weight((latent_dim,), "ones", name="mean")

    def distribution(self, vae):
        return type(super().distribution(vae))(self.mean.value, tf.ones(self.latent_dim))


def test_gradient_of_a_learned_prior_is_the_standard_one():
    gradients = {}
    for kind in ("standard", "stl", "dreg"):
        vae = make_vae(prior=LearnedNormal(), objective=IWAE(num_samples=5, gradient=kind))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(vae.objective.loss(vae.terms(X)))
        gradients[kind] = tape.gradient(loss, vae.prior.mean.value)
    for kind in ("stl", "dreg"):
        np.testing.assert_allclose(gradients[kind], gradients["standard"], rtol=1e-4)


def test_dreg_is_unbiased_and_has_less_variance_at_64_samples():
    runs = {}
    for kind in ("standard", "dreg", "stl"):
        vae, x, _ = shifted_linear_vae(objective=IWAE(num_samples=64, gradient=kind))
        gradients = tf.function(gradient_function(vae, 20), autograph=False)
        runs[kind] = np.array([gradients(x[:20], tf.constant(seed))[0] for seed in range(200)])
    error = np.sqrt((runs["dreg"].var(axis=0) + runs["standard"].var(axis=0)) / 200)
    difference = np.abs(runs["dreg"].mean(axis=0) - runs["standard"].mean(axis=0))
    assert (difference < 4.5 * error + 1e-6).all()  # 24 gradients
    ratio = runs["dreg"].var(axis=0).sum() / runs["standard"].var(axis=0).sum()
    assert ratio < 0.2
    # what makes stl biased shows at this many samples: it does not fall with S as the true gradient does
    assert np.abs(runs["stl"].mean(axis=0) - runs["standard"].mean(axis=0)).max() > 10 * error.max()


def test_gradient_of_a_part_of_the_terms_needs_no_loss():
    vae = make_vae(objective=IWAE(num_samples=2, gradient="dreg"))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(vae.terms(X).log_likelihood)
    assert np.isfinite(tape.gradient(value, vae.encoder.layers[-1].kernel.value)).all()


# Renyi


@pytest.mark.parametrize("alpha", [-3.0, -0.5, 0.0, 0.5, 0.99, 1.002, 2.0])
def test_renyi_is_its_formula(alpha):
    terms = make_vae().terms(X, num_samples=6)
    log_weight = terms.log_weight.numpy().astype("float64")
    expected = -(scipy.special.logsumexp((1 - alpha) * log_weight, axis=0) - np.log(6)) / (1 - alpha)
    # 1e-6 of rounding in log(mean exp) is divided by 1 - alpha
    np.testing.assert_allclose(Renyi(alpha, num_samples=6).loss(terms), expected, rtol=1e-5, atol=1e-6 / abs(1 - alpha))


def test_renyi_passes_through_iwae_and_elbo_and_falls_with_alpha():
    vae, x, log_marginal = shifted_linear_vae()
    terms = vae.terms(x, num_samples=64)
    np.testing.assert_allclose(Renyi(0.0, num_samples=64).loss(terms), IWAE(num_samples=64).loss(terms), rtol=1e-5)
    near = Renyi(0.999, num_samples=64).loss(terms)
    np.testing.assert_allclose(near, -tf.reduce_mean(terms.log_weight, axis=0), atol=5e-3)  # 0.001 Var[log w] / 2
    losses = [Renyi(alpha, num_samples=64).loss(terms).numpy() for alpha in (-5.0, -1.0, 0.0, 0.5, 0.9, 2.0)]
    for higher, lower in itertools.pairwise(losses):
        assert (lower - higher > -1e-5).all()
    assert (-losses[0] > log_marginal(x)).mean() > 0.5


# Arguments


def test_bad_settings():
    for beta in (-1.0, float("nan"), float("inf"), "4"):
        with pytest.raises(ValueError, match="`beta` must be a number, zero or larger"):
            ELBO(beta=beta)
    for num_samples in (0, -1, 1.5, True, float("inf"), "8"):
        with pytest.raises(ValueError, match="`num_samples` must be a whole number of at least 1"):
            IWAE(num_samples=num_samples)
    with pytest.raises(ValueError, match="`free_bits` must be a number, zero or larger"):
        ELBO(free_bits=-0.1)
    with pytest.raises(ValueError, match="`capacity` must be a number, zero or larger"):
        ELBO(capacity=-1.0)
    with pytest.raises(ValueError, match="give one of them. Received: free_bits=0.1, capacity=2.0"):
        ELBO(free_bits=0.1, capacity=2.0)
    with pytest.raises(
        ValueError, match="`gradient` must be one of 'standard', 'stl', 'dreg'. Received: gradient='DReG'"
    ):
        IWAE(gradient="DReG")
    with pytest.raises(ValueError, match="`alpha` = 1 is the ELBO.*use kvae.objectives.ELBO"):
        Renyi(alpha=1)
    with pytest.raises(ValueError, match="`alpha` must be a number. Received: alpha=nan"):
        Renyi(alpha=float("nan"))
    with pytest.raises(ValueError, match="With `num_samples` = 1"):
        Renyi(alpha=0.5, num_samples=1)
