import numpy as np
import pytest

from kvae import data
from kvae.data import Factors, FactorTable


class Tuples(Factors):
    def images(self, factors):
        return self.checked(factors).astype("float32")


TUPLES = Tuples({"shape": 3, "size": 5, "place": 4}, categorical=("shape",))


def table():
    rng = np.random.default_rng(0)
    factors = rng.integers([2, 3], size=(50, 2))
    return rng.normal(size=(50, 4)), factors * 10 + 7  # values need not be numbered from 0


def test_grid_holds_every_combination_once():
    grid = TUPLES.grid()
    assert grid.shape == (60, 3) == (len(TUPLES), len(TUPLES.names))
    assert len(np.unique(grid, axis=0)) == 60
    np.testing.assert_array_equal(grid[:5], [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3], [0, 1, 0]])
    assert repr(TUPLES) == "Tuples(shape 3, size 5, place 4)" and TUPLES.data_shape == (3,)


def test_samples_are_uniform_and_independent():
    factors = TUPLES.sample(60_000, 1)
    counts = np.bincount(np.ravel_multi_index(tuple(factors.T), TUPLES.sizes), minlength=60)
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)  # five deviations of a count
    np.testing.assert_array_equal(TUPLES.sample(10, 1), TUPLES.sample(10, np.random.default_rng(1)))
    assert (TUPLES.sample(10, 1) != TUPLES.sample(10, 2)).any()


def test_factors_are_held():
    values = np.arange(200) % 4
    factors = TUPLES.sample(200, 1, fixed={"shape": 2, "place": values})
    assert set(factors[:, 0]) == {2} and set(factors[:, 1]) == set(range(5))
    np.testing.assert_array_equal(factors[:, 2], values)
    x, factors = TUPLES.draw(20, 1, fixed={"size": 3})
    np.testing.assert_array_equal(x, factors)
    with pytest.raises(ValueError, match="no factor 'colour'. The factors are shape, size, place"):
        TUPLES.sample(2, fixed={"colour": 1})
    with pytest.raises(ValueError, match="'size' takes the values 0 to 4. Received: 0 to 5"):
        TUPLES.sample(2, fixed={"size": [0, 5]})


def test_fractions_are_no_numbers_of_values():
    with pytest.raises(ValueError, match="'size' is held at the number of one of its values, an int. Received: 0.9"):
        Tuples({"size": 5}).sample(4, fixed={"size": 0.9})


def test_data_has_the_first_categorical_factor_for_labels():
    cut = TUPLES.data(30, 10, seed=3)
    x, factors = TUPLES.draw(40, 3)
    np.testing.assert_array_equal(np.concatenate([cut.x_train, cut.x_test]), x)
    np.testing.assert_array_equal(np.concatenate([cut.y_train, cut.y_test]), factors[:, 0])
    assert Tuples({"size": 5}).data(2, 1).y_train is None


def test_table_gives_its_rows():
    x, factors = table()
    rows = FactorTable(x, factors, names=("a", "b"))
    assert (rows.sizes, len(rows), rows.data_shape) == ((2, 3), 50, (4,))
    np.testing.assert_array_equal(rows.grid(), (factors - 7) // 10)
    drawn, found = rows.draw(50, 1)
    order = [np.flatnonzero((x.astype("float32") == each).all(axis=1)).item() for each in drawn]
    assert sorted(order) == list(range(50))  # each row once
    np.testing.assert_array_equal(found, rows.grid()[order])
    assert rows.draw(120, 1)[0].shape == (120, 4)  # and again only where there are too few
    first = np.flatnonzero((rows.grid() == [1, 2]).all(axis=1))[0]
    np.testing.assert_array_equal(rows.images(np.array([[1, 2]])), x[[first]].astype("float32"))


def test_table_holds_factors():
    x, factors = table()
    rows = FactorTable(x, factors, names=("a", "b"))
    values = np.arange(30) % 3
    drawn, found = rows.draw(30, 1, fixed={"b": values, "a": 1})
    assert set(found[:, 0]) == {1}
    np.testing.assert_array_equal(found[:, 1], values)
    for each, factor in zip(drawn, found, strict=True):
        matching = x[(rows.grid() == factor).all(axis=1)].astype("float32")
        assert (matching == each).all(axis=1).any()
    np.testing.assert_array_equal(rows.sample(30, 1, fixed={"b": values, "a": 1}), found)


def test_table_scales_bytes():
    images = np.full((4, 2, 2, 1), 255, dtype="uint8")
    rows = FactorTable(images, np.array([[0], [0], [1], [1]]))
    assert rows.draw(2)[0].max() == 1.0 and rows.names == ("factor 0",)


def test_what_is_refused():
    x, factors = table()
    with pytest.raises(ValueError, match=r"the same N. Received: \[49, 4\] and \[50, 2\]"):
        FactorTable(x[1:], factors)
    with pytest.raises(ValueError, match="`x` must be finite"):
        FactorTable(np.full_like(x, np.nan), factors)
    with pytest.raises(ValueError, match=r"fractions.*np\.digitize"):
        FactorTable(x, factors / 3)
    with pytest.raises(ValueError, match="'b' has one value only in these examples: leave it out"):
        FactorTable(x, factors * [1, 0], names=("a", "b"))
    with pytest.raises(ValueError, match="a name for each of the 2 factors. Received: a, a"):
        FactorTable(x, factors, names=("a", "a"))
    with pytest.raises(ValueError, match="no factor 'c'"):
        FactorTable(x, factors, names=("a", "b"), categorical=("c",))
    sparse = FactorTable(x[:4], np.array([[0, 0], [0, 1], [1, 1], [1, 1]]), names=("a", "b"))
    with pytest.raises(ValueError, match="No row of the table has the factors a 1, b 0"):
        sparse.draw(2, fixed={"a": 1, "b": 0})
    with pytest.raises(ValueError, match="No row of the table has the factors a 1, b 0"):
        sparse.images(np.array([[1, 0]]))
    with pytest.raises(ValueError, match=r"sizes\['size'\]` must be a whole number of at least 2"):
        Tuples({"size": 1})
    with pytest.raises(ValueError, match=r"integers \[N, 3\], a column for each of shape, size, place"):
        TUPLES.images(np.zeros((4, 2), int))
    with pytest.raises(ValueError, match="`num_examples` must be a whole number"):
        TUPLES.sample(0)
    assert {"sprites", "dsprites"} <= set(data.NAMES)
