"""Tables of mixed columns."""

import json

import keras
import numpy as np
import pytest
from building import networks

import kvae
from kvae import likelihoods

RNG = np.random.default_rng(0)


def make():
    return likelihoods.Joint(
        [
            (likelihoods.Normal("optimal"), 2),
            (likelihoods.Categorical(4), 1),
            ("bernoulli", 2),
            (likelihoods.ZeroInflated("negative_binomial"), 1),
        ]
    )


def table(rows=40):
    columns = [RNG.normal(size=(rows, 2)), RNG.integers(4, size=(rows, 1)), RNG.integers(2, size=(rows, 2))]
    return np.concatenate([*columns, RNG.poisson(3, size=(rows, 1))], axis=1).astype("float32")


def test_width_of_the_decoder():
    likelihood = make()
    assert likelihood.params_shape((6,)) == (2 + 4 + 2 + 3,)
    assert likelihood.params_shape((5, 6)) == (5, 11)
    assert likelihood.num_params == 2  # 11 of 6 columns
    assert likelihood.link is None
    assert likelihoods.Joint([("bernoulli", 1), ("continuous_bernoulli", 2)]).link == "sigmoid"
    with pytest.raises(
        ValueError, match=r"must add up to the last axis of the data, 7. Received: 2 \+ 1 \+ 2 \+ 1 = 6"
    ):
        likelihood.params_shape((7,))


def test_is_the_sum_of_its_parts_and_their_means_side_by_side():
    likelihood, x = make(), table()
    likelihood.build(data_shape=(6,), latent_dim=2)
    params = RNG.normal(size=(40, 11)).astype("float32")
    mask = RNG.random(x.shape) < 0.7
    slices = [(slice(0, 2),) * 2, (slice(2, 6), slice(2, 3)), (slice(6, 8), slice(3, 5)), (slice(8, 11), slice(5, 6))]
    for where in (None, mask):
        expected = sum(
            part.log_prob(params[:, own], x[:, columns], None if where is None else where[:, columns]).numpy()
            for part, (own, columns) in zip(likelihood.likelihoods, slices, strict=True)
        )
        np.testing.assert_allclose(likelihood.log_prob(params, x, where), expected, rtol=1e-6)
        np.testing.assert_allclose(likelihood.distribution(params, where).log_prob(x), expected, rtol=1e-6)
    means = [part(params[:, own]).numpy() for part, (own, _) in zip(likelihood.likelihoods, slices, strict=True)]
    assert means[1].shape == (40, 1, 4)
    means[1] = means[1][:, 0]
    np.testing.assert_allclose(likelihood(params), np.concatenate(means, axis=-1), rtol=1e-6)


def test_draws_of_the_columns_are_independent():
    likelihood = likelihoods.Joint([("bernoulli", 1), ("bernoulli", 1)])
    draws = likelihood.distribution(np.zeros((1, 2), "float32")).sample(4000, seed=[1, 2]).numpy()[:, 0]
    assert abs(np.corrcoef(draws.T)[0, 1]) < 5 / np.sqrt(4000)


def test_errors_name_the_columns():
    x = table()
    make().check(x)
    x[0, 0], x[0, 2], x[1, 5] = np.nan, 4, 0.5
    with pytest.raises(
        ValueError, match=r"`x\[..., 2:3\]` must lie in \[0, 3\].*Categorical.*\n`x\[..., 5:6\]`.*whole"
    ):
        make().check(x)


def test_a_table_with_holes_is_one_model(tmp_path):
    likelihood, x = make(), table()
    x[RNG.random(x.shape) < 0.2] = np.nan
    encoder, _ = networks((6,), 2, hidden=(8,))
    _, decoder = networks(likelihood.params_shape((6,)), 2, hidden=(8,))
    vae = kvae.VAE(encoder, decoder, likelihood, missing="fill")
    vae.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    losses = vae.fit(x, batch_size=10, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert vae.predict(x, verbose=0).shape == (40, 9)
    assert vae.likelihood.likelihoods[0].running.numpy()[1] > 0  # parts learn from x in training
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    assert [type(each) for each in again.likelihood.likelihoods] == [type(each) for each in likelihood.likelihoods]
    assert json.dumps(again.likelihood.get_config()) == json.dumps(likelihood.get_config())  # tuples become lists
    np.testing.assert_array_equal(again.predict(x, verbose=0), vae.predict(x, verbose=0))
    assert again.evaluate(x, verbose=0) == vae.evaluate(x, verbose=0)
    vae.likelihood.check(vae.sample(20, mean=False, seed=1))


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_log_prob_takes_tables_of_any_type(dtype):
    likelihood = likelihoods.Joint([(likelihoods.Normal(0.5), 1), ("poisson", 2)])
    likelihood.build(data_shape=(3,))
    params, x = RNG.normal(size=(4, 3)).astype("float32"), RNG.integers(5, size=(4, 3))
    np.testing.assert_allclose(
        likelihood.log_prob(params, x.astype(dtype)), likelihood.log_prob(params, x.astype("float32")), rtol=1e-6
    )
