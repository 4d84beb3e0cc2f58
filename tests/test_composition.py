"""Everything composes: every likelihood with every posterior, prior and objective, by one argument each."""

import functools
import inspect
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kvae
from kvae import likelihoods, objectives, posteriors, priors

LATENT_DIM, ROWS = 2, 6
RNG = np.random.default_rng(0)
UNIT = RNG.integers(0, 256, (ROWS, 4)) / 255
COUNTS = RNG.integers(0, 5, (ROWS, 4))
REAL = RNG.normal(size=(ROWS, 4))

# name: (how it is made, data)
LIKELIHOODS = {
    "bernoulli": (likelihoods.Bernoulli, UNIT > 0.5),
    "continuous_bernoulli": (likelihoods.ContinuousBernoulli, UNIT),
    "beta": (likelihoods.Beta, UNIT),
    "discretized_logistic": (likelihoods.DiscretizedLogistic, UNIT),
    "discretized_logistic_mixture": (functools.partial(likelihoods.DiscretizedLogistic, num_components=2), UNIT),
    "normal": (likelihoods.Normal, REAL),
    "normal_decoder": (functools.partial(likelihoods.Normal, "decoder"), REAL),
    "normal_optimal": (functools.partial(likelihoods.Normal, "optimal"), REAL),
    "laplace": (likelihoods.Laplace, REAL),
    "student_t": (likelihoods.StudentT, REAL),
    "categorical": (functools.partial(likelihoods.Categorical, 5), COUNTS),
    "poisson": (likelihoods.Poisson, COUNTS),
    "negative_binomial": (likelihoods.NegativeBinomial, COUNTS),
    "zero_inflated": (likelihoods.ZeroInflated, COUNTS),
    "joint": (
        functools.partial(
            likelihoods.Joint, [("normal", 2), (functools.partial(likelihoods.Categorical, 5)(), 1), ("bernoulli", 1)]
        ),
        np.concatenate([REAL[:, :2], COUNTS[:, :1], COUNTS[:, 1:2] > 2], axis=1),
    ),
}
POSTERIORS = {
    "diagonal_normal": posteriors.DiagonalNormal,
    "full_normal": posteriors.FullNormal,
    "flow": functools.partial(posteriors.Flow, hidden=(4,)),
}
PRIORS = {
    "standard_normal": priors.StandardNormal,
    "normal": priors.Normal,
    "normal_mixture": functools.partial(priors.NormalMixture, num_components=3),
    "vamp_prior": functools.partial(priors.VampPrior, num_components=3),
    "flow": functools.partial(priors.Flow, hidden=(4,)),
}
OBJECTIVES = {
    "elbo": objectives.ELBO,
    "elbo_free_bits": functools.partial(objectives.ELBO, free_bits=0.1),
    "elbo_capacity": functools.partial(objectives.ELBO, beta=5.0, capacity=1.0),
    "iwae": functools.partial(objectives.IWAE, 2),
    "stl": functools.partial(objectives.IWAE, 2, gradient="stl"),
    "dreg": functools.partial(objectives.IWAE, 2, gradient="dreg"),
    "renyi": functools.partial(objectives.Renyi, alpha=0.5, num_samples=2),
    "beta_tc": functools.partial(objectives.BetaTC, dataset_size=ROWS),
    "factor_vae": functools.partial(objectives.FactorVAE, hidden=(4,)),
    "info_vae": objectives.InfoVAE,
    "wae": objectives.WAE,
    "dip": objectives.DIP,
}
KINDS = (LIKELIHOODS, POSTERIORS, PRIORS, OBJECTIVES)


def excluded(posterior, prior, objective):
    """Why a combination makes no sense, or None."""
    if objective in ("beta_tc", "dip") and posterior != "diagonal_normal":
        return "needs a posterior that factorises over dimensions"
    if objective == "elbo_free_bits" and (posterior != "diagonal_normal" or prior != "standard_normal"):
        return "needs a KL for each dimension"
    if prior == "normal_mixture" and objective == "wae":
        return "sees the prior through draws alone, which pass no gradient to the weights of the mixture"
    return None


def make(likelihood, posterior="diagonal_normal", prior="standard_normal", objective="elbo"):
    """The VAE of four names, and its data."""
    make_likelihood, x = LIKELIHOODS[likelihood]
    head, q = make_likelihood(), POSTERIORS[posterior]()
    keras.utils.set_random_seed(0)
    encoder = kvae.networks.dense_encoder((4,), LATENT_DIM, hidden=(5,), params_size=q.params_size(LATENT_DIM))
    decoder = kvae.networks.dense_decoder(LATENT_DIM, head.params_shape((4,)), hidden=(5,))
    vae = kvae.VAE(encoder, decoder, head, q, PRIORS[prior](), OBJECTIVES[objective]())
    return vae, x.astype("float32")


def test_every_class_takes_part():
    for module, table in zip((likelihoods, posteriors, priors, objectives), KINDS, strict=True):
        base = {"likelihoods": "Likelihood", "posteriors": "Posterior", "priors": "Prior", "objectives": "Objective"}
        base = getattr(module, base[module.__name__.split(".")[1]])
        classes = {each for _, each in inspect.getmembers(module, inspect.isclass) if issubclass(each, base)} - {base}
        makers = [row[0] if isinstance(row, tuple) else row for row in table.values()]
        made = {maker.func if isinstance(maker, functools.partial) else maker for maker in makers}
        assert {each.__name__ for each in classes if not each.__name__.startswith("_")} == {
            each.__name__ for each in made
        }


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_combination_has_a_finite_loss_and_gradient(likelihood, posterior):
    """All priors and objectives for each pair. The gradient is that of the sum of all losses: one NaN spoils it."""
    for prior in PRIORS:
        vae, x = make(likelihood, posterior, prior)
        total, shared = 0.0, {}
        with tf.GradientTape() as tape:
            for name, maker in OBJECTIVES.items():
                if excluded(posterior, prior, name):
                    continue
                objective = maker()
                objective.build(data_shape=vae.data_shape, latent_dim=vae.latent_dim)
                vae.__dict__["objective"] = objective  # past Keras, which locks what is built
                # the objectives that leave z as it is can share the terms of their number of samples
                key = name if type(objective).gate is objectives.IWAE.gate else objective.num_samples
                if key not in shared:
                    shared[key] = vae.terms(x, training=True)
                loss = tf.reduce_mean(objective.loss(shared[key])) + objective.auxiliary_loss(shared[key])
                assert np.isfinite(loss), (prior, name)
                total += loss
        gradients = tape.gradient(total, [each.value for each in vae.trainable_variables])
        assert gradients[0] is not None
        for each in gradients:
            assert each is None or np.isfinite(tf.convert_to_tensor(each)).all(), prior


# Settings of a class that stands in its table already: combined above, left out of the cover below.
VARIANTS = {
    "discretized_logistic_mixture",
    "normal_decoder",
    "normal_optimal",
    "elbo_free_bits",
    "elbo_capacity",
    "stl",
}


def pairwise_cover():
    """Rows of four names such that every pair of classes of different kinds stands together in one row at least."""
    wanted = {((i, a), (j, b)) for i, j in itertools.combinations(range(4), 2) for a in KINDS[i] for b in KINDS[j]}
    allowed = [row for row in itertools.product(*KINDS) if not excluded(*row[1:]) and not VARIANTS & set(row)]
    covers = {row: set(itertools.combinations(enumerate(row), 2)) for row in allowed}
    wanted &= set().union(*covers.values())
    rows = []
    while wanted:
        best = max(allowed, key=lambda row: len(covers[row] & wanted))
        rows.append(best)
        wanted -= covers[best]
    return rows


@pytest.mark.parametrize("row", pairwise_cover(), ids="-".join)
def test_all_pairs_fit_evaluate_save_and_load(row, tmp_path):
    vae, x = make(*row)
    vae.compile(keras.optimizers.Adam(1e-3), run_eagerly=True)
    history = vae.fit(x, epochs=2, batch_size=ROWS, verbose=0).history
    assert np.isfinite(list(history.values())).all()
    report = vae.evaluate(x, verbose=0)
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_allclose(again.evaluate(x, verbose=0), report, rtol=1e-6)
    np.testing.assert_allclose(again(x), vae(x), atol=1e-6)
    np.testing.assert_allclose(again.sample(2), vae.sample(2), atol=1e-6)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_exports_its_decoder(likelihood, tmp_path):
    vae, _ = make(likelihood)
    kvae.export.tflite(vae, tmp_path / "decoder.tflite")
    z = np.ones((2, LATENT_DIM), "float32")
    expected = vae.likelihood(vae.likelihood_params(tf.constant(z)))
    np.testing.assert_allclose(kvae.export.load(tmp_path / "decoder.tflite").decode(z), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("posterior", "prior", "objective"),
    [
        ("full_normal", "standard_normal", "beta_tc"),
        ("flow", "standard_normal", "dip"),
        ("diagonal_normal", "vamp_prior", "elbo_free_bits"),
    ],
)
def test_excluded_combinations_say_why(posterior, prior, objective):
    vae, x = make("bernoulli", posterior, prior, objective)
    assert excluded(posterior, prior, objective)
    with pytest.raises(ValueError, match="(?i)posterior"):
        vae.objective.loss(vae.terms(x))
