"""The VAE as a Keras citizen: everything that users of `model.fit` expect."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from building import digits, make_vae, networks

import kvae

X, X_TEST = digits()
X = X[:300]
METRICS = ["loss", "elbo", "reconstruction", "kl"]


def fit(vae, x=X, **arguments):
    return vae.fit(x, **{"epochs": 2, "batch_size": 64, "verbose": 0, **arguments}).history


def weights(vae):
    return [np.array(each) for each in vae.trainable_variables]


# Training and evaluation


def test_fit_learns_and_logs_nats_per_example():
    history = fit(make_vae(), digits()[0], epochs=5, validation_data=(X_TEST,))
    assert set(history) == {*METRICS, *(f"val_{name}" for name in METRICS)}
    assert history["val_elbo"][-1] > history["val_elbo"][0] > -64 * np.log(2) * 1.1
    for epoch in range(5):
        assert history["elbo"][epoch] == pytest.approx(
            -history["reconstruction"][epoch] - history["kl"][epoch], rel=1e-6
        )
        assert history["loss"][epoch] == pytest.approx(-history["elbo"][epoch], rel=1e-6)


def test_evaluate_returns_the_metrics_in_order():
    vae = make_vae()
    report = vae.evaluate(X_TEST, return_dict=True, verbose=0)
    assert set(report) == set(METRICS)
    assert vae.evaluate(X_TEST, verbose=0) == [report[name] for name in METRICS]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_evaluate_is_the_same_at_any_batch_size_and_repeats_itself(jit_compile):
    vae = make_vae(compile_arguments={"jit_compile": jit_compile})
    fit(vae)
    reports = [vae.evaluate(X_TEST, batch_size=size, return_dict=True, verbose=0) for size in (64, 297, 64, 7)]
    for report in reports[1:]:
        for name in METRICS:
            assert report[name] == pytest.approx(reports[0][name], rel=1e-5)
    assert reports[0] == reports[2]
    assert kvae.evaluation.elbo(vae, X_TEST, seed=0).mean() == pytest.approx(reports[0]["elbo"], rel=1e-5)


def test_evaluation_leaves_training_untouched():
    with_evaluation, without = make_vae(), make_vae()
    fit(with_evaluation, epochs=1, validation_data=X_TEST)
    before = [np.array(each) for each in with_evaluation.weights]
    with_evaluation.evaluate(X_TEST, verbose=0)
    for old, new in zip(before, with_evaluation.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    fit(without, epochs=1)
    assert fit(with_evaluation, epochs=1) == fit(without, epochs=1)


def test_plain_graph_xla_and_eager_train_alike():
    runs = [
        fit(make_vae(compile_arguments=arguments))["loss"]
        for arguments in (
            {"jit_compile": False},
            {"jit_compile": True},
            {"run_eagerly": True},
            {"steps_per_execution": 3},
        )
    ]
    for run in runs[1:]:
        np.testing.assert_allclose(run, runs[0], rtol=1e-5)


def test_same_seed_same_history_samples_and_evaluation():
    def run(seed):
        vae = make_vae(seed=seed)
        return fit(vae)["loss"], vae.sample(3), vae.evaluate(X_TEST, verbose=0)

    first, again, other = run(0), run(0), run(1)
    assert first[0] == again[0] and first[2] == again[2]
    np.testing.assert_array_equal(first[1], again[1])
    assert first[0] != other[0] and first[2] != other[2]
    assert np.abs(first[1] - other[1]).max() > 1e-3


def test_two_fits_are_one():
    once, twice = make_vae(), make_vae()
    history = fit(once, epochs=4)["loss"]
    assert fit(twice, epochs=2)["loss"] + fit(twice, epochs=4, initial_epoch=2)["loss"] == history


def test_unequal_last_batch_weighs_right():
    vae = make_vae(compile_arguments={"optimizer": keras.optimizers.SGD(0.0)})
    whole = fit(vae, X[:100], epochs=1, batch_size=100, shuffle=False)
    parts = fit(vae, X[:100], epochs=1, batch_size=96, shuffle=False)
    assert parts["kl"][0] == pytest.approx(
        whole["kl"][0], rel=1e-5
    )  # the KL takes no noise, so they are the same number


@pytest.mark.parametrize("keep", [slice(0, 40), slice(20, 60), slice(None, None, 2)])
def test_zero_weight_equals_absence(keep):
    x, weight = X[:60], np.zeros(60)
    weight[keep] = 1.0
    vae = make_vae()
    with_zeros = vae.evaluate(x, sample_weight=weight, return_dict=True, verbose=0)
    without = vae.evaluate(x[keep], return_dict=True, verbose=0)
    assert with_zeros == pytest.approx(without, rel=1e-6)
    trained = [make_vae(), make_vae()]
    fit(trained[0], x, sample_weight=weight, epochs=1, shuffle=False)
    fit(trained[1], x[keep], epochs=1, shuffle=False)
    for first, second in zip(*map(weights, trained), strict=True):
        # Adam divides by the root of a squared gradient, which magnifies the rounding of a sum of other order
        np.testing.assert_allclose(first, second, atol=1e-4)


def test_weights_weigh():
    weight = np.linspace(0.1, 2, 60)
    vae = make_vae()
    report = vae.evaluate(X[:60], sample_weight=weight, return_dict=True, verbose=0)
    assert report["elbo"] == pytest.approx(np.average(kvae.evaluation.elbo(vae, X[:60]), weights=weight), rel=1e-5)


def test_validation_in_all_its_forms():
    expected = None
    for arguments in (
        {"validation_data": (X_TEST,)},
        {"validation_data": X_TEST},
        {"validation_data": (X_TEST, X_TEST)},
        {"validation_data": (X_TEST, None, np.ones(len(X_TEST)))},
        {"validation_data": tf.data.Dataset.from_tensor_slices(X_TEST).batch(50)},
        {"validation_data": tf.data.Dataset.from_tensor_slices((X_TEST,)).batch(64), "validation_batch_size": None},
    ):
        report = fit(make_vae(), epochs=1, **arguments)["val_elbo"]
        expected = expected or report
        assert report == pytest.approx(expected, rel=1e-5)


def test_validation_split_is_the_last_rows():
    split = fit(make_vae(), X, validation_split=0.2)
    given = fit(make_vae(), X[:240], validation_data=X[240:])
    assert split == given


def test_data_sets_and_generators():
    arrays = fit(make_vae(), X, shuffle=False)["loss"]
    for data in (
        tf.data.Dataset.from_tensor_slices(X).batch(64),
        tf.data.Dataset.from_tensor_slices((X, X)).batch(64),
        tf.data.Dataset.from_tensor_slices((X.astype("float64"), X, np.ones(len(X)))).batch(64),
    ):
        np.testing.assert_allclose(fit(make_vae(), data, batch_size=None)["loss"], arrays, rtol=1e-5)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return (X[index * 64 : (index + 1) * 64],)

    np.testing.assert_allclose(fit(make_vae(), Batches(), batch_size=None, shuffle=False)["loss"], arrays, rtol=1e-5)
    endless = tf.data.Dataset.from_tensor_slices(X).batch(64).repeat()
    assert len(fit(make_vae(), endless, batch_size=None, steps_per_epoch=3)["loss"]) == 2


def test_steps_per_epoch_on_arrays_goes_round():
    history = fit(make_vae(), X, steps_per_epoch=3, epochs=5)
    assert len(history["loss"]) == 5


def test_targets_for_denoising():
    noisy = np.clip(X + 0.2, 0, 1) > 0.5
    vae = make_vae()
    fit(vae, noisy.astype("float32"), y=X, validation_data=(noisy[:50], X[:50]))
    terms = vae.terms(noisy[:4].astype("float32"), X[:4])
    expected = vae.decode(terms.z[0]).log_prob(X[:4])
    np.testing.assert_allclose(terms.log_likelihood[0], expected, rtol=1e-5)


def test_train_on_batch():
    vae = make_vae()
    report = vae.train_on_batch(X[:10], return_dict=True)
    assert set(report) == set(METRICS)
    assert set(vae.test_on_batch(X[:10], return_dict=True)) == set(METRICS)


def test_regularisers_count_in_the_loss_and_not_in_the_elbo():
    encoder, decoder = networks()
    encoder.layers[-1].kernel.regularizer = keras.regularizers.L2(0.1)
    vae = kvae.VAE(encoder, decoder)
    vae.compile(jit_compile=False)
    report = vae.evaluate(X_TEST, return_dict=True, verbose=0)
    penalty = 0.1 * np.sum(np.square(encoder.layers[-1].kernel))
    assert penalty > 1e-2
    assert report["loss"] == pytest.approx(-report["elbo"] + penalty, rel=1e-5)


def test_frozen_encoder_stays():
    vae = make_vae()
    vae.encoder.trainable = False
    vae.compile("adam", jit_compile=False)
    before = [np.array(each) for each in vae.encoder.weights]
    old = weights(vae)
    fit(vae)
    for one, other in zip(before, vae.encoder.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(np.abs(one - other).max() > 1e-3 for one, other in zip(old, weights(vae), strict=True))


def test_learned_scale_trains():
    vae = make_vae(likelihood="normal")
    before = float(vae.likelihood.log_scale)
    fit(vae, X)
    assert abs(float(vae.likelihood.log_scale) - before) > 1e-2


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(dtype_policy, policy):
    expected = fit(make_vae())["loss"]
    dtype_policy(policy)
    vae = make_vae()
    assert vae.encoder.compute_dtype == policy.removeprefix("mixed_")
    assert isinstance(vae.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    history = fit(vae, validation_data=X_TEST)
    # 8 (bfloat16) and 11 (float16) bits of mantissa in the networks
    np.testing.assert_allclose(history["loss"], expected, rtol=2e-2)
    assert vae.terms(X[:4]).log_likelihood.dtype == tf.float32
    assert vae.predict(X[:4], verbose=0).dtype == np.float32


def test_float16_overflow_is_skipped_and_not_counted(dtype_policy):
    dtype_policy("mixed_float16")
    vae = make_vae(likelihood="normal", prior="standard_normal")
    vae.optimizer.initial_scale = 1.0
    good = tf.data.Dataset.from_tensors(X[:64])
    huge = good.map(lambda x: x * 6e4)  # overflows in the first product
    before = weights(vae)
    vae.reset_metrics()
    vae.train_step((huge.get_single_element(),))
    for old, new in zip(before, weights(vae), strict=True):
        np.testing.assert_array_equal(old, new)
    vae.train_step((good.get_single_element(),))
    report = vae.get_metrics_result()
    assert np.isfinite(list(report.values())).all()
    assert float(vae.trackers["loss"].count) == 64


def test_an_epoch_of_nothing_but_overflow_is_an_error(dtype_policy):
    dtype_policy("mixed_float16")
    vae = make_vae(likelihood="normal")
    with pytest.raises(FloatingPointError, match="Every step of epoch 1 overflowed in 16 bits"):
        fit(vae, X * 6e4)
    assert not np.isfinite(vae.evaluate(X * 6e4, return_dict=True, verbose=0)["loss"])


def test_non_finite_loss_stops_by_name_before_a_checkpoint_is_written(tmp_path):
    vae = make_vae(compile_arguments={"optimizer": keras.optimizers.SGD(1e30)})
    path = tmp_path / "best.keras"
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    with pytest.raises(
        FloatingPointError, match=r"not finite at epoch 1, batch .*(reconstruction|kl).*lower learning rate"
    ):
        fit(vae, callbacks=[checkpoint])
    assert not path.exists()


# Callbacks


def test_early_stopping_and_checkpoint(tmp_path):
    vae = make_vae()
    best = tmp_path / "best.keras"
    callbacks = [
        keras.callbacks.EarlyStopping("val_elbo", mode="max", patience=1, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(best, monitor="val_elbo", mode="max", save_best_only=True),
    ]
    history = fit(vae, epochs=6, validation_data=X_TEST, callbacks=callbacks)
    again = keras.models.load_model(best).evaluate(X_TEST, batch_size=64, return_dict=True, verbose=0)
    assert again["elbo"] == pytest.approx(max(history["val_elbo"]), rel=1e-6)


def test_backup_and_restore_continues_where_it_stopped(tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    expected = fit(make_vae(), epochs=4)["loss"]
    with pytest.raises(KeyboardInterrupt):
        fit(make_vae(), epochs=4, callbacks=[backup(), Interrupt()])
    assert fit(make_vae(), epochs=4, callbacks=[backup()])["loss"] == pytest.approx(expected[2:], rel=1e-6)


def test_tensorboard(tmp_path):
    fit(make_vae(), validation_data=X_TEST, callbacks=[keras.callbacks.TensorBoard(tmp_path)])
    assert list(tmp_path.rglob("events.out.tfevents*"))


@pytest.mark.parametrize(
    ("callbacks", "expected"),
    [
        ([], 16),
        (
            [
                keras.callbacks.EarlyStopping("loss"),
                keras.callbacks.ModelCheckpoint("unused.weights.h5", save_weights_only=True),
            ],
            16,
        ),
        ([keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)], 1),
    ],
)
def test_default_steps_per_execution_changes_no_figure(tmp_path, monkeypatch, callbacks, expected):
    monkeypatch.chdir(tmp_path)
    fast = make_vae(compile_arguments={"jit_compile": True})
    plain = make_vae(compile_arguments={"jit_compile": True, "steps_per_execution": 1})
    taken = []
    see = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: taken.append(fast.steps_per_execution))
    histories = [
        fit(fast, batch_size=4, callbacks=[*callbacks, see], validation_data=X_TEST),
        fit(plain, batch_size=4, callbacks=callbacks, validation_data=X_TEST),
    ]
    assert taken == [expected, expected]
    assert (fast.steps_per_execution, plain.steps_per_execution) == (1, 1)
    for name in histories[0]:
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=1e-5)
    fast.save(tmp_path / "vae.keras")
    assert keras.models.load_model(tmp_path / "vae.keras").chooses_steps is True


def test_gradient_accumulation_has_noise_of_its_own_for_each_batch():
    vae = make_vae(compile_arguments={"optimizer": keras.optimizers.SGD(0.0, gradient_accumulation_steps=4)})
    losses = []
    see = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: losses.append(logs["loss"]))
    vae.fit(X[:1].repeat(8, axis=0), batch_size=1, epochs=1, verbose=0, callbacks=[see])
    assert len(set(losses)) == 8  # of one and the same example
    assert (int(vae.steps_taken.numpy()), int(vae.optimizer.iterations)) == (8, 2)


def test_a_list_of_callbacks_of_keras_serves_again():
    vae, seen = make_vae(), []
    see = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    callbacks = keras.callbacks.CallbackList([see], add_history=True, model=vae)
    for _ in range(2):
        fit(vae, X[:64], callbacks=callbacks)
    assert seen == [0, 1] * 2 and len(callbacks.callbacks) == 3


def test_one_trace_per_function():
    vae, traces = make_vae(), []
    loss = vae.objective.loss
    vae.objective.loss = lambda terms: traces.append(1) or loss(terms)
    fit(vae, X[:256], epochs=3, validation_data=X[:128], batch_size=64)
    assert len(traces) == 2  # a train step and a test step


# Several replicas


def test_mirrored_strategy_trains_like_one_device():
    expected = make_vae()
    history = fit(expected, validation_data=X_TEST)
    # not by collective operations, whose keys of several strategies in one process collide
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        vae = make_vae()
    assert strategy.num_replicas_in_sync == 2
    mirrored = fit(vae, validation_data=X_TEST)
    for name in METRICS:
        np.testing.assert_allclose(mirrored[name], history[name], rtol=1e-5)
    for first, second in zip(weights(vae), weights(expected), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-4)


# What a trained model gives


def test_encode_decode_and_their_shapes():
    vae = make_vae()
    q = vae.encode(X[:5])
    assert (q.batch_shape, q.event_shape) == ((5,), (3,))
    p = vae.decode(q.mean())
    assert (p.batch_shape, p.event_shape) == ((5,), (8, 8, 1))
    assert vae.decode(q.sample(7)).batch_shape == (7, 5)
    assert vae.decode(np.zeros(3)).batch_shape == ()
    np.testing.assert_allclose(
        vae.decode(q.sample(7, seed=[0, 1])).mean()[2, 3], vae.decode(q.sample(7, seed=[0, 1])[2, 3]).mean(), atol=1e-6
    )


def test_predict_reconstruct_and_call_are_the_deterministic_mean():
    vae = make_vae()
    expected = vae.decode(vae.encode(X_TEST).mean()).mean()
    for got in (
        vae.predict(X_TEST, verbose=0),
        vae.reconstruct(X_TEST),
        vae(X_TEST),
        vae.predict(X_TEST, batch_size=10, verbose=0),
    ):
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_transform_is_the_posterior_mean():
    vae = make_vae()
    codes = vae.transform(X_TEST, batch_size=100)
    assert isinstance(codes, np.ndarray)
    np.testing.assert_allclose(codes, vae.encode(X_TEST).mean(), atol=1e-6)
    np.testing.assert_allclose(vae.transform(tf.data.Dataset.from_tensor_slices(X_TEST).batch(40)), codes, atol=1e-6)


def test_samples_are_those_of_the_noise():
    vae = make_vae()
    images = vae.sample(6, seed=9)
    assert images.shape == (6, 8, 8, 1)
    z = kvae.random.normal(9, tf.range(6), 0, 3)
    np.testing.assert_allclose(images, vae.decode(z).mean(), atol=1e-6)
    np.testing.assert_allclose(vae.sample(3, seed=9, batch_size=2), images[:3], atol=1e-6)
    np.testing.assert_array_equal(vae.sample(6), vae.sample(6, seed=vae.seed))
    draws = vae.sample(6, mean=False, seed=9)
    assert set(np.unique(draws)) == {0.0, 1.0}
    np.testing.assert_array_equal(draws, vae.sample(6, mean=False, seed=9))


def test_summary_shows_shapes():
    text = io.StringIO()
    make_vae().summary(print_fn=lambda line: text.write(line + "\n"))
    assert "(None, 8, 8, 1)" in text.getvalue() and "(None, 3)" in text.getvalue()
    assert "?" not in text.getvalue()


# Networks of the user's own


def example_networks(third_output=True):
    """The networks of the VAE example in the Keras documentation, smaller."""
    inputs = keras.Input((8, 8, 1))
    features = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, strides=2, activation="relu", padding="same")(inputs))
    z_mean, z_log_var = (
        keras.layers.Dense(2, name="z_mean")(features),
        keras.layers.Dense(2, name="z_log_var")(features),
    )
    outputs = [z_mean, z_log_var, kvae.Sampling()([z_mean, z_log_var])]
    encoder = keras.Model(inputs, outputs if third_output else outputs[:2], name="encoder")
    latent = keras.Input((2,))
    features = keras.layers.Reshape((4, 4, 2))(keras.layers.Dense(32, activation="relu")(latent))
    images = keras.layers.Conv2DTranspose(1, 3, strides=2, activation="sigmoid", padding="same")(features)
    return encoder, keras.Model(latent, images, name="decoder")


@pytest.mark.parametrize("third_output", [True, False])
def test_the_encoder_of_the_keras_example_is_taken_as_it_is(tmp_path, third_output):
    encoder, decoder = example_networks(third_output)
    with pytest.raises(ValueError, match=r"decoder\.layers\[-1\]\.activation = keras\.activations\.linear") as error:
        kvae.VAE(encoder, decoder)
    exec(str(error.value).splitlines()[-1].strip(), {"decoder": decoder, "keras": keras})
    vae = kvae.VAE(encoder, decoder)
    vae.compile("adam")
    assert vae.jit_compile is False  # convolutions on a CPU
    fit(vae, validation_data=X_TEST)
    mean, log_var = encoder(X[:4])[:2]
    np.testing.assert_allclose(vae.encode(X[:4]).mean(), mean, atol=1e-6)
    np.testing.assert_allclose(vae.encode(X[:4]).stddev(), np.exp(log_var / 2), rtol=1e-5)
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    assert again.evaluate(X_TEST, verbose=0) == vae.evaluate(X_TEST, verbose=0)


@keras.saving.register_keras_serializable(package="tests")
class OwnNetwork(keras.Model):
    """A subclassed network, whose shapes are not known before it is called."""

    def __init__(self, shape, **kwargs):
        super().__init__(**kwargs)
        self.shape = shape
        self.flatten = keras.layers.Flatten()
        self.dense = keras.layers.Dense(int(np.prod(shape)))
        self.reshape = keras.layers.Reshape(shape)

    def call(self, inputs):
        return self.reshape(self.dense(self.flatten(inputs)))

    def get_config(self):
        return {**super().get_config(), "shape": self.shape}


def test_subclassed_networks_are_built_by_the_first_data(tmp_path):
    vae = kvae.VAE(OwnNetwork((6,)), OwnNetwork((8, 8, 1)))
    vae.compile("adam")
    for early in (lambda: vae.sample(2), lambda: vae.decode(np.zeros((1, 3)))):
        with pytest.raises(ValueError, match="does not know its shapes yet"):
            early()
    assert vae.jit_compile is False  # code that is not ours may hold what XLA cannot compile
    fit(vae, validation_data=X_TEST)
    assert (vae.latent_dim, vae.data_shape) == (3, (8, 8, 1))
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_allclose(again.predict(X_TEST, verbose=0), vae.predict(X_TEST, verbose=0), atol=1e-6)


def test_subclassed_networks_with_a_mask():
    vae = kvae.VAE(OwnNetwork((6,)), OwnNetwork((8, 8, 1)), missing="fill+mask")
    vae.compile("adam")
    fit(vae, np.where(X == 0, np.nan, X))
    assert (vae.latent_dim, vae.data_shape) == (3, (8, 8, 1))


def conditional_networks():
    keras.utils.set_random_seed(0)
    x, z, c = keras.Input((8, 8, 1)), keras.Input((3,)), keras.Input((10,))
    params = keras.layers.Dense(6)(keras.layers.Concatenate()([keras.layers.Flatten()(x), c]))
    logits = keras.layers.Reshape((8, 8, 1))(keras.layers.Dense(64)(keras.layers.Concatenate()([z, c])))
    return keras.Model([x, c], params), keras.Model([z, c], logits)


def test_conditional_model(tmp_path):
    vae = kvae.VAE(*conditional_networks())
    vae.compile("adam", jit_compile=False)
    c, c_test = np.eye(10, dtype="float32")[np.arange(300) % 10], np.eye(10, dtype="float32")[np.arange(297) % 10]
    history = fit(vae, (X, c), validation_data=((X_TEST, c_test),))
    assert "val_elbo" in history
    streamed = tf.data.Dataset.from_tensor_slices(((X, c),)).batch(64)
    fit(vae, streamed, batch_size=None)
    weighted = vae.evaluate((X_TEST, c_test), sample_weight=np.ones(297), return_dict=True, verbose=0)
    assert weighted == pytest.approx(vae.evaluate((X_TEST, c_test), return_dict=True, verbose=0), rel=1e-6)
    assert vae.encode((X[:5], c[:5])).batch_shape == (5,)
    assert vae.decode((np.zeros((4, 5, 3)), c[:5])).batch_shape == (4, 5)
    assert vae.sample(4, condition=c[3]).shape == (4, 8, 8, 1)
    np.testing.assert_allclose(vae.sample(4, condition=np.stack([c[3]] * 4)), vae.sample(4, condition=c[3]), atol=1e-6)
    assert vae.transform((X, c)).shape == (300, 3)
    assert vae.reconstruct((X, c)).shape == X.shape
    assert kvae.evaluation.log_likelihood(vae, (X[:20], c[:20]), num_samples=4).shape == (20,)
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_allclose(again.reconstruct((X, c)), vae.reconstruct((X, c)), atol=1e-6)
    with pytest.raises(ValueError, match="takes the pair"):
        vae.encode(X[:5])
    with pytest.raises(ValueError, match="needs a `condition`"):
        vae.sample(4)
    with pytest.raises(ValueError, match="`c` must be one condition, or one for each z: 3. Received: 2 rows"):
        vae.decode((np.zeros((3, 3)), c[:2]))
    with pytest.raises(ValueError, match="`c` must be one condition"):
        vae.sample(4, condition=c[:2])
    plain = make_vae()
    with pytest.raises(ValueError, match="takes no `condition`"):
        plain.sample(4, condition=c[0])
    with pytest.raises(ValueError, match="the decoder takes no condition"):
        plain.decode((np.zeros((3, 3)), c[:3]))


@pytest.mark.parametrize("missing", ["fill", "fill+mask"])
def test_missing_values_do_not_count(missing):
    x = X[:50].copy()
    hidden = np.random.default_rng(0).random(x.shape) < 0.5
    x[hidden] = np.nan
    channels = 2 if missing == "fill+mask" else 1
    encoder, _ = networks((8, 8, channels))
    vae = kvae.VAE(encoder, networks()[1], missing=missing)
    vae.compile("adam", jit_compile=False)
    assert vae.data_shape == (8, 8, 1)
    history = fit(vae, x, validation_data=x)
    assert np.isfinite(history["loss"]).all()
    terms = vae.terms(x)
    expected = vae.decode(terms.z[0])
    each = expected.distribution.log_prob(X[:50]).numpy()
    np.testing.assert_allclose(terms.log_likelihood[0], np.where(hidden, 0, each).sum(axis=(1, 2, 3)), rtol=1e-5)
    assert np.isfinite(vae.reconstruct(x)).all()
    assert np.isfinite(vae.transform(x)).all()
