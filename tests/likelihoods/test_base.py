"""Names, and what is refused before it trains."""

import numpy as np
import pytest

from kvae import likelihoods
from kvae.likelihoods import (
    Bernoulli,
    Beta,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Joint,
    Laplace,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
    ZeroInflated,
)


@pytest.mark.parametrize(
    "name", ["bernoulli", "continuous_bernoulli", "negative_binomial", "student_t", "zero_inflated"]
)
def test_names(name):
    assert type(likelihoods.get(name)).__name__.lower() == name.replace("_", "")


@pytest.mark.parametrize("identifier", ["categorical", Categorical])
def test_what_needs_arguments_says_so(identifier):
    with pytest.raises(ValueError, match=r"Categorical needs `num_classes`.*kvae.likelihoods.Categorical.*by name"):
        likelihoods.get(identifier)
    with pytest.raises(ValueError, match=r"must be a list of pairs.*such as kvae.likelihoods.Joint.*Received: None"):
        likelihoods.get("joint")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal(0), r"`scale` must be a positive number, or None.*'optimal'\]. Received: scale=0"),
        (lambda: Normal(-1.0), "must be a positive number"),
        (lambda: Normal(float("nan")), "must be a positive number"),
        (lambda: Normal(float("inf")), "must be a positive number"),
        (lambda: Normal(True), "must be a positive number"),
        (lambda: Normal([0.7]), "must be a positive number"),
        (lambda: Normal("learned"), "must be a positive number.*Received: scale='learned'"),
        (lambda: Laplace("learned"), "must be a positive number"),
        (lambda: StudentT(scale="optimal"), r"\['feature', 'decoder'\]"),
        (lambda: StudentT(df=1), "`df` must be a number above 1"),
        (lambda: StudentT(df="5"), "`df` must be a number above 1"),
        (lambda: Beta(epsilon=0.0), "`epsilon` must lie between 1e-7 and 0.5"),
        (lambda: Beta(epsilon="small"), "`epsilon` must lie between 1e-7 and 0.5"),
        (lambda: Categorical(1), "`num_classes` must be an int of at least 2. Received: num_classes=1"),
        (lambda: Categorical(3.0), "`num_classes` must be an int"),
        (lambda: DiscretizedLogistic(num_levels=1), "`num_levels` must be an int of at least 2"),
        (lambda: DiscretizedLogistic(num_components=0), "`num_components` must be an int of at least 1"),
        (lambda: ZeroInflated("bernoulli"), "Unknown likelihood 'bernoulli'.*poisson, negative_binomial"),
        (lambda: ZeroInflated(Categorical(3)), "must be one of counts.*Received: Categorical"),
        (lambda: ZeroInflated(ZeroInflated()), "must be one of counts.*Received: ZeroInflated"),
        (lambda: Joint([]), "`parts` must be a list of pairs"),
        (lambda: Joint("normal"), "`parts` must be a list of pairs"),
        (lambda: Joint([("normal", 1, 2)]), "`parts` must be a list of pairs"),
        (lambda: Joint([("normal", 0)]), "`num_columns` must be an int of at least 1"),
        (lambda: Joint([("categorical", 2)]), "Categorical needs `num_classes`"),
        (lambda: Joint([(each, 1) for each in [Normal()] * 2]), "object of its own"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_numbers_of_numpy_are_numbers():
    x = np.array([[0.1, 0.5]], "float32")
    assert Normal(x.std()).scale == Laplace(scale=float(x.std())).scale == pytest.approx(0.2)
    assert (StudentT(df=np.int64(3)).df, Beta(epsilon=np.float32(0.25)).epsilon) == (3.0, 0.25)


BYTES = np.array([[0, 255]], "uint8")


@pytest.mark.parametrize(
    ("likelihood", "x", "message"),
    [
        (Bernoulli(), BYTES, r"must lie in \[0, 1\].*Bernoulli.*Received: values from 0 to 255 of dtype uint8.*/ 255"),
        (Bernoulli(), np.full((2, 3), 1.5), r"must lie in \[0, 1\]"),
        (Bernoulli(), np.array([[-0.1, 0.0]]), r"must lie in \[0, 1\]"),
        (ContinuousBernoulli(), BYTES, r"must lie in \[0, 1\]"),
        (Beta(), np.array([1.5]), r"must lie in \[0, 1\]"),
        (DiscretizedLogistic(), BYTES, r"must lie in \[0, 1\].*/ 255"),
        (
            DiscretizedLogistic(),
            np.array([0.1, 0.2, np.nan]),
            r"levels k / 255.*Received: 0.1, which is between two. Round",
        ),
        (Normal(), BYTES, r"floating-point.*Received: values from 0 to 255 of dtype uint8.*/ 255"),
        (Laplace(), BYTES, "floating-point"),
        (StudentT(), BYTES, "floating-point"),
        (Poisson(), np.array([-1, 2]), r"must lie in \[0, inf\] for the likelihood Poisson"),
        (Poisson(), np.array([0.5, 2.0, np.nan]), "whole numbers.*Received: 0.5 among them"),
        (NegativeBinomial(), np.array([0.5]), "whole numbers"),
        (ZeroInflated(), np.array([0.5]), "whole numbers"),
        (
            Categorical(3),
            np.array([0, 3]),
            r"must lie in \[0, 2\] for the likelihood Categorical. Received: values from 0 to 3",
        ),
        (Categorical(3), np.array([0.5]), "whole numbers"),
    ],
)
def test_values_outside_the_support(likelihood, x, message):
    with pytest.raises(ValueError, match=message):
        likelihood.check(x)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float32", "float64"])
def test_zeros_and_ones_of_any_type_are_bits_levels_classes_and_counts(dtype):
    for likelihood in (Bernoulli(), DiscretizedLogistic(), Categorical(2), Poisson()):
        likelihood.check(np.array([[0, 1], [1, 1]], dtype))


@pytest.mark.parametrize("likelihood", [Bernoulli(), Beta(), Poisson(), ZeroInflated(), Categorical(2)])
def test_initial_params_of_what_never_varies_are_kept_off_the_ends(likelihood):
    zeros = np.zeros((8, 3), "float32")
    mean = np.asarray(likelihood(likelihood.initial_params(zeros)[None]))
    # 1 / (8 + 2); of two classes the other keeps all, before they are made to sum to one
    expected = np.array([1.0, 0.1]) / 1.1 if isinstance(likelihood, Categorical) else 0.1
    np.testing.assert_allclose(mean, np.broadcast_to(expected, mean.shape), rtol=1e-5)


def test_initial_params_stay_where_training_comes_back_from():
    # the mean of a continuous Bernoulli nears 0 as -1 / logit
    params = ContinuousBernoulli().initial_params(np.concatenate([np.zeros((99, 2)), np.ones((99, 2))], axis=1))
    np.testing.assert_allclose(params, [-15, -15, 20, 20], rtol=1e-5)


def test_initial_params_take_grey_values_for_the_means_of_bits():
    grey = np.random.default_rng(0).random((7, 4))
    params = Bernoulli().initial_params(grey)
    np.testing.assert_allclose(params, np.log(grey.mean(axis=0) / (1 - grey.mean(axis=0))), rtol=1e-5)


def test_initial_params_are_of_what_was_observed():
    nan = np.nan
    x = np.array([[0.0, nan, nan], [1.0, 1.0, nan], [1.0, nan, nan], [1.0, nan, nan]])
    np.testing.assert_allclose(Normal().initial_params(x), [0.75, 1.0, 0.0], rtol=1e-6)
    # 1 off its end by 1 / (1 + 2), and nothing known is one half
    means = Bernoulli()(Bernoulli().initial_params(x)[None])
    np.testing.assert_allclose(means, [[3 / 4, 2 / 3, 1 / 2]], rtol=1e-5)
    logits = Categorical(2).initial_params(x).reshape(2, 3)
    np.testing.assert_allclose(np.exp(logits), [[1 / 4, 1 / 3, 1 / 2], [3 / 4, 1, 1 / 2]], rtol=1e-6)


@pytest.mark.parametrize(
    ("likelihood", "x", "message"),
    [
        (Normal(), np.array([[np.inf, 1.0]]), "`x` must be finite"),
        (Bernoulli(), np.array([[0.0, 2.0]]), r"must lie in \[0, 1\] for the likelihood Bernoulli"),
        (Categorical(3), np.array([[0.5]]), "whole numbers"),
        (Poisson(), np.array([1, 2, 3]), r"must have shape \[N, \*data_shape\]. Received: \[3\]"),
        (Joint([("normal", 2)]), np.zeros((4, 3)), "must add up to the last axis of the data, 3"),
        (Joint([("normal", 2)]), np.zeros(2), r"must have shape \[N, \*data_shape\]. Received: \[2\]"),
    ],
)
def test_initial_params_of_bad_data(likelihood, x, message):
    with pytest.raises(ValueError, match=message):
        likelihood.initial_params(x)


def test_missing_values_are_not_looked_at():
    for likelihood in (Bernoulli(), Normal(), DiscretizedLogistic(), Categorical(3), Poisson()):
        likelihood.check(np.array([[0.0, np.nan], [1.0, np.nan]]))
        likelihood.check(np.full((2, 2), np.nan))
