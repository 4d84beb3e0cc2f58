"""What holds for every likelihood, by the table of cases; a class without a row fails."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from building import networks
from likelihood_cases import CASES, EXAMPLES, SHAPE

import kvae
from kvae import likelihoods

DRAWS = 4000

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def per_example(values):
    return values.sum(axis=(1, 2, 3))


def log_prob_and_gradient(likelihood, params, x, mask=None):
    params = tf.convert_to_tensor(params)
    with tf.GradientTape() as tape:
        tape.watch(params)
        log_prob = likelihood.log_prob(params, x, mask)
    return log_prob.numpy(), tape.gradient(log_prob, params).numpy()


def test_every_likelihood_has_a_case():
    classes = {
        each
        for name, each in inspect.getmembers(likelihoods, inspect.isclass)
        if issubclass(each, likelihoods.Likelihood) and each is not likelihoods.Likelihood
    }
    assert classes == {type(case.make()) for case in CASES.values()}
    assert {each.__name__ for each in classes} | {"Likelihood", "get"} == set(likelihoods.__all__)


@each_case
def test_log_prob_is_that_of_the_oracle(case):
    likelihood, oracle = case.built(), case.oracle(case.params.astype("float64"))
    p = likelihood.distribution(case.params)
    assert (p.batch_shape, p.event_shape) == ((EXAMPLES,), SHAPE)
    expected = per_example(oracle.log_prob(case.x.astype("float64")))
    np.testing.assert_allclose(p.log_prob(case.x), expected, rtol=case.rtol)
    np.testing.assert_allclose(likelihood.log_prob(case.params, case.x), expected, rtol=case.rtol)


@each_case
def test_mean_is_that_of_the_oracle(case):
    likelihood, oracle = case.built(), case.oracle(case.params.astype("float64"))
    np.testing.assert_allclose(likelihood.distribution(case.params).mean(), oracle.mean, atol=case.mean_tolerance)
    np.testing.assert_allclose(likelihood(case.params), oracle.mean, atol=case.mean_tolerance)


@each_case
def test_samples_have_the_mean_and_lie_in_the_support(case):
    likelihood, oracle = case.built(), case.oracle(case.params.astype("float64"))
    draws = likelihood.distribution(case.params).sample(DRAWS, seed=[1, 2]).numpy()
    assert draws.shape == (DRAWS, EXAMPLES, *SHAPE)
    likelihood.check(draws[0])
    error = np.abs(case.moments(draws).mean(axis=0) - oracle.mean)
    # up to 180 means, each within 5 standard errors
    assert (error < 5 * oracle.std / np.sqrt(DRAWS) + case.mean_tolerance).all()


# Draws of these take rejection.
NO_FUNCTION_OF_NOISE = {"Beta", "Poisson", "NegativeBinomial", "ZeroInflated"}


@each_case
def test_draws_as_a_function_of_noise_have_the_right_mean_and_spread(case):
    likelihood, params = case.built(), tf.repeat(tf.constant(case.params[:1]), DRAWS, axis=0)
    row = tf.range(DRAWS)
    size = int(np.prod(SHAPE))
    noise = tf.reshape(kvae.random.uniform(1, 0, row, 2 * size), [DRAWS, 2, *SHAPE])
    if type(likelihood).__name__ in NO_FUNCTION_OF_NOISE:
        with pytest.raises(NotImplementedError, match="take rejection sampling"):
            likelihood.from_uniform(params, tf.unstack(noise, axis=1))
        return
    x = likelihood.from_uniform(params, tf.unstack(noise, axis=1)).numpy()
    likelihood.check(x)
    moments, oracle = case.moments(x), case.oracle(case.params[:1].astype("float64"))
    mean, std = oracle.mean.reshape(moments.shape[1:]), oracle.std.reshape(moments.shape[1:])
    # standard errors; the largest of some dozens of normal values is below five
    assert (np.abs(moments.mean(axis=0) - mean) < 5 * std / np.sqrt(DRAWS)).all()
    # of the standard deviation, whose own error is largest for the Student-t of five degrees of freedom, with a kurtosis of 9
    assert (np.abs(moments.std(axis=0) / std - 1) < 5 * np.sqrt(8 / 4 / DRAWS) + 1e-3).all()


@each_case
def test_initial_params_have_the_mean_of_the_data(case):
    likelihood = case.built()
    x = np.concatenate([np.roll(case.x, shift, axis=1) for shift in range(3)])  # all bits and classes, at every place
    params = likelihood.initial_params(x)
    assert params.dtype == "float32" and params.shape == likelihood.params_shape(SHAPE)
    if likelihood.num_params == 9:  # a mixture, whose components shall have equal weights
        assert not params.any()
        return
    expected = case.moments(x).mean(axis=0)
    assert expected.std() > 0
    # The root is found to the last digits of float32, of means up to 4.
    np.testing.assert_allclose(likelihood(params[None])[0], expected, rtol=2e-6, atol=case.mean_tolerance)
    channels = likelihood.initial_params(x.reshape(-1, SHAPE[-1]))  # as a convolution takes it
    assert channels.shape == likelihood.params_shape(SHAPE)[-1:]


@each_case
def test_masked_values_do_not_count(case):
    likelihood, oracle = case.built(), case.oracle(case.params.astype("float64"))
    mask = np.random.default_rng(2).random(case.x.shape) < 0.5
    masked, gradient = log_prob_and_gradient(likelihood, case.params, np.where(mask, case.x, np.nan), mask)
    expected = np.where(mask, oracle.log_prob(case.x.astype("float64")), 0.0)
    np.testing.assert_allclose(masked, per_example(expected), rtol=case.rtol)
    assert np.isfinite(gradient).all()
    _, full = log_prob_and_gradient(likelihood, case.params, case.x)
    # that of what was observed is as ever, and all else is zero
    joint = isinstance(likelihood, likelihoods.Joint)
    wide = np.repeat(mask, [1, 3], axis=-1) if joint else np.concatenate([mask] * likelihood.num_params, axis=-1)
    _, full = log_prob_and_gradient(likelihood, case.params, case.x)
    np.testing.assert_allclose(gradient, np.where(wide, full, 0.0), rtol=1e-5, atol=1e-6)
    assert likelihood.distribution(case.params, mask).mean().shape == likelihood(case.params).shape


@each_case
@pytest.mark.parametrize("extreme", [1e4, -1e4, 0.0])
def test_finite_gradients_at_extreme_outputs_and_difficult_data(case, extreme):
    likelihood = case.built()
    params = np.full_like(case.params, extreme)
    for x in (case.x, *(np.full_like(case.x, edge) for edge in case.edges)):
        log_prob, gradient = log_prob_and_gradient(likelihood, params, x)
        assert np.isfinite(log_prob).all()
        assert np.isfinite(gradient).all()
    assert np.isfinite(likelihood(params)).all()


@each_case
def test_leading_axes_and_16_bits(case):
    likelihood, params = case.built(), case.params
    p = likelihood.distribution(tf.cast(np.stack([params] * 2), tf.float16))
    assert (p.batch_shape, p.event_shape) == ((2, EXAMPLES), SHAPE)
    log_prob = p.log_prob(case.x)
    assert log_prob.dtype == tf.float32 and log_prob.shape == (2, EXAMPLES)
    rounded = likelihood.log_prob(params.astype("float16").astype("float32"), case.x)
    np.testing.assert_allclose(log_prob[1], rounded, rtol=1e-5)  # the batch is only larger


@each_case
def test_a_graph_of_unknown_batch_size_under_xla_does_the_same(case):
    likelihood = case.built()

    @tf.function(
        jit_compile=True,
        input_signature=[tf.TensorSpec([None, *case.params.shape[1:]]), tf.TensorSpec([None, *SHAPE])],
    )
    def function(params, x):
        with tf.GradientTape() as tape:
            tape.watch(params)
            log_prob = likelihood.log_prob(params, x)
        return log_prob, tape.gradient(log_prob, params), likelihood(params)

    log_prob, gradient, mean = function(tf.constant(case.params), tf.constant(case.x, tf.float32))
    expected = log_prob_and_gradient(likelihood, case.params, case.x)
    # other kernels, whose lgamma and digamma differ in the last digits
    np.testing.assert_allclose(log_prob, expected[0], rtol=1e-4)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(mean, likelihood(case.params), rtol=1e-5, atol=1e-6)


@each_case
def test_mean_in_builtin_operations_of_tflite(case, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    likelihood, params = case.built(), case.params
    archive = keras.export.ExportArchive()
    archive.track(likelihood)
    archive.add_endpoint("mean", likelihood.call, [tf.TensorSpec([None, *params.shape[1:]], name="params")])
    archive.write_out(tmp_path / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"), signature_keys=["mean"])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    runner = Interpreter(model_content=converter.convert()).get_signature_runner("mean")
    for inputs in (params, np.full_like(params, 1e4), np.full_like(params, -1e4)):
        (mean,) = runner(params=inputs).values()
        np.testing.assert_allclose(mean, likelihood(inputs), rtol=1e-5, atol=1e-6)


@each_case
def test_trains_and_is_the_same_after_loading(case, tmp_path):
    likelihood = case.make()
    encoder, _ = networks(SHAPE, 2, hidden=(4,))
    _, decoder = networks(likelihood.params_shape(SHAPE), 2, hidden=(4,))
    vae = kvae.VAE(encoder, decoder, likelihood)
    vae.compile(
        keras.optimizers.Adam(1e-2), run_eagerly=True
    )  # the graph is that of the test above; this takes no tracing
    history = vae.fit(case.x, batch_size=3, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    mean = vae.predict(case.x, verbose=0)
    assert mean.shape == case.oracle(case.params.astype("float64")).mean.shape
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(again.predict(case.x, verbose=0), mean)
    for old, new in zip(vae.likelihood.weights, again.likelihood.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert again.sample(3, mean=False, seed=1).shape == (3, *SHAPE)
