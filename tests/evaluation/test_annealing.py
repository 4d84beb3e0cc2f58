import numpy as np
import pytest
import tensorflow as tf
from building import digits, linear_vae, make_vae, networks

import kvae
from kvae.evaluation import annealed_log_likelihood, bidirectional_gap, estimate, log_likelihood

SETTINGS = {"num_leapfrog_steps": 3, "step_size": 1.0, "verbose": 0}


@pytest.fixture(scope="module")
def linear():
    vae, x, log_marginal = linear_vae()
    vae.compile(jit_compile=False)
    return vae, x, log_marginal


def test_the_weights_have_the_mean_p_of_x_however_short_the_chains(linear):
    vae, x, log_marginal = linear
    # Sharper than any bound: with what TFP keeps from the last temperature it is lower by 15 standard errors.
    ratios = [
        np.exp(annealed_log_likelihood(vae, x, 5, 200, 3, 0.5, seed, batch_size=200) - log_marginal(x))
        for seed in range(10)
    ]
    ratio = estimate(np.concatenate(ratios))
    assert ratio.standard_error < 0.01
    assert abs(ratio.mean - 1) < 4 * ratio.standard_error


def test_the_weights_of_the_way_back_have_the_mean_one_over_p_of_x(linear):
    vae, _, log_marginal = linear
    ratios = []
    for seed in range(10):
        x = vae.sample(200, mean=False, seed=seed)
        z = vae.prior.from_noise(kvae.random.normal(seed, tf.range(200), 0, 2), vae)
        settings = kvae.evaluation.annealing._settings(20, 20, 3, 0.5)
        upper = kvae.evaluation.annealing._anneal(vae, x, z, settings, seed, 200, 0)
        ratios.append(np.exp(log_marginal(x) - upper))
    ratio = estimate(np.concatenate(ratios))
    assert ratio.standard_error < 0.1
    assert abs(ratio.mean - 1) < 4 * ratio.standard_error


def test_comes_close_to_the_exact_value(linear):
    vae, x, log_marginal = linear
    gap = estimate(annealed_log_likelihood(vae, x, num_steps=300, batch_size=100, **SETTINGS) - log_marginal(x))
    assert abs(gap.mean) < 0.05  # the bias falls as one over the number of steps, from 0.4 at 5
    assert gap.standard_error < 0.05


def test_bounds_from_both_sides_close_around_the_truth(linear):
    vae, _, log_marginal = linear
    exact = estimate(log_marginal(vae.sample(100, mean=False, seed=3))).mean
    few, many = (bidirectional_gap(vae, 100, num_steps=steps, batch_size=100, seed=3, **SETTINGS) for steps in (5, 300))
    for result in (few, many):
        assert result.gap.mean == pytest.approx(result.upper.mean - result.lower.mean)
        assert result.lower.mean - 4 * result.gap.standard_error < exact
        assert exact < result.upper.mean + 4 * result.gap.standard_error
    assert few.lower.mean < exact < few.upper.mean  # a wide gap leaves no doubt
    assert few.gap.mean > 5 * many.gap.mean
    assert many.gap.mean < 0.3
    assert str(many).endswith("nats") and "<= log p(x) <=" in str(many)


def test_a_wrong_encoder_does_no_harm():
    vae, x, log_marginal = linear_vae()
    vae.compile(jit_compile=False)
    kernel, bias = vae.encoder.get_weights()
    vae.encoder.set_weights([kernel, bias + np.array([5.0, 5.0, 0.0, 0.0])])  # far off
    annealed = estimate(annealed_log_likelihood(vae, x, num_steps=300, batch_size=100, **SETTINGS) - log_marginal(x))
    assert abs(annealed.mean) < 0.05
    assert estimate(log_likelihood(vae, x, num_samples=100) - log_marginal(x)).mean < -1  # unlike importance sampling


@pytest.mark.parametrize("prior", ["normal_mixture", "flow"])
def test_other_priors(prior):
    vae, x, _ = linear_vae()
    vae = kvae.VAE(vae.encoder, vae.decoder, vae.likelihood, prior=prior)
    vae.compile(jit_compile=False)
    rng = np.random.default_rng(0)
    vae.prior.set_weights([each + 0.2 * rng.normal(size=each.shape) for each in vae.prior.get_weights()])
    reference = log_likelihood(vae, x[:20], num_samples=5000)
    annealed = annealed_log_likelihood(vae, x[:20], num_steps=200, batch_size=20, **SETTINGS)
    difference = estimate(annealed - reference)
    assert abs(difference.mean) < 4 * difference.standard_error + 0.05


def test_conditional_models_missing_values_and_data_sets():
    x = digits()[1][:6]
    encoder = kvae.networks.dense_encoder((8, 8, 1), 2, hidden=(8,), num_classes=10)
    decoder = kvae.networks.dense_decoder(2, (8, 8, 1), hidden=(8,), num_classes=10)
    conditional = kvae.VAE(encoder, decoder)
    conditional.compile(jit_compile=False)
    labels = np.arange(6)
    values = annealed_log_likelihood(conditional, (x, labels), num_steps=50, **SETTINGS)
    # an untrained model, whose posterior is near its prior: both bounds are tight
    np.testing.assert_allclose(values, log_likelihood(conditional, (x, labels), num_samples=5000), atol=0.3)
    for condition in (3, labels):
        assert bidirectional_gap(conditional, 6, condition, num_steps=50, **SETTINGS).gap.mean < 0.3
    with pytest.raises(ValueError, match="needs a `condition`"):
        bidirectional_gap(conditional, 6)

    vae = make_vae(missing="fill", latent_dim=2)
    hidden = np.where(np.arange(x.size).reshape(x.shape) % 3 == 0, np.nan, x)
    values = annealed_log_likelihood(vae, hidden, num_steps=50, **SETTINGS)
    np.testing.assert_allclose(values, log_likelihood(vae, hidden, num_samples=5000), atol=0.3)
    batches = tf.data.Dataset.from_tensor_slices(hidden).batch(4)
    np.testing.assert_allclose(annealed_log_likelihood(vae, batches, num_steps=50, **SETTINGS), values, atol=0.3)


def test_the_same_seed_gives_the_same(linear):
    vae, x, _ = linear
    runs = [annealed_log_likelihood(vae, x[:3], num_steps=5, seed=seed, **SETTINGS) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).min() > 0


@pytest.mark.parametrize("name", ["num_steps", "num_chains", "num_leapfrog_steps", "batch_size"])
def test_bad_numbers(linear, name):
    vae, x, _ = linear
    for evaluate in (
        lambda **arguments: annealed_log_likelihood(vae, x, **arguments),
        lambda **arguments: bidirectional_gap(vae, **arguments),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be a whole number of at least 1"):
            evaluate(**{name: 0})


def test_bad_input(linear):
    vae, x, _ = linear
    for step_size in (0.0, -1.0):
        with pytest.raises(ValueError, match="`step_size` must be"):
            annealed_log_likelihood(vae, x, step_size=step_size)
    with pytest.raises(ValueError, match="is empty"):
        annealed_log_likelihood(vae, x[:0])
    with pytest.raises(TypeError, match="Received: Autoencoder"):
        bidirectional_gap(kvae.Autoencoder(*networks(params_size=3)))
    with pytest.raises(ValueError, match="`seed` must be an int"):
        bidirectional_gap(vae, seed=None)
