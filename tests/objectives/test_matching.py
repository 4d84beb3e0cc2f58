import itertools

import numpy as np
import pytest
import tensorflow as tf
from building import digits, make_vae

import kvae
from kvae.objectives import ELBO, WAE, InfoVAE, maximum_mean_discrepancy

X = digits()[1][:20]
RNG = np.random.default_rng(0)


def mmd(first, second, weight=None):
    """Algorithm 2 of the WAE paper, by loops in float64; its means over the first sample are by weights."""
    weight = np.ones(len(first)) if weight is None else weight
    present = weight > 0

    def kernel(a, b):
        distance = ((a - b) ** 2).sum()
        widths = np.array([0.1, 0.2, 0.5, 1, 2, 5, 10]) * 2 * len(a)
        return (widths / (widths + distance)).sum()

    def mean(first, second, pairs, one, other):
        return np.average(
            [kernel(first[i], second[j]) for i, j in pairs], weights=[one[i] * other[j] for i, j in pairs]
        )

    pairs = list(itertools.product(range(len(first)), repeat=2))
    others = [(i, j) for i, j in pairs if i != j]
    within = mean(first, first, others, weight, weight) + mean(second, second, others, present, present)
    return within - 2 * mean(first, second, pairs, weight, present)


@pytest.mark.parametrize("weight", [None, np.linspace(0, 2, 12)])
def test_mmd_is_the_estimate_of_the_paper(weight):
    first, second = RNG.normal(size=(12, 3)), RNG.normal(1.0, 2.0, size=(12, 3))
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12)):
        tensors = [None if each is None else tf.constant(each, dtype) for each in (first, second, weight)]
        assert float(maximum_mean_discrepancy(*tensors)) == pytest.approx(mmd(first, second, weight), abs=tolerance)


def test_mmd_is_unbiased_and_sees_a_shift_and_a_scale():
    def draw():
        return tf.constant(RNG.normal(size=(64, 3)), tf.float32)

    same = kvae.evaluation.estimate(np.array([maximum_mean_discrepancy(draw(), draw()) for _ in range(200)]))
    assert abs(same.mean) < 4 * same.standard_error
    for other in (draw() + 1.0, draw() * 3.0, draw() * 0.2):
        assert maximum_mean_discrepancy(other, draw()) > 0.1


def test_mmd_of_single_rows_is_finite():
    assert np.isfinite(maximum_mean_discrepancy(tf.ones([1, 2]), tf.zeros([1, 2])))


def test_losses_are_their_formulas():
    terms = make_vae().terms(X)
    discrepancy = mmd(terms.z[0].numpy().astype("float64"), terms.prior_z.numpy().astype("float64"))
    np.testing.assert_allclose(WAE(weight=7.0).loss(terms), terms.reconstruction + 7 * discrepancy, rtol=1e-5)
    np.testing.assert_allclose(
        InfoVAE(alpha=0.3, scale=9.0).loss(terms),
        terms.reconstruction + 0.7 * terms.kl + 8.3 * discrepancy,
        rtol=1e-5,
    )


def test_info_vae_contains_the_elbo_and_the_wae():
    terms = make_vae().terms(X)
    np.testing.assert_allclose(InfoVAE(alpha=0.0, scale=1.0).loss(terms), ELBO().loss(terms), rtol=1e-6)
    np.testing.assert_allclose(InfoVAE(alpha=1.0, scale=5.0).loss(terms), WAE(weight=5.0).loss(terms), rtol=1e-6)


def test_wae_matches_the_aggregate_posterior_to_the_prior():
    """Each posterior stays narrow, and together they get the spread of the prior."""
    x = digits()[0]
    vae = make_vae(objective=WAE(weight=5.0))
    vae.fit(x, epochs=15, batch_size=100, verbose=0)
    z = vae.terms(x).z[0].numpy()
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=0.3)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.3)
    assert vae.encode(x).variance().numpy().mean() < 0.05


def test_bad_settings():
    with pytest.raises(ValueError, match="`weight` must be a number, zero or larger"):
        WAE(weight=-1.0)
    for alpha, scale in ((1.5, 10.0), (0.0, 0.0), (-2.0, 1.0)):
        with pytest.raises(ValueError, match=r"alpha \+ scale >= 1.*Received: alpha="):
            InfoVAE(alpha=alpha, scale=scale)
