"""Bad input: each mistake has an error that says what, expected, received and how to mend it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from building import digits, make_vae, networks

import kvae

X, X_TEST = digits()
X = X[:100]


@pytest.fixture(scope="module")
def vae():
    return make_vae()


WRONG_DATA = {
    "a single example": (X[0], r"`x` must have shape \[batch, 8, 8, 1\].*single example: pass x\[None\]"),
    "no channel axis": (X[..., 0], r"channel axis is missing: pass x\[\.\.\., None\]"),
    "flat": (X.reshape(-1, 64), r"pass x\.reshape\(-1, 8, 8, 1\)"),
    "wrong rank": (X[..., None, None], r"must have shape \[batch, 8, 8, 1\]"),
    "wrong features": (np.zeros((5, 9, 8, 1)), r"must have shape \[batch, 8, 8, 1\]. Received: \[5, 9, 8, 1\]"),
    "integer images": ((X * 255).astype("uint8"), r"must lie in \[0, 1\].*dtype uint8.*/ 255"),
    "unscaled images": (X * 255, r"must lie in \[0, 1\].*values from 0 to 255"),
    "outside": (X - 0.5, r"must lie in \[0, 1\]"),
    "NaN": (
        np.where(np.arange(8)[:, None, None] == 3, np.nan, X),
        r"800 NaN or infinite values, the first at x\[0, 3, 0, 0\]",
    ),
    "infinity": (np.where(np.arange(8)[:, None, None] == 3, np.inf, X), "must be finite"),
    "empty": (X[:0], "`x` is empty"),
    "text": (np.full((3, 8, 8, 1), "a"), "must hold numbers"),
    "a pair": ((X, np.zeros((100, 10))), "is for conditional models"),
}


@pytest.mark.parametrize("what", WRONG_DATA)
def test_wrong_data(vae, what):
    x, message = WRONG_DATA[what]
    before = [np.array(each) for each in vae.weights]
    for method in (vae.fit, vae.evaluate, vae.predict, vae.encode, vae.transform, vae.reconstruct):
        with pytest.raises(ValueError, match=message):
            method(x)
    with pytest.raises(ValueError, match=message):
        kvae.evaluation.log_likelihood(vae, x, num_samples=2)
    held_out = (
        message.replace("`x`", "`validation_data`")
        .replace(r"x\[", r"validation_data\[")
        .replace(r"x\.r", r"validation_data\.r")
    )
    with pytest.raises(ValueError, match=held_out):
        vae.fit(X, validation_data=(x,), verbose=0)
    for old, new in zip(before, vae.weights, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("what", ["wrong rank", "wrong features", "unscaled images", "NaN"])
def test_wrong_data_in_a_data_set(vae, what):
    x, message = WRONG_DATA[what]
    data = tf.data.Dataset.from_tensor_slices(x).batch(10)
    for method in (vae.fit, vae.evaluate, vae.predict, vae.transform):
        with pytest.raises(
            ValueError, match="In the first batch of the data set: .*" + message.replace("800", "[0-9]+")
        ):
            method(data)
    with pytest.raises(ValueError, match=message.replace("800", "[0-9]+")):
        vae.fit(X, validation_data=data, verbose=0)


def test_empty_data_set(vae):
    with pytest.raises(ValueError, match="yields no batch"):
        vae.fit(tf.data.Dataset.from_tensor_slices(X[:0]).batch(4))


def test_wrong_batches_of_a_generator_stop_at_the_first(vae):
    with pytest.raises(ValueError, match=r"`x` must have shape \[batch, 8, 8, 1\]"):
        vae.fit(((np.zeros((4, 8, 8)),) for _ in range(3)), verbose=0)
    with pytest.raises(ValueError, match=r"`x` must have shape \[batch, 8, 8, 1\]"):
        vae.train_on_batch(np.zeros((4, 8, 8)))


def test_single_row_never_broadcasts(vae):
    with pytest.raises(ValueError, match="`y` must have as many rows as x. Received: 1 rows, and 100 of x"):
        vae.fit(X, X[:1])
    with pytest.raises(ValueError, match=r"`y` must be a target.*\[100, 8, 8, 1\]"):
        vae.fit(X, X[0])
    with pytest.raises(ValueError, match="`y` must have as many rows as x"):
        vae.terms(X, X[:1])


def test_labels_are_no_targets(vae):
    for y in (np.arange(100), np.eye(100, 10)):
        with pytest.raises(
            ValueError, match=r"`y` must be a target for the reconstruction.*leave labels out.*\(x, c\)"
        ):
            vae.fit(X, y)
        with pytest.raises(ValueError, match="leave labels out"):
            vae.evaluate(X, y)
        with pytest.raises(ValueError, match="leave labels out"):
            vae.fit(tf.data.Dataset.from_tensor_slices((X, y)).batch(10))
        with pytest.raises(ValueError, match="leave labels out"):
            vae.fit(X, validation_data=(X, y))
    with pytest.raises(ValueError, match="class_weight"):
        vae.fit(X, class_weight={0: 1.0})


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(99), "as many rows as x"),
        (np.ones((100, 1)), "one value per example"),
        (-np.ones(100), "zero or larger"),
        (np.zeros(100), "larger than zero somewhere"),
        (np.full(100, np.nan), "must be finite"),
    ],
)
def test_wrong_weights(vae, weight, message):
    with pytest.raises(ValueError, match=message):
        vae.fit(X, sample_weight=weight)
    if np.shape(weight) == (100,) and not (weight == 0).all():  # of a batch all may be zero
        with pytest.raises(ValueError, match=f"In the first batch.*{message}"):
            vae.fit(tf.data.Dataset.from_tensors((X, X, weight)))


@pytest.mark.parametrize("split", [1.0, -0.1, 0.999])
def test_wrong_validation_split(vae, split):
    with pytest.raises(ValueError, match="validation_split"):
        vae.fit(X, validation_split=split)
    with pytest.raises(ValueError, match="`validation_split` needs arrays"):
        vae.fit(tf.data.Dataset.from_tensors(X), validation_split=0.5)


def test_wrong_batch_sizes(vae):
    with pytest.raises(ValueError, match="`batch_size` must be a whole number of at least 1"):
        vae.fit(X, batch_size=-1)
    with pytest.raises(ValueError, match="`batch_size` must be a whole number of at least 1"):
        vae.transform(X, batch_size=0)


def test_losses_belong_to_the_objective():
    for name in ("loss", "metrics", "weighted_metrics", "loss_weights"):
        with pytest.raises(ValueError, match=rf"compile\({name}=...\).*objective='elbo'"):
            make_vae(compile_arguments={name: ["mse"]})


def test_wrong_latents(vae):
    with pytest.raises(ValueError, match=r"`z` must have shape \[\.\.\., 3\]. Received: \[4, 2\]"):
        vae.decode(np.zeros((4, 2)))


def test_wrong_seeds_and_counts(vae):
    for seed in (1.5, "a", 2**40, True):
        with pytest.raises(ValueError, match="`seed` must be an int of at most 32 bits"):
            make_vae(seed=seed)
    with pytest.raises(ValueError, match="num_samples"):
        vae.sample(0)
    with pytest.raises(ValueError, match="num_samples"):
        kvae.evaluation.log_likelihood(vae, X, num_samples=0)
    with pytest.raises(ValueError, match=r"`missing` must be one of None, 'fill', 'fill\+mask'"):
        make_vae(missing="drop")


@pytest.mark.parametrize("labels", [[0, 1, 4], [3, -1, 0], [0, 1.5, 2]])
def test_labels_that_the_networks_have_no_place_for(labels, tmp_path):
    x, good, bad = np.zeros((3, 5), "float32"), np.array([3, 0, 1]), np.array(labels)
    encoder = kvae.networks.dense_encoder((5,), 2, hidden=(4,), num_classes=4)
    vae = kvae.VAE(encoder, kvae.networks.dense_decoder(2, (5,), hidden=(4,), num_classes=4))
    vae.compile("adam", jit_compile=False)
    vae.save(tmp_path / "vae.keras")
    message = "must hold labels 0, 1, ..., 3, as the networks were made with num_classes=4. Received: 1 other"
    for each in (vae, keras.models.load_model(tmp_path / "vae.keras")):
        data = tf.data.Dataset.from_tensors(((x, bad),))
        for method in (each.fit, each.evaluate, each.predict, each.transform, each.encode):
            for wrong in ((x, bad), data) if method != each.encode else ((x, bad),):
                with pytest.raises(ValueError, match=message):
                    method(wrong)
        with pytest.raises(ValueError, match=message):
            each.fit((x, good), validation_data=((x, bad),))
        with pytest.raises(ValueError, match=message):
            each.decode((np.zeros((3, 2)), bad))
        with pytest.raises(ValueError, match=message):
            each.sample(3, condition=bad)
        assert each.optimizer.iterations == 0
    assert each.transform((x, good)).shape == (3, 2)
    assert each.sample(2, condition=3).shape == (2, 5)


# Networks that do not fit


def test_networks_of_other_conditions_do_not_fit():
    def make(encoder, decoder):
        return kvae.VAE(
            kvae.networks.dense_encoder((5,), 2, hidden=(4,), **encoder),
            kvae.networks.dense_decoder(2, (5,), hidden=(4,), **decoder),
        )

    vector, label = {"condition_shape": (3,)}, {"num_classes": 3}
    with pytest.raises(ValueError, match=r"encoder takes a condition of shape \(3,\) and the decoder no condition"):
        make(vector, {})
    with pytest.raises(ValueError, match="encoder takes no condition and the decoder a condition"):
        make({}, label)
    with pytest.raises(ValueError, match=r"of shape \(3,\) and the decoder a condition of shape \(\)"):
        make(vector, label)
    vae = make(label, label)
    vae.compile(jit_compile=False)
    x, c = np.zeros((6, 5), "float32"), np.arange(6) % 3
    with pytest.raises(ValueError, match=r"takes validation_data=\(\(x, c\),\)"):
        vae.fit((x, c), validation_data=(x, c), verbose=0)
    with pytest.raises(
        ValueError, match=r"`c` must have shape \[batch\]. Received: \[6, 3\]. .*not one-hot.*c.argmax\(-1\)"
    ):
        vae.encode((x, np.eye(3)[c]))


def test_messages_name_what_was_meant(tmp_path):
    for name, meant in (("beta_vae", "elbo:beta=4"), ("VAE", "elbo"), ("elb", "elbo")):
        with pytest.raises(ValueError, match=f"Did you mean '{meant}'"):
            kvae.objectives.get(name)
    with pytest.raises(ValueError, match="Did you mean 'diagonal_normal'"):
        kvae.posteriors.get("normal")
    with pytest.raises(ValueError, match="Did you mean 'mnist'"):
        kvae.data.load("mnits")
    with pytest.raises(TypeError, match="must be a name or a path. Received: ndarray"):
        kvae.data.load(X)
    with pytest.raises(ValueError, match=r"Encoders take \(data_shape, latent_dim\)"):
        kvae.networks.dense_decoder((28, 28, 1), 16)
    with pytest.raises(ValueError, match="as many log-variances. Received: 3 values"):
        kvae.Sampling()(np.zeros((4, 3), "float32"))
    with pytest.raises(ValueError, match=r"in the .keras format"):
        make_vae().save(tmp_path / "vae.h5")
    assert not (tmp_path / "vae.h5").exists()
    with pytest.raises(ValueError, match="arrays of numbers.*Received: list"):
        make_vae().fit([X, X[:3]])
    with pytest.raises(ValueError, match="arrays of numbers.*Received: str"):
        make_vae().fit("digits")


def test_an_objective_gives_the_cost_of_each_example():
    class Mean(kvae.objectives.Objective):
        def loss(self, terms):
            return terms.elbo[0]

    with pytest.raises(ValueError, match=r"`loss` of the objective Mean must give the cost of each example, \[B\]"):
        make_vae(objective=Mean(), compile_arguments={"run_eagerly": True}).fit(X, verbose=0)
    with pytest.raises(NotImplementedError, match="Objective must give `loss"):
        kvae.objectives.Objective().loss(None)


def test_not_a_network():
    encoder, decoder = networks()
    with pytest.raises(TypeError, match=r"`encoder` must be a keras.Model"):
        kvae.VAE(lambda x: x, decoder)
    with pytest.raises(TypeError, match=r"`decoder` must be a keras.Model"):
        kvae.VAE(encoder, keras.layers.Dense(3))


def test_encoder_of_the_wrong_width():
    with pytest.raises(ValueError, match=r"must be 6 wide: the decoder takes 3.*Received: width 5.*Dense\(6\)"):
        kvae.VAE(networks(params_size=5)[0], networks()[1])


def test_encoder_with_an_image_for_output():
    with pytest.raises(ValueError, match=r"\[batch, parameters\].*Flatten"):
        kvae.VAE(keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(6, 3)]), networks()[1])


def test_decoder_of_the_wrong_width():
    with pytest.raises(
        ValueError, match=r"must be \(8, 8, 1\) per example.*Received: \(8, 8, 2\).*takes `num_params=1`"
    ):
        kvae.VAE(networks()[0], networks(num_params=2)[1])
    with pytest.raises(ValueError, match=r"must be \(8, 8, 1\) per example.*Received: \(9, 8, 1\)"):
        kvae.VAE(networks()[0], networks(data_shape=(9, 8, 1))[1])


@pytest.mark.parametrize(
    "ending",
    [
        [keras.layers.Dense(64, activation="sigmoid"), keras.layers.Reshape((8, 8, 1))],
        [keras.layers.Dense(64), keras.layers.Activation("sigmoid"), keras.layers.Reshape((8, 8, 1))],
    ],
)
def test_decoder_that_ends_in_a_sigmoid(ending):
    encoder, _ = networks()
    decoder = keras.Sequential([keras.Input((3,)), *ending])
    with pytest.raises(ValueError, match="ends in a sigmoid.*takes logits") as error:
        kvae.VAE(encoder, decoder, likelihood="bernoulli")
    kvae.VAE(encoder, decoder, likelihood="normal")  # where a mean between 0 and 1 is meant
    exec(str(error.value).splitlines()[-1].strip(), {"decoder": decoder, "keras": keras})
    kvae.VAE(encoder, decoder, likelihood="bernoulli")


def test_decoder_that_ends_in_a_sigmoid_operation():
    z = keras.Input((3,))
    logits = keras.layers.Reshape((8, 8, 1))(keras.layers.Dense(64)(z))
    with pytest.raises(ValueError, match="without its last operation"):
        kvae.VAE(networks()[0], keras.Model(z, keras.ops.sigmoid(logits)))


def test_unknown_parts():
    with pytest.raises(ValueError, match="Unknown likelihood 'gaussian'.*Known names: bernoulli, beta, "):
        kvae.VAE(*networks(), likelihood="gaussian")
    with pytest.raises(ValueError, match="Did you mean 'standard_normal'"):
        kvae.VAE(*networks(), prior="standard_norma")
