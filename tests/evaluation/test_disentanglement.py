"""All scores of a model at once."""

import json

import numpy as np
import pytest
import tensorflow as tf
from building import make_vae, networks

import kvae
from kvae.data import Factors, FactorTable
from kvae.evaluation import SCORES, Encoded, disentanglement
from kvae.evaluation.disentanglement import summary


class Dots(Factors):
    """One white pixel of 8x8."""

    def images(self, factors):
        x = np.zeros([len(factors), 8, 8, 1], "float32")
        x[np.arange(len(factors)), factors[:, 0], factors[:, 1], 0] = 1
        return x


DOTS = Dots({"row": 8, "column": 8}, categorical=("row",))


def perfect(x):
    """The row and the column of the white pixel."""
    return np.stack(np.unravel_index(x.reshape(len(x), -1).argmax(axis=1), (8, 8)), axis=1).astype("float32")


@pytest.fixture(scope="module")
def vae():
    return make_vae()


def test_all_scores_of_a_perfect_code():
    notes = []
    result = disentanglement(perfect, DOTS, num_examples=600, seed=5, progress=notes.append)
    assert notes == ["encoding 600 examples", *SCORES]
    dci_parts = {f"dci_{part}" for part in ("disentanglement", "completeness", "informativeness")}
    assert set(result.scores) == set(SCORES) - {"dci"} | dci_parts
    # Examples at random: what is known of one factor from the other is (S - 1) squared / 2 N, of log 8.
    floor = 49 / 1200 / np.log(8)
    for name, score in result.scores.items():
        if name == "sap":  # the row is categorical: its second best dimension guesses one of 8
            assert score.value == pytest.approx((1 - 1 / 8 + 1) / 2, abs=0.05)
        elif name == "mig":
            assert 1 - 2 * floor < score.value < 1
        else:  # the penalty of the logistic regression pulls 8 values together, more so with 400 examples
            assert score.value == pytest.approx(1, abs=5e-3)
        assert (score.num_examples, score.factors, score.seed) == (600, ("row", "column"), 5)
        assert score.representation == "codes"


def test_table_and_dictionary():
    result = disentanglement(perfect, DOTS, scores=("mig", "factor_vae"), num_examples=500)
    heading, *rows = str(result).splitlines()
    assert heading == "Disentanglement of codes, 500 examples, factors row, column, seed 0"
    assert len(rows) == 2 and "MIG" in rows[0] and f"{result['mig'].value:.3f}  20-bin histogram" in rows[0]
    assert "majority of 800 votes" in rows[1]
    loaded = json.loads(json.dumps(result.to_dict()))
    assert loaded["mig"]["value"] == float(result["mig"]) and loaded["mig"]["method"] == "20-bin histogram"
    assert disentanglement(perfect, DOTS, "mig", 500)["mig"] == result["mig"]
    assert disentanglement(perfect, DOTS, "mig", 500, seed=1)["mig"] != result["mig"]


def test_scores_are_those_of_the_means(vae):
    result = disentanglement(vae, DOTS, scores=("mig", "sap"), num_examples=300, seed=2)
    x, factors = DOTS.draw(300, 2)
    expected = kvae.evaluation.mig(vae.transform(x), factors)
    assert result["mig"].value == pytest.approx(expected.value, abs=1e-12)
    assert str(result).startswith("Disentanglement of means, 300 examples")
    assert "thresholds for row" in str(result["sap"])


def test_samples_are_drawn_from_the_posterior(vae):
    codes = Encoded(vae, DOTS, "sample", seed=7)
    assert codes.data_shape == (3,) and codes.names == ("row", "column")
    factors = DOTS.sample(30, 1)
    fresh = Encoded(vae, DOTS, "sample", seed=7)
    samples = np.concatenate([fresh.images(factors[:20]), fresh.images(factors[20:])])
    q = vae.encode(DOTS.images(factors))
    noise = kvae.random.normal(7, kvae.random.EVALUATION, tf.range(30), 3)
    np.testing.assert_allclose(samples, q.mean() + q.stddev() * noise, atol=1e-5)
    result = disentanglement(vae, DOTS, "mig", 300, representation="sample")
    assert result["mig"].representation == "samples"
    assert result["mig"].value == disentanglement(vae, DOTS, "mig", 300, representation="sample")["mig"].value
    assert result["mig"].value != disentanglement(vae, DOTS, "mig", 300)["mig"].value


def test_new_examples_for_each_batch(vae):
    codes = Encoded(vae, DOTS)
    factors = DOTS.sample(10, 3)
    np.testing.assert_array_equal(codes.images(factors), vae.transform(DOTS.images(factors)))
    drawn, held = codes.draw(10, 3, fixed={"row": 2})
    np.testing.assert_array_equal(drawn, vae.transform(DOTS.images(held)))
    assert set(held[:, 0]) == {2} and len(codes) == 64
    score = kvae.evaluation.factor_vae_score(Encoded(perfect, DOTS), num_votes=30, batch_size=8)
    assert score.value == 1 and "of 8 drawn anew" in str(score)
    score = kvae.evaluation.beta_vae_score(Encoded(vae, DOTS, "sample"), num_batches=10, batch_size=4)
    assert score.representation == "samples" and score.num_examples == 2 * 10 * 2 * 4


def test_arrays_of_ones_own(vae):
    x, factors = DOTS.draw(400, 0)
    table = FactorTable(x, factors, DOTS.names)
    result = disentanglement(vae, table, "mig")
    assert result["mig"].num_examples == 400
    # All rows once, in another order.
    assert result["mig"].value == pytest.approx(kvae.evaluation.mig(vae.transform(x), factors).value, abs=1e-12)


def test_tables_of_ones_own_are_encoded_a_part_at_a_time(vae, monkeypatch):
    x, factors = DOTS.draw(50, 0)
    table = FactorTable(x, factors, DOTS.names)
    whole, _ = Encoded(vae, table, "sample", seed=7).draw(50, 3)
    monkeypatch.setattr(summary, "_AT_ONCE", 20)
    in_parts = Encoded(vae, table, "sample", seed=7)
    sizes, encode = [], in_parts._encode
    monkeypatch.setattr(in_parts, "_encode", lambda x: sizes.append(len(x)) or encode(x))
    np.testing.assert_allclose(in_parts.draw(50, 3)[0], whole, atol=1e-5)
    assert max(sizes) <= 20


def test_what_is_refused(vae):
    with pytest.raises(TypeError, match=r"known factors: kvae\.data\.sprites\(\).*Received: ndarray"):
        disentanglement(vae, np.zeros((4, 8, 8, 1)))
    with pytest.raises(ValueError, match=r"takes x of shape \[8, 8, 1\], and Sprites.* gives \[64, 64, 1\]"):
        disentanglement(vae, kvae.data.sprites())
    with pytest.raises(ValueError, match="`scores` must be one of 'mig'.*Received: scores='tcc'"):
        disentanglement(vae, DOTS, scores=("mig", "tcc"))
    with pytest.raises(ValueError, match="`scores` is empty"):
        disentanglement(vae, DOTS, scores=())
    with pytest.raises(ValueError, match="`representation` must be one of 'mean', 'sample'"):
        disentanglement(vae, DOTS, representation="median")
    with pytest.raises(ValueError, match="at least 6 examples.*Pass more examples"):
        disentanglement(vae, DOTS, "mig", num_examples=30)
    with pytest.raises(ValueError, match="`num_examples` must be a whole number"):
        disentanglement(vae, DOTS, num_examples=0)
    with pytest.raises(ValueError, match="must be finite"):
        disentanglement(lambda x: np.full((len(x), 3), np.nan), DOTS)
    with pytest.raises(ValueError, match="a function gives the codes that it gives"):
        disentanglement(perfect, DOTS, representation="sample")
    with pytest.raises(ValueError, match=r"codes \[N, D\], one for each x. Received: \[300\] for 300"):
        disentanglement(lambda x: x.sum(axis=(1, 2, 3)), DOTS, num_examples=300)

    encoder, decoder = networks(params_size=3)
    autoencoder = kvae.Autoencoder(encoder, decoder)
    assert disentanglement(autoencoder, DOTS, "mig", 300)["mig"].representation == "means"
    with pytest.raises(ValueError, match="an autoencoder does not have"):
        disentanglement(autoencoder, DOTS, representation="sample")
    conditional = kvae.VAE(
        kvae.networks.dense_encoder((8, 8, 1), 3, num_classes=2),
        kvae.networks.dense_decoder(3, (8, 8, 1), num_classes=2),
    )
    with pytest.raises(ValueError, match="The model is conditional.*lambda x"):
        disentanglement(conditional, DOTS)
    codes = disentanglement(lambda x: conditional.transform((x, np.zeros(len(x)))), DOTS, "mig", 300)
    assert codes["mig"].representation == "codes"
