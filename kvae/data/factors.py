"""Data whose factors of variation are known."""

import functools

import numpy as np

from kvae import checks
from kvae.data.files import Data


class Factors:
    """Base class of the data sets with known factors: every combination of K factors is one example.

    A subclass gives `images`. A factor's values are numbered from 0; a factor that never varies is none.

    Args:
        sizes: dictionary from the name of each factor to how many values it takes, at least 2.
        categorical: names of the factors whose values have no order.

    Attributes:
        names: tuple of K str.
        sizes: tuple of K int.
        categorical: tuple of str.

    Example:
        >>> class Bars(kvae.data.Factors):
        ...     def images(self, factors):
        ...         x = np.zeros([len(factors), 8, 8, 1], "float32")
        ...         x[np.arange(len(factors)), factors[:, 0], :, 0] = factors[:, 1:] / 2
        ...         return x
        >>> bars = Bars({"row": 8, "brightness": 3})
        >>> bars.images(bars.sample(5)).shape
        (5, 8, 8, 1)
    """

    def __init__(self, sizes, categorical=()):
        for name, size in sizes.items():
            checks.check_count(f"sizes[{name!r}]", size, least=2)
        self.names, self.sizes = tuple(sizes), tuple(int(size) for size in sizes.values())
        self.categorical = tuple(categorical)
        for name in self.categorical:
            self.column(name)

    def images(self, factors):
        """The examples of factors `[N, K]`: float32 `[N, *data_shape]`."""
        raise NotImplementedError

    @functools.cached_property
    def data_shape(self):
        """Shape of one example."""
        return self.images(self.sample(1)).shape[1:]

    def __len__(self):
        return int(np.prod(self.sizes))

    def __repr__(self):
        sizes = ", ".join(f"{name} {size}" for name, size in zip(self.names, self.sizes, strict=True))
        return f"{type(self).__name__}({sizes})"

    def column(self, name):
        """Which column of the factors `name` is."""
        if name not in self.names:
            raise ValueError(f"There is no factor {name!r}. The factors are {', '.join(self.names)}.")
        return self.names.index(name)

    def grid(self):
        """All combinations, int64 `[len(self), K]`; the last factor varies fastest."""
        return np.stack(np.unravel_index(np.arange(len(self)), self.sizes), axis=1)

    def sample(self, num_examples, rng=0, fixed=None):
        """Factors drawn independently and uniformly.

        Args:
            num_examples: N.
            rng: int or `numpy.random.Generator`.
            fixed: dictionary from the name of a factor to the value it is held at, or to values `[N]`.

        Returns:
            int64 array `[N, K]`.

        Raises:
            ValueError: for a factor or a value that there is not.

        Example:
            >>> kvae.data.sprites().sample(4, rng=1, fixed={"shape": 2})
        """
        num_examples = checks.check_count("num_examples", num_examples)
        factors = np.random.default_rng(rng).integers(self.sizes, size=(num_examples, len(self.sizes)))
        for name, values in (fixed or {}).items():
            column, values = self.column(name), np.asarray(values)
            if values.dtype.kind not in "iu":  # which an assignment would cut off
                raise ValueError(
                    f"The factor {name!r} is held at the number of one of its values, an int. Received: {values.tolist()!r}"
                )
            factors[:, column] = values
        return self.checked(factors)

    def draw(self, num_examples, rng=0, fixed=None):
        """(x `[N, *data_shape]`, factors `[N, K]`) of random factors; arguments as for `sample`."""
        factors = self.sample(num_examples, rng, fixed)
        return self.images(factors), factors

    def data(self, num_train, num_test, seed=0):
        """Random examples as `Data`; their labels are the first categorical factor, if there is one."""
        x, factors = self.draw(num_train + num_test, seed)
        y = factors[:, self.column(self.categorical[0])] if self.categorical else None
        y_train, y_test = (None, None) if y is None else (y[:num_train], y[num_train:])
        return Data(x[:num_train], y_train, x[num_train:], y_test)

    def checked(self, factors):
        """`factors` as an int64 array `[N, K]`, else ValueError."""
        factors = np.asarray(factors)
        if factors.ndim != 2 or factors.shape[1] != len(self.names) or factors.dtype.kind not in "iu":
            raise ValueError(
                f"`factors` must be integers [N, {len(self.names)}], a column for each of {', '.join(self.names)}. "
                f"Received: shape {list(factors.shape)}, dtype {factors.dtype}."
            )
        for name, size, values in zip(self.names, self.sizes, factors.T, strict=True):
            if values.size and not 0 <= values.min() <= values.max() < size:
                raise ValueError(
                    f"The factor {name!r} takes the values 0 to {size - 1}. Received: {values.min()} to {values.max()}."
                )
        return factors.astype("int64")


class FactorTable(Factors):
    """Examples with a table of their factors, from arrays: not every combination need be there.

    Random examples are rows of the table, with the others left out where factors are held. The examples may be codes,
    for the scores that take batches of codes.

    Args:
        x: array `[N, ...]`; uint8 is divided by 255.
        factors: integers `[N, K]`. The values of each factor are numbered anew from 0, in their order.
        names: K names of the factors, by default "factor 0", ...
        categorical: names of the factors whose values have no order.

    Raises:
        ValueError: for arrays of different lengths, NaN, factors that are no integers or do not vary.

    Example:
        >>> data_set = kvae.data.FactorTable(x, factors, names=("shape", "colour"), categorical=("shape",))
        >>> images, factors = data_set.draw(64, rng=1, fixed={"shape": 2})
    """

    def __init__(self, x, factors, names=None, categorical=()):
        self.x, (self.factors, names) = np.asarray(x), as_factors(factors, names)
        checks.check_values(self.x)
        if self.x.ndim < 2 or len(self.x) != len(self.factors):
            raise ValueError(
                "`x` must be [N, ...] and `factors` [N, K], with the same N. "
                f"Received: {list(self.x.shape)} and {list(self.factors.shape)}."
            )
        super().__init__(dict(zip(names, (self.factors.max(axis=0) + 1).tolist(), strict=True)), categorical)
        self._rows = {}

    def __len__(self):
        return len(self.x)

    def grid(self):
        """The factors of all rows, int64 `[N, K]`."""
        return self.factors

    def images(self, factors):
        """The examples of factors `[N, K]`, float32; of several rows with the same factors, the first."""
        wanted = map(tuple, self.checked(factors).tolist())
        try:
            return self._examples([self._first_row[each] for each in wanted])
        except KeyError as error:
            named = ", ".join(f"{name} {value}" for name, value in zip(self.names, error.args[0], strict=True))
            raise ValueError(f"No row of the table has the factors {named}.") from None

    def sample(self, num_examples, rng=0, fixed=None):
        return self.factors[self._draw_rows(num_examples, rng, fixed)]

    def draw(self, num_examples, rng=0, fixed=None):
        """(x `[N, ...]`, factors `[N, K]`) of random rows; of the same rows again only where there are too few."""
        rows = self._draw_rows(num_examples, rng, fixed)
        return self._examples(rows), self.factors[rows]

    def _examples(self, rows):
        x = self.x[rows].astype("float32")
        return x / 255 if self.x.dtype == np.uint8 else x

    @functools.cached_property
    def _first_row(self):
        rows = range(len(self.factors) - 1, -1, -1)
        return {tuple(each): row for row, each in zip(rows, self.factors[::-1].tolist(), strict=True)}

    def _draw_rows(self, num_examples, rng, fixed):
        rng, num_examples = np.random.default_rng(rng), checks.check_count("num_examples", num_examples)
        columns = [self.column(name) for name in fixed or {}]
        held = [np.broadcast_to(values, num_examples) for values in (fixed or {}).values()]
        drawn = np.empty(num_examples, dtype="int64")
        for values in {tuple(each) for each in zip(*held, strict=True)} if held else [()]:
            of_values = np.all([each == value for each, value in zip(held, values, strict=True)], axis=0)
            of_values = np.broadcast_to(of_values, num_examples)
            rows = self._rows_of(tuple(zip(columns, values, strict=True)))
            count = int(of_values.sum())
            drawn[of_values] = rng.choice(rows, count, replace=count > len(rows))
        return drawn

    def _rows_of(self, held):
        """The rows where columns have values; `held` is a tuple of (column, value)."""
        if held not in self._rows:
            match = np.all([self.factors[:, column] == value for column, value in held] or [True], axis=0)
            rows = np.flatnonzero(np.broadcast_to(match, len(self.factors)))
            if not rows.size:
                named = ", ".join(f"{self.names[column]} {value}" for column, value in held)
                raise ValueError(f"No row of the table has the factors {named}.")
            self._rows[held] = rows
        return self._rows[held]


def as_factors(factors, names=None):
    """(factors `[N, K]` with the values of each numbered from 0, K names), else ValueError."""
    factors = np.asarray(factors)
    checks.check_values(factors, "factors")
    if factors.ndim != 2:
        raise ValueError(f"`factors` must be integers [N, K]. Received shape: {list(factors.shape)}.")
    if factors.dtype.kind not in "iub" and np.any(factors != np.round(factors)):
        raise ValueError(
            "`factors` must be integers, the number of each factor's value. Received: fractions. "
            "Cut continuous factors into intervals first, for instance by np.digitize."
        )
    names = tuple(f"factor {k}" for k in range(factors.shape[1])) if names is None else tuple(names)
    if len(names) != factors.shape[1] or len(set(names)) != len(names):
        raise ValueError(
            f"`names` must be a name for each of the {factors.shape[1]} factors. Received: {', '.join(map(str, names))}."
        )
    numbered = np.stack([np.unique(column, return_inverse=True)[1] for column in factors.T], axis=1)
    for name, highest in zip(names, numbered.max(axis=0), strict=True):
        if highest == 0:
            raise ValueError(f"The factor {name!r} has one value only in these examples: leave it out.")
    return numbered, names
