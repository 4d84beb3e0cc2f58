import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import kvae
from kvae.random import Noise, normal, threefry2x32


def words(*values):
    return tuple(tf.constant(value, tf.uint32) for value in values)


def same(actual, expected):
    # The words are equal to the bit; log, sqrt and cos round differently in vector lanes and in the rest of an array.
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        # The known answers that the Random123 library ships for threefry2x32 with 20 rounds.
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_known_answers(key, counter, expected):
    assert tuple(int(word) for word in threefry2x32(words(*key), words(*counter))) == expected


def test_normal_is_box_muller_of_the_words():
    first, second = (int(word) for word in threefry2x32(words(5, 7), words(3, 0)))
    radius = np.sqrt(-2 * np.log(((first >> 8) + 1) / 2**24))
    angle = 2 * np.pi * ((second >> 8) / 2**24 - 0.5)
    expected = [radius * np.cos(angle), radius * np.sin(angle)]
    # float32 algebra on values of up to 6
    np.testing.assert_allclose(normal(5, 7, 3, 2), expected, atol=2e-6)


def test_same_in_eager_graph_and_xla():
    def draw(seed, stream):
        return normal(seed, stream, tf.range(1000), 41)

    arguments = tf.constant(1), tf.constant(2)
    eager = draw(*arguments)
    np.testing.assert_array_equal(tf.function(draw)(*arguments), eager)
    # XLA has its own cosine and may contract a product and a sum: about two units in the last place of 4.0
    np.testing.assert_allclose(tf.function(draw, jit_compile=True)(*arguments), eager, atol=1e-6)


def test_any_split_gives_the_same_rows():
    whole = normal(0, 5, tf.range(100), 7, sample=tf.range(4)[:, None])
    assert whole.shape == (4, 100, 7)
    pieces = [normal(0, 5, tf.range(start, start + 25), 7, sample=tf.range(4)[:, None]) for start in range(0, 100, 25)]
    same(np.concatenate(pieces, axis=1), whole)
    same(normal(0, 5, 42, 7, sample=3), whole[3, 42])


def test_every_address_counts():
    base = normal(0, 0, 0, 6)
    for address in (
        {"seed": 1},
        {"stream": 1},
        {"row": 1},
        {"sample": 1},
        {"seed": -1},
        {"stream": kvae.random.EVALUATION},
    ):
        other = normal(**{"seed": 0, "stream": 0, "row": 0, "dim": 6, **address})
        assert np.abs(other - base).min() > 1e-6


def test_moments_and_distribution_of_a_million_draws():
    values = normal(11, 0, tf.range(100_000), 10).numpy().ravel().astype("float64")
    # within 4 standard errors of N(0, 1): 1e-3 for the mean, sqrt(2) e-3 for the variance, sqrt(6), sqrt(24) e-3 beyond
    assert abs(values.mean()) < 4e-3
    assert abs(values.var() - 1) < 4 * np.sqrt(2) * 1e-3
    assert abs(scipy.stats.skew(values)) < 4 * np.sqrt(6) * 1e-3
    assert abs(scipy.stats.kurtosis(values)) < 4 * np.sqrt(24) * 1e-3
    assert scipy.stats.kstest(values, "norm").pvalue > 1e-3


def test_columns_rows_and_streams_are_uncorrelated():
    values = normal(3, 0, tf.range(100_000), 8).numpy()
    correlation = np.corrcoef(np.hstack([values[:-1], values[1:], normal(3, 1, tf.range(99_999), 8)]).T)
    # 24 x 24 correlations of 1e5 pairs: 5 standard errors
    assert np.abs(correlation - np.eye(24)).max() < 5 / np.sqrt(1e5)


def test_noise_draws_are_nested_and_auxiliary_draws_are_fresh():
    noise = Noise(seed=0, stream=3, row=tf.range(5))
    same(noise.normal(3, num_samples=8)[:2], noise.normal(3, num_samples=2))
    same(noise.normal(3, num_samples=8)[5:], noise.normal(3, num_samples=3, first_sample=5))
    auxiliary = noise.auxiliary(3).numpy()
    assert not np.isin(auxiliary, noise.normal(3, num_samples=50)).any()


def test_dim_must_be_positive():
    with pytest.raises(ValueError, match="dim=0"):
        normal(0, 0, 0, 0)


def test_uniform_is_the_words_of_normal():
    words = np.stack(threefry2x32((tf.constant(3, tf.uint32), tf.constant(0, tf.uint32)), _counters(7, 2)))
    expected = ((words >> 9) + 0.5) * 2.0**-23
    np.testing.assert_array_equal(kvae.random.uniform(3, 0, 7, 4), expected.ravel())
    np.testing.assert_array_equal(kvae.random.uniform(3, 0, 7, 3), expected.ravel()[:3])


def _counters(row, pairs):
    return tf.constant(row, tf.uint32), tf.constant(list(range(pairs)), tf.uint32)


def test_distribution_of_a_million_uniform_draws():
    draws = kvae.random.uniform(0, 0, tf.range(25_000), 40).numpy().ravel()
    assert 0 < draws.min() < draws.max() < 1
    assert scipy.stats.kstest(draws, "uniform").pvalue > 1e-3
    np.testing.assert_array_equal(1 - (1 - draws), draws)  # nothing is lost in the complement


def test_choices_have_their_odds():
    uniform, logits = kvae.random.uniform(1, 0, tf.range(10_000), 1)[:, 0], tf.math.log([0.1, 0.6, 0.3])
    counts = np.bincount(kvae.random.choose(uniform, logits), minlength=3)
    assert scipy.stats.chisquare(counts, [1000, 6000, 3000]).pvalue > 1e-3
    each = kvae.random.choose(tf.constant([0.05, 0.99]), tf.math.log([[0.1, 0.9], [0.5, 0.5]]))
    np.testing.assert_array_equal(each, [0, 1])
    assert kvae.random.choose(tf.constant(1.0), tf.zeros([7])) == 6


def test_uniform_dim_must_be_positive():
    with pytest.raises(ValueError, match="`dim` must be a positive int"):
        kvae.random.uniform(0, 0, 0, 0)
