"""What holds for every part: names, configuration and completeness, found by introspection."""

import inspect
import json

import keras
import numpy as np
import pytest

import kvae
from kvae import likelihoods, objectives, parts, posteriors, priors

KINDS = {
    "likelihood": (likelihoods, likelihoods.Likelihood),
    "posterior": (posteriors, posteriors.Posterior),
    "prior": (priors, priors.Prior),
    "objective": (objectives, objectives.Objective),
}


def concrete_classes():
    for module, base in KINDS.values():
        for name, each in inspect.getmembers(module, inspect.isclass):
            if issubclass(each, base) and each is not base and not name.startswith("_"):
                yield module, each
    yield kvae.sampling, kvae.Sampling


# One instance of every class that is not made of its defaults. A class without a row here fails the test below.
INSTANCES = {
    "kvae>Bernoulli": lambda: likelihoods.Bernoulli(),
    "kvae>Normal": lambda: likelihoods.Normal(scale=0.7),
    "kvae>Beta": lambda: likelihoods.Beta(epsilon=1e-3),
    "kvae>Categorical": lambda: likelihoods.Categorical(5),
    "kvae>ContinuousBernoulli": lambda: likelihoods.ContinuousBernoulli(),
    "kvae>DiscretizedLogistic": lambda: likelihoods.DiscretizedLogistic(num_levels=16, num_components=3),
    "kvae>Joint": lambda: likelihoods.Joint([("normal", 2), (likelihoods.Categorical(4), 1)]),
    "kvae>Laplace": lambda: likelihoods.Laplace(scale="decoder"),
    "kvae>NegativeBinomial": lambda: likelihoods.NegativeBinomial(),
    "kvae>Poisson": lambda: likelihoods.Poisson(),
    "kvae>StudentT": lambda: likelihoods.StudentT(df=3.0, scale="feature"),
    "kvae>ZeroInflated": lambda: likelihoods.ZeroInflated("negative_binomial"),
    "kvae>DiagonalNormal": lambda: posteriors.DiagonalNormal(),
    "kvae>StandardNormal": lambda: priors.StandardNormal(),
    "kvae>ELBO": lambda: objectives.ELBO(beta=3.5, num_samples=2, capacity=4.0),
    "kvae>IWAE": lambda: objectives.IWAE(num_samples=5, gradient="dreg"),
    "kvae>Renyi": lambda: objectives.Renyi(alpha=0.25, num_samples=3),
    "kvae>BetaTC": lambda: objectives.BetaTC(alpha=0.5, beta=4.0, gamma=2.0, dataset_size=100, sampling="weighted"),
    "kvae>FactorVAE": lambda: objectives.FactorVAE(gamma=3.0, hidden=(8, 4)),
    "kvae>InfoVAE": lambda: objectives.InfoVAE(alpha=0.5, scale=20.0),
    "kvae>WAE": lambda: objectives.WAE(weight=3.0),
    "kvae>DIP": lambda: objectives.DIP("i", 20.0, 2.0),
    "kvae>Sampling": lambda: kvae.Sampling("diagonal_normal", seed=4),
    "kvae>FullNormal": lambda: posteriors.FullNormal(),
    "kvae.posteriors>Flow": lambda: posteriors.Flow(num_steps=3, hidden=(8, 4), kind="coupling", context_size=5),
    "kvae.priors>Normal": lambda: priors.Normal([1.0, 2.0], [[1.0, 0.0], [0.5, 2.0]], covariance="full", learned=False),
    "kvae>NormalMixture": lambda: priors.NormalMixture(num_components=7, covariance="full", seed=3),
    "kvae>VampPrior": lambda: priors.VampPrior(num_components=9, learn_weights=True, seed=2),
    "kvae.priors>Flow": lambda: priors.Flow(num_steps=3, hidden=(8,), kind="maf"),
}


def test_every_class_has_an_instance():
    assert {keras.saving.get_registered_name(each) for _, each in concrete_classes()} == set(INSTANCES)


@pytest.mark.parametrize("name", INSTANCES)
def test_config_round_trip(name):
    part = INSTANCES[name]()
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(part)))
    assert stored["registered_name"] == name
    again = keras.saving.deserialize_keras_object(stored)
    assert type(again) is type(part)
    assert again.get_config() == part.get_config()
    arguments = set(inspect.signature(type(part).__init__).parameters) - {"self", "args", "kwargs"}
    assert arguments <= set(part.get_config())


def test_config_holds_the_live_beta():
    objective = objectives.ELBO(beta=4.0)
    objective.beta.assign(0.25)
    assert objective.get_config()["beta"] == 0.25


@pytest.mark.parametrize(("what", "module"), [(what, module) for what, (module, _) in KINDS.items()])
def test_every_class_has_a_name(what, module):
    for home, each in concrete_classes():
        if home is not module:
            continue
        name = parts.snake_case(each.__name__)
        if each in (likelihoods.Categorical, likelihoods.Joint, objectives.BetaTC):
            with pytest.raises(ValueError, match=f"{each.__name__}.*(by name|Received: None)"):
                module.get(name)
            continue
        assert type(module.get(name)) is each
        assert type(module.get(each)) is each
        instance = each()
        assert module.get(instance) is instance


@pytest.mark.parametrize(
    ("module", "wrong", "nearest"),
    [(likelihoods, "bernouli", "bernoulli"), (posteriors, "diagonal", "diagonal_normal"), (objectives, "ELBO", "elbo")],
)
def test_unknown_name_says_the_nearest(module, wrong, nearest):
    with pytest.raises(ValueError, match=f"Did you mean '{nearest}'.*Known names: ") as error:
        module.get(wrong)
    assert wrong in str(error.value)


def test_neither_name_nor_part():
    with pytest.raises(TypeError, match=r"must be a name or a kvae Prior. Received: 3"):
        priors.get(3)


def test_names_with_arguments():
    prior = priors.get("vamp_prior:num_components=9,learn_weights=true,seed=2")
    assert prior.get_config() == {**INSTANCES["kvae>VampPrior"]().get_config(), "name": prior.name}
    flow = priors.get("flow:num_steps=3, kind=maf, hidden=[8, 4]")
    assert (flow.num_steps, flow.kind, flow.hidden) == (3, "maf", (8, 4))
    assert priors.get("flow:hidden=8").hidden == (8,)
    assert likelihoods.get("normal:scale=decoder").num_params == 2
    joint = likelihoods.get("joint:parts=[[normal, 2], ['bernoulli', 1]]")
    assert [(type(each).__name__, size) for each, size in joint.parts] == [("Normal", 2), ("Bernoulli", 1)]
    assert posteriors.get("flow:context_size=5").context_size == 5
    objective = objectives.get("elbo:beta=1e-1,capacity=None", beta=3.0, dataset_size=7)
    assert float(objective.beta) == pytest.approx(0.1)
    assert float(objectives.get("elbo", beta=3.0).beta) == 3.0
    assert objectives.get("beta_tc:beta=2", dataset_size=7).dataset_size == 7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("elbo", ("elbo", {})),
        ("elbo:", ("elbo", {})),
        (
            "a:b=-1,c=2.5,d=true,e=None,f=word,g='two words'",
            ("a", {"b": -1, "c": 2.5, "d": True, "e": None, "f": "word", "g": "two words"}),
        ),
        ("a:b=[1,[x,false]],c=(1, 2)", ("a", {"b": [1, ["x", False]], "c": (1, 2)})),
    ],
)
def test_parse(text, expected):
    assert parts.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["a:1", "a:b", "a:b=", "a:b=1,b=2", "a:**b", "a:b=f(1)", "a:b=1)(c=2", "a:b=1),(2", "a:b=[1", "a:b=x.y"]
)
def test_arguments_that_are_none(text):
    with pytest.raises(ValueError, match="are written name:key=value,key=value") as error:
        parts.parse(text)
    assert repr(text) in str(error.value)


def test_unknown_argument_says_the_known_ones():
    with pytest.raises(
        ValueError,
        match="The prior 'vamp_prior' takes no argument 'components'. Did you mean 'num_components'. "
        "Known arguments: num_components, learn_weights, seed",
    ):
        priors.get("vamp_prior:components=5")
    with pytest.raises(ValueError, match="'bernoulli' takes no argument 'scale'. Known arguments: none"):
        likelihoods.get("bernoulli:scale=2")
    with pytest.raises(ValueError, match="Did you mean 'vamp_prior'"):
        priors.get("vamp:num_components=5")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("DiagonalNormal", "diagonal_normal"), ("ELBO", "elbo"), ("BetaTC", "beta_tc"), ("VampPrior", "vamp_prior")],
)
def test_snake_case(name, expected):
    assert parts.snake_case(name) == expected


def test_parts_stay_in_float32_under_mixed_precision(dtype_policy):
    dtype_policy("mixed_float16")
    for make in INSTANCES.values():
        assert make().compute_dtype == "float32"


def test_standalone_head_gives_the_mean():
    logits = np.linspace(-3, 3, 8, dtype="float32").reshape(2, 4)
    np.testing.assert_allclose(likelihoods.Bernoulli()(logits), 1 / (1 + np.exp(-logits)), atol=1e-6)
    np.testing.assert_allclose(posteriors.DiagonalNormal()(logits), logits[:, :2])
    inputs = keras.Input((8,))
    outputs = likelihoods.Bernoulli()(keras.layers.Dense(4)(inputs))
    assert keras.Model(inputs, outputs).output_shape == (None, 4)
