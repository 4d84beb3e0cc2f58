import os

import keras
import numpy as np
import pytest

import kvae
from kvae import data


def test_digits():
    digits = data.load("digits")
    assert digits.x_train.shape == (1500, 8, 8, 1) and digits.x_test.shape == (297, 8, 8, 1)
    assert digits.x_train.dtype == np.float32
    assert (digits.x_train.min(), digits.x_train.max()) == (0.0, 1.0)
    assert set(digits.y_train) == set(digits.y_test) == set(range(10))
    np.testing.assert_array_equal(data.digits().x_train, digits.x_train)


@pytest.mark.skipif(
    not os.path.exists(os.path.join(os.environ.get("KVAE_DATA_HOME", ""), "mnist.npz")),
    reason="needs mnist.npz in $KVAE_DATA_HOME",
)
def test_mnist():
    mnist = data.load("mnist")
    assert mnist.x_train.shape == (60_000, 28, 28, 1) and mnist.x_test.shape == (10_000, 28, 28, 1)
    assert mnist.x_train.mean() == pytest.approx(0.1307, abs=1e-4)  # the published mean and standard deviation
    assert mnist.x_train.std() == pytest.approx(0.3081, abs=1e-4)


def arrays(**extra):
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (20, 6, 5), dtype="uint8"),
        "x_test": rng.integers(0, 256, (4, 6, 5), dtype="uint8"),
        **extra,
    }


def test_data_home_comes_first(tmp_path, monkeypatch):
    np.savez(tmp_path / "fashion_mnist.npz", **arrays(y_train=np.arange(20), y_test=np.arange(4)))
    monkeypatch.setenv("KVAE_DATA_HOME", str(tmp_path))
    fashion = data.fashion_mnist()
    np.testing.assert_allclose(fashion.x_train[..., 0], arrays()["x_train"] / 255, rtol=1e-6)
    np.testing.assert_array_equal(fashion.y_test, np.arange(4))


def test_no_network_says_where_to_put_the_file(tmp_path, monkeypatch):
    def refuse():
        raise Exception("URL fetch failure: no route to host")

    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", refuse)
    monkeypatch.setenv("KVAE_DATA_HOME", str(tmp_path))
    with pytest.raises(
        ConnectionError, match=r"no route to host.*fashion_mnist\.npz.*x_train, y_train.*KVAE_DATA_HOME"
    ):
        data.load("fashion_mnist")


def test_files(tmp_path):
    np.savez(tmp_path / "split.npz", **arrays())
    split = data.load(tmp_path / "split.npz")
    assert split.x_train.shape == (20, 6, 5, 1) and split.y_train is None
    table = np.random.default_rng(0).normal(size=(30, 7))
    np.save(tmp_path / "table.npy", table)
    loaded = data.load(str(tmp_path / "table.npy"))
    assert loaded.x_train.shape == (27, 7) and loaded.x_test.shape == (3, 7)
    together = np.concatenate([loaded.x_train, loaded.x_test])
    np.testing.assert_allclose(np.sort(together, axis=0), np.sort(table, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(data.load(tmp_path / "table.npy").x_test, loaded.x_test)
    np.savez(tmp_path / "labelled.npz", x=table, y=np.arange(30))
    labelled = data.load(tmp_path / "labelled.npz")
    np.testing.assert_allclose(labelled.x_test, table[labelled.y_test], rtol=1e-6)


def test_labels_of_files(tmp_path):
    table = np.random.default_rng(0).normal(size=(30, 7))
    np.savez(tmp_path / "named.npz", images=table)
    assert data.load(tmp_path / "named.npz").y_train is None
    np.savez(tmp_path / "column.npz", x=table, y=np.arange(30)[:, None])
    column = data.load(tmp_path / "column.npz")
    np.testing.assert_allclose(column.x_test, table[column.y_test], rtol=1e-6)
    for name, labels in {"short": np.arange(29), "long": np.arange(31)}.items():
        np.savez(tmp_path / f"{name}.npz", x=table, y=labels)
        with pytest.raises(
            ValueError, match="y in '.*' must have a label for each of the 30 examples. Received: shape"
        ):
            data.load(tmp_path / f"{name}.npz")
    np.savez(tmp_path / "split.npz", **arrays(), y_train=np.arange(20), y_test=np.arange(20))
    with pytest.raises(ValueError, match="y_test in '.*' must have a label for each of the"):
        data.load(tmp_path / "split.npz")
    np.savez(tmp_path / "shapes.npz", x_train=table, x_test=table[:, :6])
    with pytest.raises(ValueError, match=r"examples of one shape. Received: \[30, 7\] and \[30, 6\]"):
        data.load(tmp_path / "shapes.npz")


@pytest.mark.parametrize("name", ["table.csv", "TABLE.CSV", "with space \u00e9.csv"])
def test_tables_of_spreadsheets(tmp_path, name):
    rows = "\n".join(f"{row},{row + 1}" for row in range(10))
    (tmp_path / name).write_text(rows, encoding="utf-8-sig")
    loaded = data.load(tmp_path / name)
    assert sorted(np.concatenate([loaded.x_train, loaded.x_test])[:, 0].tolist()) == list(range(10))


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file '.*absent\.npy'"):
        data.load(tmp_path / "absent.npy")
    with pytest.raises(ValueError, match="Unknown data set 'minst'.*digits, mnist, fashion_mnist"):
        data.load("minst")
    (tmp_path / "corrupt.npz").write_bytes(b"PK not really")
    with pytest.raises(ValueError, match="no readable .npz file"):
        data.load(tmp_path / "corrupt.npz")
    np.savez(tmp_path / "whole.npz", **arrays())
    (tmp_path / "short.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-100])
    with pytest.raises(ValueError, match="no readable .npz file"):
        data.load(tmp_path / "short.npz")
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="plain arrays"):
        data.load(tmp_path / "pickled.npy")
    np.savez(tmp_path / "named.npz", a=np.zeros((3, 2)), b=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="must hold arrays x_train and x_test, or one array x. Received: a, b"):
        data.load(tmp_path / "named.npz")
    for name, array in {"flat": np.zeros(5), "text": np.array([["a", "b"]])}.items():
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(ValueError, match="must hold numbers, one example per row"):
            data.load(tmp_path / f"{name}.npy")
    np.save(tmp_path / "one.npy", np.zeros((1, 5)))
    with pytest.raises(ValueError, match="at least two examples"):
        data.load(tmp_path / "one.npy")


def test_binarize():
    x = np.tile(np.linspace(0, 1, 5), (20_000, 1))
    binary = data.binarize(x, seed=1)
    assert set(np.unique(binary)) == {0.0, 1.0} and binary.dtype == np.float32
    # five standard errors of a proportion
    np.testing.assert_array_less(np.abs(binary.mean(axis=0) - x[0]), 5 * np.sqrt(x[0] * (1 - x[0]) / 20_000) + 1e-9)
    np.testing.assert_array_equal(binary, data.binarize(x, seed=1))
    assert (binary != data.binarize(x, seed=2)).any()
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\] to be binarised.*/ 255"):
        data.binarize(np.full((2, 2), 255, "uint8"))


def test_dynamic_binarization():
    x = np.random.default_rng(0).random((100, 4)).astype("float32")

    def epochs(seed, count=2, **arguments):
        batches = data.dynamic_binarization(x, batch_size=32, seed=seed, **arguments)
        return [[batch.numpy() for batch in batches] for _ in range(count)]

    first, second = epochs(0)
    assert [len(batch) for batch in first] == [32, 32, 32, 4]
    assert {0.0, 1.0} == set(np.unique(np.concatenate(first)))
    assert any((one != other).any() for one, other in zip(first, second, strict=True))
    for one, other in zip([batch for epoch in epochs(0) for batch in epoch], first + second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(epochs(1)[0], first, strict=True))
    copies = data.dynamic_binarization(np.tile(x, (400, 1)), batch_size=10_000, shuffle=False)
    draws = np.concatenate([batch.numpy() for batch in copies]).reshape(400, *x.shape).mean(axis=0)
    assert np.abs(draws - x).max() < 6 * 0.5 / np.sqrt(400)  # 400 values, six standard errors
    assert len(data.dynamic_binarization(x, batch_size=32)) == 4


def test_conditions_of_another_length():
    x = np.zeros((10, 4), "float32")
    for count in (9, 11):
        with pytest.raises(
            ValueError, match=f"`condition` must have as many rows as x. Received: {count} rows, and 10"
        ):
            data.dynamic_binarization(x, condition=np.zeros(count))


def test_dynamic_binarization_trains():
    from building import make_vae

    digits = data.load("digits")
    vae = make_vae()
    batches = data.dynamic_binarization(digits.x_train[:256], batch_size=64)
    history = vae.fit(batches, epochs=2, verbose=0, validation_data=data.binarize(digits.x_test, seed=777)).history
    assert history["val_elbo"][1] > history["val_elbo"][0]
    assert kvae.evaluation.elbo(vae, data.binarize(digits.x_test)).shape == (297,)
