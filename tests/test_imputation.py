import numpy as np
import pytest
from building import digits, linear_vae, make_vae, networks

import kvae

X, X_TEST = digits()


def linear_vae_with_missing_values():
    """The linear-Gaussian VAE, its covariance and offset, and data with a third of the values hidden."""
    vae, x, _ = linear_vae()
    weights = vae.encoder.get_weights()
    weights[0][:, 2:], weights[1][2:] = 0.0, 1.0  # a proposal wide enough for what is not known of z
    vae.encoder.set_weights(weights)
    vae = kvae.VAE(vae.encoder, vae.decoder, vae.likelihood, missing="fill")
    columns, offset = (each.astype("float64") for each in vae.decoder.get_weights())
    covariance = columns.T @ columns + 0.25 * np.eye(5)
    hidden = np.random.default_rng(0).random(x.shape) < 1 / 3
    hidden[:, 0] = False
    return vae, np.where(hidden, np.nan, x), covariance, offset


def test_mean_is_the_conditional_mean_of_the_gaussian():
    vae, x, covariance, offset = linear_vae_with_missing_values()
    x = x[:30]
    filled = vae.impute(x, num_samples=20_000, batch_size=10)
    for row, done in zip(x, filled, strict=True):
        hidden = np.isnan(row)
        if not hidden.any():
            continue
        gain = covariance[np.ix_(hidden, ~hidden)] @ np.linalg.inv(covariance[np.ix_(~hidden, ~hidden)])
        expected = offset[hidden] + gain @ (row[~hidden] - offset[~hidden])
        # the proposal is wide and saw zeros for what is hidden: the effective sample is a small part of the 20,000
        np.testing.assert_allclose(done[hidden], expected, atol=0.1)
    np.testing.assert_array_equal(filled[~np.isnan(x)], x[~np.isnan(x)])


def test_draws_have_the_conditional_spread():
    vae, x, covariance, _ = linear_vae_with_missing_values()
    x = np.where(np.arange(5) == 4, np.nan, np.nan_to_num(x[:1], nan=0.5))
    draws = vae.impute(x, num_samples=4000, num_draws=2000)
    assert draws.shape == (2000, 1, 5)
    gain = np.linalg.solve(covariance[:4, :4], covariance[:4, 4])
    variance = covariance[4, 4] - covariance[4, :4] @ gain
    np.testing.assert_allclose(
        draws[:, 0, 4].var(), variance, rtol=0.15
    )  # 2,000 draws: 4.7 standard errors of 3 per cent
    np.testing.assert_array_equal(draws[:, 0, :4], np.broadcast_to(x[0, :4].astype("float32"), (2000, 4)))


@pytest.mark.parametrize("missing", ["fill", "fill+mask"])
def test_seeds_batches_and_shapes(missing):
    encoder, _ = networks((8, 8, 2 if missing == "fill+mask" else 1))
    vae = kvae.VAE(encoder, networks()[1], missing=missing)
    x = np.where(np.random.default_rng(1).random(X_TEST[:20].shape) < 0.5, np.nan, X_TEST[:20])
    filled = vae.impute(x, num_samples=10)
    assert np.isfinite(filled).all() and filled.dtype == np.float32
    np.testing.assert_allclose(vae.impute(x, num_samples=10, batch_size=7), filled, atol=1e-5)
    assert np.abs(vae.impute(x, num_samples=10, seed=5) - filled).max() > 1e-4
    draws = vae.impute(x, num_samples=10, num_draws=3)
    assert draws.shape == (3, *x.shape) and set(np.unique(draws)) == {0.0, 1.0}
    np.testing.assert_array_equal(draws, vae.impute(x, num_samples=10, num_draws=3))


def test_needs_missing():
    with pytest.raises(ValueError, match="made with `missing='fill'`"):
        make_vae().impute(X_TEST[:4])


def test_observed_values_keep_their_precision():
    vae, x, *_ = linear_vae_with_missing_values()
    x = x[:10].astype("float64")
    x[:, 0] = 1e9 + np.arange(10)  # which float32 holds to 64
    for num_draws in (None, 2):
        filled = vae.impute(x, num_samples=5, num_draws=num_draws)
        np.testing.assert_array_equal(filled[..., 0], np.broadcast_to(x[:, 0], filled.shape[:-1]))
        assert np.isfinite(filled).all()
