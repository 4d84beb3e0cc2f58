import keras
import numpy as np
import pytest
import tensorflow as tf

import kvae

PARAMS = np.random.default_rng(0).normal(size=(6, 8)).astype("float32")


def test_draws_are_the_noise_of_kvae_random():
    layer = kvae.Sampling(seed=5)
    mean, log_var = np.split(PARAMS, 2, axis=-1)
    for stream in range(3):
        noise = kvae.random.normal(5, stream, tf.range(6), 4)
        np.testing.assert_allclose(layer(PARAMS), mean + np.exp(log_var / 2) * noise, rtol=1e-5, atol=1e-6)


def test_a_list_of_two_is_the_same_as_one_tensor():
    mean, log_var = np.split(PARAMS, 2, axis=-1)
    np.testing.assert_array_equal(kvae.Sampling(seed=1)([mean, log_var]), kvae.Sampling(seed=1)(PARAMS))


def test_seeds_differ_and_repeat():
    first, again, other = kvae.Sampling(seed=0)(PARAMS), kvae.Sampling(seed=0)(PARAMS), kvae.Sampling(seed=1)(PARAMS)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).min() > 0


def test_always_draws():
    layer = kvae.Sampling()
    assert np.abs(layer(PARAMS, training=False) - layer(PARAMS, training=False)).min() > 0


def test_gradients_reach_mean_and_log_var():
    params = tf.constant(PARAMS)
    with tf.GradientTape() as tape:
        tape.watch(params)
        z = kvae.Sampling()(params)
    gradient = tape.gradient(z, params).numpy()
    np.testing.assert_allclose(gradient[:, :4], 1.0)
    np.testing.assert_allclose(gradient[:, 4:], 0.5 * (z - PARAMS[:, :4]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_functional_model_that_is_saved(tmp_path, jit_compile):
    inputs = keras.Input((8,))
    mean, log_var = keras.layers.Dense(2)(inputs), keras.layers.Dense(2)(inputs)
    model = keras.Model(inputs, kvae.Sampling(seed=3)([mean, log_var]))
    assert model.output_shape == (None, 2)
    model.compile("adam", "mse", jit_compile=jit_compile)
    model.fit(PARAMS, np.zeros((6, 2)), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(PARAMS), model(PARAMS), atol=1e-6)


def test_under_mixed_precision(dtype_policy):
    dtype_policy("mixed_bfloat16")
    assert kvae.Sampling()(tf.cast(PARAMS, tf.bfloat16)).dtype == tf.float32


def test_bad_input():
    for shape in ((1, 5, 8), (8,)):
        with pytest.raises(ValueError, match=r"must be encoder outputs \[batch, parameters\].*Received: \["):
            kvae.Sampling()(tf.zeros(shape))
    with pytest.raises(ValueError, match="must be of one width. Received: 3 and 1"):
        kvae.Sampling()([tf.zeros([2, 3]), tf.zeros([2, 1])])
    noise = tf.ones([3, 6, 4])
    np.testing.assert_allclose(kvae.Sampling()(tf.zeros([3, 6, 8]), noise=noise), noise)
    with pytest.raises(ValueError, match="`seed` must be an int"):
        kvae.Sampling(seed=None)
