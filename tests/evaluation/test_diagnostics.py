import warnings

import numpy as np
import pytest
import tensorflow as tf
from building import digits, linear_vae, make_vae
from scipy.special import softmax
from test_likelihood import shift_proposal

from kvae.evaluation import importance_diagnostics, log_likelihood
from kvae.evaluation.diagnostics import ImportanceDiagnostics

X = digits()[1][:10]


def test_is_what_the_weights_of_terms_say():
    vae = make_vae()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = importance_diagnostics(vae, X, num_samples=60, batch_size=4, samples_at_once=7)
    log_weight = vae.terms(X, num_samples=60).log_weight.numpy()
    np.testing.assert_allclose(result.log_likelihood, log_likelihood(vae, X, 60), atol=1e-4)
    # float32 log weights of 50 nats are known to 1e-5, so their exponentials are too
    np.testing.assert_allclose(
        result.effective_sample_size, 1 / (softmax(log_weight, axis=0) ** 2).sum(axis=0), rtol=1e-3
    )


def test_equal_weights():
    vae, x, _ = linear_vae()
    result = importance_diagnostics(vae, x, num_samples=100)
    np.testing.assert_allclose(result.effective_sample_size, 100, rtol=1e-6)
    assert (result.pareto_k == -np.inf).all()


@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_pareto_k_of_too_narrow_a_posterior(ratio):
    # q = N(m, c v) for p(z|x) = N(m, v): log w = const + (1 - c) r^2 / 2, and r^2 / 2 of two dimensions is exponential,
    # so that the weights are Pareto of shape 1 - c.
    vae, x, _ = linear_vae()
    shift_proposal(vae, variance=ratio)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = importance_diagnostics(vae, x, num_samples=2000, seed=1)
    # 135 weights of 200 examples make 0.01 of standard error; the rest is the pull towards 1/2, and bias.
    assert result.pareto_k.mean() == pytest.approx(1 - ratio, abs=0.06)
    loose = [each for each in caught if "bound is loose" in str(each.message)]
    assert len(loose) == (ratio == 0.1)


def test_effective_sample_size_of_too_wide_a_posterior():
    # 1 / ESS is E[w^2] / S, and E[w^2] = c^2 / (2 c - 1) in two dimensions.
    vae, x, _ = linear_vae()
    shift_proposal(vae, variance=2.0)
    result = importance_diagnostics(vae, x, num_samples=2000)
    assert result.effective_sample_size.mean() / 2000 == pytest.approx(3 / 4, rel=0.01)
    assert result.pareto_k.max() < 0.5  # the weights are bounded


def test_warning_is_in_words():
    vae, x, _ = linear_vae()
    shift_proposal(vae, mean=5.0)
    with pytest.warns(UserWarning, match="The importance-weighted bound is loose: in .* more samples help slowly"):
        importance_diagnostics(vae, x, num_samples=100)


def test_data_sets():
    vae, x, _ = linear_vae()
    vae.compile(jit_compile=False)
    shift_proposal(vae, variance=1.5)
    whole = importance_diagnostics(vae, x, num_samples=50)
    parts = importance_diagnostics(vae, tf.data.Dataset.from_tensor_slices(x).batch(30), num_samples=50)
    for each, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(each, other, atol=1e-2 if each is whole.pareto_k else 1e-3)


def test_reads_well():
    result = ImportanceDiagnostics(np.array([-80.0, -90.0]), np.array([10.0, 30.0]), np.array([0.5, 0.9]))
    assert str(result) == (
        "log p(x) >= -85.00 +- 5.00 (N = 2) nats\n"
        "effective sample size: median 20.0 (90 % of examples: 11.0 to 29.0)\n"
        "Pareto k: median 0.70; above 0.7 in 50.0% of examples"
    )
    assert result.unreliable_share == 0.5


def test_too_few_samples():
    with pytest.raises(ValueError, match="`num_samples` must be a whole number of at least 25"):
        importance_diagnostics(make_vae(), X, num_samples=24)
