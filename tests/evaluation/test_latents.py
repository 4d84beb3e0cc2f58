"""kvae.evaluation.latent_statistics against closed forms, identities and an independent formula."""

import math

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from building import digits, linear_vae, make_vae, networks

import kvae
from kvae import posteriors, priors
from kvae.evaluation import LatentStatistics, aggregate, latent_statistics

X, X_TEST = digits()

POSTERIORS = {
    "diagonal": lambda: posteriors.DiagonalNormal(),
    "full": lambda: posteriors.FullNormal(),
    "flow": lambda: posteriors.Flow(num_steps=1, hidden=(4,), kind="coupling"),
}
PRIORS = {
    "standard": lambda: priors.StandardNormal(),
    "normal": lambda: priors.Normal([1.0, 0.0, -1.0], 0.5),
    "full normal": lambda: priors.Normal(0.5, [[1, 0, 0], [0.6, 0.8, 0], [-0.3, 0.4, 1.5]], covariance="full"),
    "mixture": lambda: priors.NormalMixture(num_components=3),
    "vamp": lambda: priors.VampPrior(num_components=4),
    "flow": lambda: priors.Flow(num_steps=1, hidden=(4,)),
}


@pytest.fixture
def eagerly():
    """For tests of many small models: they take less time than their graphs take to be traced."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def vae_of(posterior, prior, spread=1.0):
    """An untrained VAE whose posteriors differ from x to x and have correlations."""
    head = POSTERIORS[posterior]()
    encoder, decoder = networks(params_size=head.params_size(3))
    kernel, bias = encoder.layers[-1].get_weights()
    encoder.layers[-1].set_weights([spread * kernel, bias + np.linspace(-0.5, 0.5, len(bias))])
    return kvae.VAE(encoder, decoder, posterior=head, prior=PRIORS[prior]())


def direct(vae, x, num_samples, seed=0):
    """I, marginal KL, TC and sum_d KL(q(z_d) || p(z_d)) of normals, as means over draws of differences of log-densities.

    Written anew, with scipy, all posteriors at once; each with its standard error over the examples.
    """
    q = vae.encode(x)
    mean, covariance = q.mean().numpy().astype("float64"), q.covariance().numpy().astype("float64")
    noise = kvae.random.Noise(seed, kvae.random.EVALUATION, tf.range(len(x))).normal(3, num_samples)
    z = vae.posterior.from_noise(vae.posterior_params(tf.constant(x)), noise).numpy().astype("float64")  # [S, N, D]
    scale = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    joint = np.stack(
        [scipy.stats.multivariate_normal(m, c).logpdf(z) for m, c in zip(mean, covariance, strict=True)], axis=-1
    )  # [S, N, N]
    single = scipy.stats.norm(mean, scale).logpdf(z[:, :, None])  # [S, N, N, D]
    log_q = scipy.special.logsumexp(joint, axis=-1) - math.log(len(x))
    log_q_d = scipy.special.logsumexp(single, axis=-2) - math.log(len(x))
    own = np.diagonal(joint, axis1=1, axis2=2)
    log_p_d = scipy.stats.norm.logpdf(z)
    parts = {
        "mutual_information": own - log_q,
        "marginal_kl": log_q - log_p_d.sum(axis=-1),
        "total_correlation": log_q - log_q_d.sum(axis=-1),
        "dimension_wise_kl": (log_q_d - log_p_d).sum(axis=-1),
    }
    return {name: (values.mean(), values.mean(axis=0).std() / math.sqrt(len(x))) for name, values in parts.items()}


@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_parts_are_those_of_an_independent_formula(posterior):
    vae = vae_of(posterior, "standard", spread=3.0)
    found, expected = latent_statistics(vae, X[:60], num_samples=3), direct(vae, X[:60], num_samples=3)
    # The same draws: equal but for float32.
    assert found.mutual_information == pytest.approx(expected["mutual_information"][0], abs=1e-5)
    assert found.total_correlation == pytest.approx(expected["total_correlation"][0], abs=1e-4)
    # Here the closed form of the KL stands for its mean over the draws, so the rest agrees within standard errors.
    for name in ("marginal_kl", "dimension_wise_kl"):
        mean, error = expected[name]
        assert abs(getattr(found, name) - mean) < 4 * error
    assert found.total_correlation > 0.05 or posterior == "diagonal"  # else the test of `full` says little


@pytest.mark.parametrize("prior", ["standard", "normal"])
@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_identities(posterior, prior, eagerly):
    found = latent_statistics(vae_of(posterior, prior), X[:50], num_samples=2)
    assert found.mutual_information + found.marginal_kl == pytest.approx(found.kl, abs=1e-9)
    if posterior == "diagonal":
        assert found.kl_per_dimension.sum() == pytest.approx(found.kl, rel=1e-6)
        assert found.total_correlation + found.dimension_wise_kl == pytest.approx(found.marginal_kl, rel=1e-5)


def test_kl_without_a_closed_form_is_that_of_the_same_draws():
    vae = vae_of("flow", "flow")
    found = latent_statistics(vae, X[:30], num_samples=4)
    known = aggregate.describe(vae, X[:30], 4, 0, 256)
    assert found.kl == pytest.approx((known["log_posterior"] - known["log_prior"]).mean(), rel=1e-5)
    others, _ = aggregate.log_sum_of_others(vae, known["params"], known["z"], 256)
    log_q = np.logaddexp(others, known["log_posterior"]) - math.log(30)
    assert found.marginal_kl == pytest.approx((log_q - known["log_prior"]).mean(), rel=1e-5)


def test_linear_gaussian_model_in_closed_form():
    """With x normal and E[z|x] linear in x, q(z) is a normal of known mean and covariance."""
    vae, x, _ = linear_vae()
    kernel = vae.encoder.get_weights()[0][:, :2].astype("float64")  # [5, 2]
    within = np.array([[1.0, 0.8], [0.8, 1.2]])  # Cov[E[z|x]]
    codes = np.random.default_rng(2).multivariate_normal(np.zeros(2), within, size=8000)
    q = vae.encode(x[:1])
    centre, variance = q.mean().numpy()[0], q.variance().numpy()[0]
    x = (x[:1] + codes @ np.linalg.pinv(kernel)).astype("float32")
    covariance = within + np.diag(variance)
    log_det = np.linalg.slogdet(covariance)[1]
    second = np.diag(covariance) + centre**2
    truth = {
        "kl": 0.5 * (np.trace(within) + (centre**2 + variance - 1 - np.log(variance)).sum()),
        "mutual_information": 0.5 * (log_det - np.log(variance).sum()),
        "marginal_kl": 0.5 * (second.sum() - 2 - log_det),
        "total_correlation": 0.5 * (np.log(np.diag(covariance)).sum() - log_det),
        "dimension_wise_kl": 0.5 * (second - 1 - np.log(np.diag(covariance))).sum(),
    }
    assert truth["total_correlation"] > 0.05 and truth["mutual_information"] < math.log(1000) - 2
    runs = [latent_statistics(vae, part, num_examples=1000) for part in np.split(x, 8)]
    for name, expected in truth.items():
        values = kvae.evaluation.estimate([getattr(run, name) for run in runs])
        # Beyond the noise: q(z) is a mixture of 1,000, which makes I too small by about the share of examples near z,
        # and the others too large by as much.
        assert abs(values.mean - expected) < 4 * values.standard_error + 0.02, name
    lower = kvae.evaluation.estimate([run.marginal_kl_lower for run in runs])
    assert lower.mean < truth["marginal_kl"] + 4 * lower.standard_error
    assert lower.mean == pytest.approx(truth["marginal_kl"], abs=4 * lower.standard_error + 0.02)  # q(z) is a normal
    assert all(run.active.all() for run in runs)


def test_a_collapsed_encoder_has_nothing():
    vae = make_vae()
    vae.encoder.layers[-1].set_weights([np.zeros((16, 6)), np.zeros(6)])
    found = latent_statistics(vae, X[:100])
    for name in ("kl", "mutual_information", "marginal_kl", "total_correlation", "dimension_wise_kl"):
        assert getattr(found, name) == pytest.approx(0, abs=1e-5)  # sums of logs in float32
    assert found.marginal_kl_lower == 0
    assert found.active_units == 0 and found.verdict == "collapsed"
    assert "0 of 3 units are active" in found.reason


def test_information_reaches_its_limit_when_posteriors_do_not_overlap():
    vae = vae_of("diagonal", "standard", spread=1000.0)
    found = latent_statistics(vae, X[:40])
    assert found.mutual_information == pytest.approx(math.log(40), abs=1e-6) and found.saturated
    assert "at most log N = 3.69, reached" in str(found)


def test_lower_bound_on_the_marginal_kl_is_below_it(eagerly):
    for spread in (0.3, 1.0, 3.0, 10.0):
        found = latent_statistics(vae_of("diagonal", "standard", spread), X[:200])
        assert 0 <= found.marginal_kl_lower <= found.marginal_kl + 0.02  # nats, for both are means of 200 draws


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_posterior_with_every_prior(posterior, prior, eagerly):
    found = latent_statistics(vae_of(posterior, prior), X[:12])
    assert np.isfinite([found.kl, found.mutual_information, found.marginal_kl, found.marginal_kl_lower]).all()
    assert -1e-5 <= found.mutual_information <= math.log(12) + 1e-5
    assert found.active.shape == (3,)
    marginal_posterior, marginal_prior = posterior != "flow", prior != "flow" and (posterior, prior) != ("flow", "vamp")
    assert (found.total_correlation is not None) == marginal_posterior
    assert (found.kl_per_dimension is not None) == (marginal_posterior and marginal_prior)
    for name, reason in found.unknown.items():
        assert getattr(found, name) is None
        assert ("posterior Flow" if posterior == "flow" else "prior Flow") in reason and reason in str(found)
    assert bool(found.unknown) == (found.dimension_wise_kl is None)


@pytest.mark.parametrize("posterior", ["diagonal", "full"])
@pytest.mark.parametrize("prior", ["full normal", "mixture", "vamp"])
def test_kl_per_dimension_is_that_of_the_marginals(posterior, prior, eagerly):
    """By quadrature of the marginal densities, against scipy's for q and a projection of draws for p."""
    vae = vae_of(posterior, prior)
    found = latent_statistics(vae, X[:4], num_samples=4000)
    q = vae.encode(X[:4])
    grid = np.linspace(-12, 12, 4001)
    p = vae.prior.distribution(vae)
    if prior == "full normal":
        weights, means, scales = np.ones(1), p.mean().numpy()[None], p.stddev().numpy()[None]
    else:
        weights, parts = p.mixture_distribution.probs_parameter().numpy(), p.components_distribution
        means, scales = parts.mean().numpy(), np.sqrt(np.diagonal(parts.covariance().numpy(), axis1=1, axis2=2))
    for d in range(3):
        log_p = np.log((weights * scipy.stats.norm(means[:, d], scales[:, d]).pdf(grid[:, None])).sum(axis=-1))
        kl = []
        for mean, scale in zip(q.mean().numpy()[:, d], q.stddev().numpy()[:, d], strict=True):
            log_q = scipy.stats.norm(mean, scale).logpdf(grid)
            kl.append(np.trapezoid(np.exp(log_q) * (log_q - log_p), grid))
        # 16,000 draws of about 1 nat of spread; the closed form agrees to float32
        assert found.kl_per_dimension[d] == pytest.approx(np.mean(kl), abs=1e-4 if prior == "full normal" else 0.05)


def test_active_units_of_a_flow_are_those_of_its_mean(eagerly):
    """A flow that stretches dimension 1 by e^2 and leaves the mean of dimension 0 almost constant."""
    vae = vae_of("flow", "standard")
    found = latent_statistics(vae, X[:300])
    z = vae.posterior.from_noise(
        vae.posterior_params(tf.constant(X[:300])), kvae.random.normal(1, 1, tf.range(300), 3, tf.range(2000)[:, None])
    )
    variance = z.numpy().mean(axis=0).var(axis=0)
    assert (np.abs(variance - 0.01) > 0.004).all()  # nothing is on the border
    np.testing.assert_array_equal(found.active, variance > 0.01)


def test_does_not_depend_on_how_it_is_cut(monkeypatch, eagerly):
    vae = vae_of("full", "mixture")
    whole = latent_statistics(vae, X[:20], num_samples=2)
    shapes, inner = [], aggregate._log_sum_of_others

    def spy(vae, z, owner, params, other):
        shapes.append(len(z) * len(params) * z.shape[1])
        return inner(vae, z, owner, params, other)

    monkeypatch.setattr(aggregate, "_VALUES_AT_ONCE", 200)
    monkeypatch.setattr(aggregate, "_log_sum_of_others", spy)
    other = make_copy(vae)
    again = latent_statistics(other, X[:20], num_samples=2, batch_size=7)
    assert max(shapes) <= 200  # memory does not grow with N
    for name in ("kl", "mutual_information", "marginal_kl", "total_correlation", "dimension_wise_kl"):
        assert getattr(again, name) == pytest.approx(getattr(whole, name), abs=1e-4)
    again = latent_statistics(vae, tf.data.Dataset.from_tensor_slices(X).batch(16), num_samples=2, num_examples=20)
    assert again.num_examples == 20 and again.kl == pytest.approx(whole.kl, rel=1e-6)


def make_copy(vae):
    return kvae.VAE(vae.encoder, vae.decoder, posterior=vae.posterior, prior=vae.prior)


def test_examples_are_chosen_by_the_seed(eagerly):
    vae = make_vae()
    first, again, other = (latent_statistics(vae, X, num_examples=40, seed=seed) for seed in (0, 0, 1))
    assert first.num_examples == 40 and first.kl == again.kl != other.kl
    assert latent_statistics(vae, X[:40], num_examples=40, seed=0).kl != first.kl  # not the first rows


def test_conditional_model(eagerly):
    encoder = kvae.networks.dense_encoder((8, 8, 1), 3, hidden=(8,), num_classes=10)
    decoder = kvae.networks.dense_decoder(3, (8, 8, 1), hidden=(8,), num_classes=10)
    vae = kvae.VAE(encoder, decoder)
    labels = np.arange(100) % 10
    found = latent_statistics(vae, (X[:100], labels), num_examples=50)
    assert found.num_examples == 50 and found.mutual_information + found.marginal_kl == pytest.approx(found.kl)


# Verdicts on trained models


@pytest.fixture(scope="module")
def trained():
    """beta -> a VAE of six dimensions, trained for seconds."""

    def train(beta):
        encoder, decoder = networks(latent_dim=6, hidden=(64,))
        vae = kvae.VAE(encoder, decoder, objective=kvae.objectives.ELBO(beta=beta), seed=0)
        vae.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
        vae.fit(X, epochs=12, batch_size=100, verbose=0)
        return vae

    return {beta: train(beta) for beta in (0.001, 1.0, 100.0)}


@pytest.mark.parametrize(("beta", "verdict"), [(0.001, "overloaded"), (1.0, "healthy"), (100.0, "collapsed")])
@pytest.mark.parametrize("x", [X, X_TEST], ids=["train", "test"])
def test_verdict(trained, beta, verdict, x):
    found = latent_statistics(trained[beta], x)
    assert found.verdict == verdict, str(found)
    assert str(found).startswith(f"{verdict}: ")
    assert f"{found.active_units}  of 6" in str(found)


def statistics_of(**figures):
    healthy = {
        "kl": 20.0,
        "kl_per_dimension": None,
        "active": np.ones(4, bool),
        "mutual_information": 5.0,
        "marginal_kl": 15.0,
        "marginal_kl_lower": 0.5,
        "total_correlation": None,
        "marginal_kl_per_dimension": None,
        "num_examples": 1000,
        "num_samples": 1,
        "unknown": {},
    }
    return LatentStatistics(**{**healthy, **figures})


def test_rules_of_the_verdict():
    assert statistics_of().verdict == "healthy"
    saturated = statistics_of(mutual_information=math.log(1000))  # no fault: more examples would show more
    assert saturated.saturated and saturated.verdict == "healthy" and "or more" in saturated.reason
    assert statistics_of(active=np.zeros(4, bool)).verdict == "collapsed"
    assert statistics_of(mutual_information=0.69).verdict == "collapsed"
    assert statistics_of(mutual_information=0.70).verdict == "healthy"
    # of 2 examples nobody learns more than log 2
    assert statistics_of(mutual_information=0.69, num_examples=2).verdict == "healthy"
    assert statistics_of(mutual_information=0.60, num_examples=2).verdict == "collapsed"
    assert statistics_of(marginal_kl_lower=1.01).verdict == "overloaded"
    assert statistics_of(marginal_kl_lower=1.01, kl=30.0).verdict == "healthy"  # less than a twentieth
    assert statistics_of(marginal_kl_lower=1.51, kl=30.0).verdict == "overloaded"
    assert statistics_of(marginal_kl_lower=0.99, kl=1.0).verdict == "healthy"  # less than a nat


# What is refused


def test_refusals(eagerly):
    vae = make_vae()
    with pytest.raises(ValueError, match="at least 2 examples"):
        latent_statistics(vae, X[:1])
    with pytest.raises(ValueError, match=r"`x` must have shape \[batch, 8, 8, 1\]"):
        latent_statistics(vae, X[..., 0])
    with pytest.raises(ValueError, match="`x` must be finite"):
        latent_statistics(vae, np.where(X[:9] > 0, np.nan, 0).astype("float32"))
    with pytest.raises(ValueError, match="The data set is empty"):
        latent_statistics(vae, tf.data.Dataset.from_tensor_slices(X[:0]).batch(4))
    for name in ("num_samples", "num_examples", "batch_size"):
        with pytest.raises(ValueError, match=f"`{name}` must be a whole number"):
            latent_statistics(vae, X[:9], **{name: 0})
    with pytest.raises(ValueError, match="`seed` must be an int"):
        latent_statistics(vae, X[:9], seed=0.5)
    with pytest.raises(TypeError, match="must be a kvae.VAE"):
        latent_statistics(vae.encoder, X)
    with pytest.raises(ValueError, match="the codes of an autoencoder have no noise"):
        latent_statistics(kvae.Autoencoder(*networks(params_size=3)), X)
    vae.encoder.layers[-1].set_weights([np.full((16, 6), np.nan), np.zeros(6)])
    with pytest.raises(ValueError, match="The encoder's output is not finite"):
        latent_statistics(vae, X[:9])
