"""Every score on codes whose value is known by thought."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

import kvae
from kvae.data import FactorTable
from kvae.evaluation import (
    beta_vae_score,
    dci,
    explicitness,
    factor_vae_score,
    irs,
    mig,
    modularity,
    sap,
)

ARRAY_SCORES = (mig, modularity, dci, sap, explicitness, irs)
DRAWN_SCORES = (factor_vae_score, beta_vae_score)


def full_grid(*sizes, repeats=1):
    factors = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1)
    return np.repeat(factors, repeats, axis=0)


def values(scores):
    return np.array([float(score) for score in (scores if isinstance(scores, kvae.evaluation.DCI) else [scores])])


def standard_error(chance, count):
    return np.sqrt(chance * (1 - chance) / count)


class Codes(kvae.data.Factors):
    """Codes that are a function of the factors and noise: what is drawn is new each time."""

    def __init__(self, sizes, function):
        super().__init__({f"factor {k}": size for k, size in enumerate(sizes)})
        self.function, self.rng = function, np.random.default_rng(0)

    def images(self, factors):
        return self.function(factors, self.rng)


GRID = full_grid(5, 6, 10, repeats=4)


def test_perfect_codes():
    # On a full grid factors are exactly independent, and each value has a bin of its own.
    codes = GRID.astype(float)
    assert mig(codes, GRID).value == pytest.approx(1, abs=1e-12)
    assert modularity(codes, GRID).value == pytest.approx(1, abs=1e-12)
    assert sap(codes, GRID).value == pytest.approx(1, abs=1e-12)  # R^2 of 1, and of 0 for all others
    assert irs(codes, GRID).value == pytest.approx(1, abs=1e-12)
    assert values(dci(codes, GRID)) == pytest.approx([1, 1, 1], abs=1e-12)  # no other dimension is ever split
    # Orthogonal standardised codes: the lasso's coefficient is 1 - alpha, and 0 for all others. The split into training
    # and test takes some of the exactness from it.
    assert values(dci(codes, GRID, estimator="lasso")) == pytest.approx([1, 1, 1 - 0.02**2], abs=1e-3)
    # A softmax of one linear code ranks each value first, but for values at its edge that the penalty pulls together.
    assert explicitness(codes, GRID).value == pytest.approx(1, abs=2e-3)
    # What is held is the only dimension that does not vary.
    assert factor_vae_score(FactorTable(codes, GRID), num_votes=200).value == 1
    assert beta_vae_score(FactorTable(codes, GRID), num_batches=200).value == 1


def test_bins_too_few_for_the_values():
    # 32 values in 20 bins: 12 bins hold two values each, so I = log 32 - 24/32 log 2.
    factors = full_grid(32, 6)
    expected = (1 - 0.75 * np.log(2) / np.log(32) + 1) / 2
    assert mig(factors.astype(float), factors).value == pytest.approx(expected, abs=1e-12)
    assert mig(factors.astype(float), factors, num_bins=32).value == pytest.approx(1, abs=1e-12)


def test_duplicated_codes():
    codes = np.hstack([GRID, GRID]).astype(float)
    assert mig(codes, GRID).value == 0  # the two best dimensions are equal
    assert sap(codes, GRID).value == 0
    assert modularity(codes, GRID).value == pytest.approx(1, abs=1e-12)  # each dimension still tells of one factor
    assert irs(codes, GRID).value == pytest.approx(1, abs=1e-12)
    disentanglement, completeness, informativeness = values(dci(codes, GRID))
    assert (disentanglement, informativeness) == (1, 1)
    # Ties between the copies are broken at random, half and half: H = log 2. Of 50 trees a share of 1/2 is off by 0.07,
    # and the entropy by twice the square of that over log 6.
    assert completeness == pytest.approx(1 - np.log(2) / np.log(6), abs=0.02)
    assert factor_vae_score(FactorTable(codes, GRID), num_votes=200).value == 1
    assert beta_vae_score(FactorTable(codes, GRID), num_batches=200).value == 1


def test_codes_rotated_by_45_degrees():
    # z = (a + b, a - b) / sqrt 2 of factors alike: changing the sign of b exchanges the dimensions, so both tell as much
    # of each factor.
    factors = full_grid(9, 9, repeats=8)
    codes = (factors - 4.0) @ np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    assert mig(codes, factors).value == pytest.approx(0, abs=1e-12)
    assert sap(codes, factors).value == pytest.approx(0, abs=1e-12)
    assert modularity(codes, factors).value == pytest.approx(0, abs=1e-12)  # a dimension tells as much of both
    # While a is held, the largest deviation is that of b, 4 / sqrt 2, half of the largest of all.
    assert irs(codes, factors).value == pytest.approx(0.5, abs=1e-12)
    # Equal importances up to the split into training and test, squared.
    for estimator in ("random_forest", "lasso"):
        assert values(dci(codes, factors, estimator=estimator))[:2] == pytest.approx([0, 0], abs=0.01)
    assert explicitness(codes, factors).value == pytest.approx(1, abs=2e-3)  # which a rotation does not change
    # Both variances, and both differences, are the same whichever factor is held: a guess among two.
    table = FactorTable(codes, factors)
    assert abs(factor_vae_score(table, num_votes=400).value - 0.5) < 4 * standard_error(0.5, 400)
    assert abs(beta_vae_score(table, num_batches=400).value - 0.5) < 4 * standard_error(0.5, 400)


def test_codes_of_noise():
    rng, sizes, count = np.random.default_rng(0), (8, 8, 8), 4000
    factors = rng.integers(sizes, size=(count, 3))
    codes = rng.uniform(-1, 1, (count, 6))
    # 2 N times an estimated information is chi-squared of 19 x 7 degrees of freedom, a mean and five deviations of it.
    freedom = 19 * 7
    assert 0 < mig(codes, factors).value < (freedom + 5 * np.sqrt(2 * freedom)) / (2 * count) / np.log(8)
    information = rng.chisquare(freedom, (100_000, 3))
    squares = information**2 / information.max(axis=1, keepdims=True) ** 2
    simulated = 1 - (squares.sum(axis=1) - 1) / 2
    assert abs(modularity(codes, factors).value - simulated.mean()) < 4 * simulated.std() / np.sqrt(6)
    # N R^2 is chi-squared of one degree of freedom.
    assert 0 <= sap(codes, factors).value < 20 / count
    # The AUC of one value against seven by nothing: variance (n0 + n1 + 1) / (12 n0 n1), as if one value were all.
    tested = count / 3
    auc_error = np.sqrt((tested + 1) / (12 * tested**2 * 7 / 64))
    assert abs(explicitness(codes, factors).value - 0.5) < 4 * auc_error / np.sqrt(3)
    # The 0.99 quantile of |uniform(-1, 1)| is 0.99; it is estimated from 500 examples to 0.0045, the best of three taken.
    assert irs(codes, factors).value == pytest.approx(0.01, abs=0.01)
    disentanglement, completeness, informativeness = values(dci(codes, factors))
    assert disentanglement < 0.02 and completeness < 0.02  # importances about equal, squared
    assert abs(informativeness - 1 / 8) < 4 * standard_error(1 / 8, 3 * tested)
    drawn = Codes(sizes, lambda factors, rng: rng.normal(size=(len(factors), 6)))
    for score in (factor_vae_score(drawn, 400, batch_size=16, num_examples=2000), beta_vae_score(drawn, 400, 16)):
        assert abs(score.value - 1 / 3) < 4 * standard_error(1 / 3, 400)


def test_fewer_dimensions_than_factors():
    codes = GRID[:, :2].astype(float)
    assert mig(codes, GRID).value == pytest.approx(2 / 3, abs=1e-12)  # one factor of three is nowhere
    assert sap(codes, GRID).value == pytest.approx(2 / 3, abs=1e-12)
    assert modularity(codes, GRID).value == pytest.approx(1, abs=1e-12)
    # Votes of the third factor go to one of the two dimensions, which stand for the others.
    table = FactorTable(codes, GRID)
    assert abs(factor_vae_score(table, num_votes=400).value - 2 / 3) < 4 * standard_error(2 / 3, 400)


def test_collapsed_codes():
    codes = np.zeros([len(GRID), 4])
    for score in (mig, modularity, sap, irs):
        assert score(codes, GRID).value == 0
    assert values(dci(codes, GRID))[:2] == pytest.approx([0, 0], abs=1e-12)
    assert explicitness(codes, GRID).value == 0.5
    assert factor_vae_score(FactorTable(codes, GRID)).value == 0


def test_scores_do_not_depend_on_order_scale_sign_and_place_of_dimensions():
    rng = np.random.default_rng(1)
    factors = rng.integers(4, size=(600, 3))
    codes = factors @ rng.normal(size=(3, 4)) + rng.normal(size=(600, 4))
    # Powers of two and no shift, so that bins and rounding stay the same.
    other = (codes * [-2.0, 4.0, 0.5, -1.0])[:, [2, 0, 3, 1]]
    for score in (mig, modularity, sap, explicitness):
        # A bin is closed at its lower edge, which the sign exchanges; nothing lies on an edge. lbfgs stops at 1e-4.
        assert score(other, factors).value == pytest.approx(score(codes, factors).value, abs=2e-3)
    same_scale = -2 * codes[:, [2, 0, 3, 1]]  # the range of a dimension is its weight in the IRS
    assert irs(same_scale, factors).value == pytest.approx(irs(codes, factors).value, abs=1e-12)
    for score in DRAWN_SCORES:
        first, second = (score(FactorTable(each, factors), 100).value for each in (codes, other))
        assert first == pytest.approx(second, abs=1e-12)


@pytest.fixture(scope="module")
def noisy():
    rng = np.random.default_rng(2)
    factors = rng.integers([3, 4, 5], size=(900, 3))
    return factors @ rng.normal(size=(3, 4)) + 0.7 * rng.normal(size=(900, 4)), factors


def test_information_is_that_of_the_joint_histogram(noisy):
    codes, factors = noisy
    expected = np.empty((4, 3))
    for j in range(4):
        for k in range(3):
            joint = np.histogram2d(codes[:, j], factors[:, k], bins=(20, np.arange(factors[:, k].max() + 2)))[0]
            parts = stats.entropy(joint.sum(axis=0)) + stats.entropy(joint.sum(axis=1))
            expected[j, k] = parts - stats.entropy(joint.ravel())
    score = mig(codes, factors)
    np.testing.assert_allclose(score.details["mutual_information"], expected, atol=1e-12)
    entropies = [stats.entropy(np.bincount(factor)) for factor in factors.T]
    gaps = [np.diff(np.sort(expected[:, k])[-2:])[0] / entropies[k] for k in range(3)]
    assert score.value == pytest.approx(np.mean(gaps), abs=1e-12)
    ideal = np.where(expected == expected.max(axis=1, keepdims=True), expected, 0)
    deltas = ((expected - ideal) ** 2).sum(axis=1) / (expected.max(axis=1) ** 2 * 2)
    assert modularity(codes, factors).value == pytest.approx(1 - deltas.mean(), abs=1e-12)


def test_dci_is_the_entropy_of_the_importances(noisy):
    for estimator in ("random_forest", "lasso", "gradient_boosting"):
        disentanglement, completeness, _ = dci(*(each[:300] for each in noisy), estimator=estimator)
        importance = disentanglement.details["importance"]
        per_dimension = 1 - stats.entropy(importance.T, base=3)
        expected = per_dimension @ importance.sum(axis=1) / importance.sum()
        assert disentanglement.value == pytest.approx(expected, abs=1e-12)
        assert completeness.value == pytest.approx(np.mean(1 - stats.entropy(importance, base=4)), abs=1e-12)
        assert estimator.replace("_", " ") in str(completeness)


def test_sap_by_squared_correlation_and_by_thresholds(noisy):
    codes, factors = noisy
    expected = np.corrcoef(codes.T, factors.T)[:4, 4:] ** 2
    score = sap(codes, factors)
    np.testing.assert_allclose(score.details["predictability"], expected, atol=1e-12)
    assert score.value == pytest.approx(np.mean([np.diff(np.sort(each)[-2:]) for each in expected.T]), abs=1e-12)
    names = ("a", "b", "c")
    shape = sap(GRID.astype(float), GRID, names, categorical=("a",))
    assert "squared correlation for b, c and balanced accuracy" in str(shape) and "seed 0" in str(shape)
    # The other dimensions guess one of 5 values: chance, of 400 test examples.
    assert abs(shape.details["gaps"][0] - 0.8) < 4 * standard_error(0.2, 400)
    assert shape.details["gaps"][1:] == pytest.approx([1, 1], abs=1e-12)
    # Of two values one plane is enough, so that both classifiers are perfect on a perfect code.
    two = full_grid(2, 2, repeats=100)
    for classifier in ("thresholds", "svm"):
        score = sap(two.astype(float), two, ("a", "b"), categorical=("a", "b"), classifier=classifier)
        assert score.details["predictability"].diagonal() == pytest.approx([1, 1])


def test_irs_by_its_definition(noisy):
    codes, factors = noisy
    matrix = np.empty((4, 3))
    for j in range(4):
        for k in range(3):
            groups = [codes[factors[:, k] == value, j] for value in np.unique(factors[:, k])]
            largest = np.mean([max(abs(group - group.mean())) for group in groups])
            matrix[j, k] = 1 - largest / max(abs(codes[:, j] - codes[:, j].mean()))
    score = irs(codes, factors, quantile=1)
    np.testing.assert_allclose(score.details["robustness"], matrix, atol=1e-12)
    weights = abs(codes - codes.mean(axis=0)).max(axis=0)
    assert score.value == pytest.approx(np.average(matrix.max(axis=1), weights=weights), abs=1e-12)


def test_explicitness_is_an_area(noisy):
    # Of two values and one dimension the area is that under the dimension itself, on the test examples alone; between
    # this and that on all examples lies the sampling error of 300.
    rng = np.random.default_rng(0)
    factor = rng.integers(2, size=(900, 1))
    codes = factor + rng.normal(size=(900, 1))
    expected = roc_auc_score(factor[:, 0], codes[:, 0])
    assert expected == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.05)
    assert explicitness(codes, factor).value == pytest.approx(expected, abs=4 * np.sqrt(301 / (12 * 150 * 150)))


def test_batches_from_a_table_are_like_new_ones():
    def function(factors, rng):
        return factors @ np.array([[1.0, 0, 0.7], [0, 1, 0.5], [0.4, 0, 1]]) + 0.8 * rng.normal(size=(len(factors), 3))

    drawn = Codes((4, 5, 6), function)
    table = FactorTable(*drawn.draw(5000, 1))
    for score in DRAWN_SCORES:
        new, old = score(drawn, 400, 16), score(table, 400, 16)
        assert "drawn anew" in str(new) and "from these" in str(old)
        assert 0.4 < new.value < 0.99  # neither chance nor perfect, so that there is something to compare
        # The difference of two proportions of 400 each, and of two sets of training votes.
        assert abs(new.value - old.value) < 4 * np.sqrt(2) * standard_error(new.value, 400) + 0.02


def test_dimensions_that_hardly_vary_have_no_vote():
    # The third dimension holds factor 1 better than the second, at a thousandth of the scale.
    rng = np.random.default_rng(0)
    noise = 0.3 * rng.normal(size=len(GRID))
    codes = np.stack([GRID[:, 0], GRID[:, 1] + noise, GRID[:, 1] / 1000, GRID[:, 2]], axis=1)
    score = factor_vae_score(FactorTable(codes, GRID), num_votes=100)
    assert score.details["active"].tolist() == [True, True, False, True]
    assert score.details["votes"][2].sum() == 0 and "3 of 4 dimensions of deviation >= 0.05" in str(score)
    assert score.details["votes"].sum() == 100
    every = factor_vae_score(FactorTable(codes, GRID), num_votes=100, least_deviation=0)
    assert every.details["votes"][1].sum() == 0 < every.details["votes"][2].sum()
    constant = np.column_stack([codes, np.zeros(len(GRID))])
    still = factor_vae_score(FactorTable(constant, GRID), num_votes=10, least_deviation=0)
    assert still.details["active"].tolist() == [True] * 4 + [False]


def test_protocol_is_printed():
    score = mig(GRID.astype(float), GRID, names=("shape", "scale", "x"), num_bins=10)
    assert str(score) == "MIG 1.00 (codes, 10-bin histogram, 1,200 examples, factors shape, scale, x)"
    assert score.to_dict() == {
        "name": "MIG",
        "value": score.value,
        "method": "10-bin histogram",
        "num_examples": 1200,
        "factors": ["shape", "scale", "x"],
        "representation": "codes",
        "seed": None,
    }
    assert "seed 3" in str(explicitness(GRID.astype(float), GRID, seed=3))


def test_seeds(noisy):
    codes, factors = noisy
    for score in (dci, explicitness):
        np.testing.assert_array_equal(*(values(score(codes, factors, seed=-5)) for _ in range(2)))
        assert (values(score(codes, factors, seed=1)) != values(score(codes, factors, seed=2))).all()
    for score in DRAWN_SCORES:
        table = FactorTable(codes, factors)
        assert score(table, 50, 8, seed=1) == score(table, 50, 8, seed=1)
        assert score(table, 50, 8, seed=1) != score(table, 50, 8, seed=2)


# What is refused


@pytest.mark.parametrize("score", ARRAY_SCORES)
def test_bad_arrays(score):
    codes = GRID.astype(float)
    with pytest.raises(ValueError, match=r"with the same N. Received: \[1199, 3\] and \[1200, 3\]"):
        score(codes[1:], GRID)
    with pytest.raises(ValueError, match=r"`codes` must be finite. Received: 2 NaN"):
        score(np.where(np.arange(1200)[:, None] == [7, -1, 9], np.nan, codes), GRID)
    with pytest.raises(ValueError, match="'factor 1' has one value only in these examples: leave it out"):
        score(codes, GRID * [1, 0, 1])
    with pytest.raises(ValueError, match=r"must be integers.*Received: fractions.*np\.digitize"):
        score(codes, GRID + 0.5)
    with pytest.raises(ValueError, match="at least 6 examples. Received: 1 of value 0 of 1200 of 'position'.*digitize"):
        score(codes, np.column_stack([GRID[:, 0], np.arange(1200)]), names=("shape", "position"))
    with pytest.raises(ValueError, match=r"integers \[N, K\]. Received shape: \[1200\]"):
        score(codes, GRID[:, 0])
    with pytest.raises(ValueError, match="a name for each of the 3 factors. Received: a, b"):
        score(codes, GRID, names=("a", "b"))
    with pytest.raises(ValueError, match="`codes` is empty"):
        score(codes[:0], GRID[:0])


def test_one_factor_and_one_dimension():
    codes, factors = GRID[:, :2].astype(float), GRID[:, :1]
    for score in (mig, sap, explicitness):
        assert score(codes, factors).value == pytest.approx(1, abs=2e-3)  # as in test_perfect_codes
    # The second dimension is of a factor unknown here, so it is not robust at all; weights 2 and 2.5, half its range.
    assert irs(codes, factors).value == pytest.approx(2 / 4.5, abs=1e-12)
    for score in (modularity, dci):
        with pytest.raises(ValueError, match="compares factors, of which it needs 2. Received: factor 0"):
            score(codes, factors)
    for score in DRAWN_SCORES:
        with pytest.raises(ValueError, match="VAE score compares factors, of which it needs 2"):
            score(FactorTable(codes, factors))
    for score in (mig, sap, dci):
        with pytest.raises(ValueError, match="compares dimensions of the code, of which it needs 2. Received: 1"):
            score(codes[:, :1], GRID)


def test_bad_settings():
    codes = GRID.astype(float)
    with pytest.raises(ValueError, match="`estimator` must be one of 'random_forest'"):
        dci(codes, GRID, estimator="forest")
    with pytest.raises(ValueError, match="`classifier` must be one of 'thresholds'"):
        sap(codes, GRID, classifier="tree")
    with pytest.raises(ValueError, match="`categorical` must be one of 'factor 0'"):
        sap(codes, GRID, categorical=("shape",))
    with pytest.raises(ValueError, match="`num_bins` must be a whole number of at least 2"):
        mig(codes, GRID, num_bins=1)
    with pytest.raises(ValueError, match="`quantile` must lie in"):
        irs(codes, GRID, quantile=99)
    table = FactorTable(codes, GRID)
    with pytest.raises(ValueError, match="`batch_size` must be a whole number of at least 2"):
        factor_vae_score(table, batch_size=1)
    with pytest.raises(ValueError, match="`num_votes` must be a whole number of at least 1"):
        factor_vae_score(table, num_votes=0)
    with pytest.raises(ValueError, match="`num_examples` must be a whole number of at least 2"):
        factor_vae_score(table, num_examples=1)
    with pytest.raises(ValueError, match="`num_batches` must be enough.*Received: num_batches=1"):
        beta_vae_score(table, num_batches=1)
    with pytest.raises(ValueError, match="`seed` must be an int"):
        beta_vae_score(table, seed=0.5)
    for score in DRAWN_SCORES:
        with pytest.raises(ValueError, match=r"needs a data set of codes.*Encoded.*Received: examples of shape \[64"):
            score(kvae.data.sprites())
        with pytest.raises(ValueError, match="at least 6 examples"):
            score(FactorTable(codes[:40], np.arange(40)[:, None] // [4, 20]))
