import keras
import numpy as np
import pytest

import kvae
from kvae import networks


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (13, 9, 2), (1, 1, 1), (7, 64, 1), (5,), (3, 4)])
def test_dense_networks_of_any_shape(shape):
    encoder, decoder = networks.dense_encoder(shape, 4), networks.dense_decoder(4, shape, num_params=2)
    assert encoder.output_shape == (None, 8)
    assert decoder.output_shape == (None, *shape[:-1], 2 * shape[-1])
    kvae.VAE(encoder, networks.dense_decoder(4, shape))


@pytest.mark.parametrize(
    "shape", [(28, 28, 1), (32, 32, 3), (64, 64, 3), (13, 9, 2), (1, 1, 1), (7, 64, 1), (101, 57, 3)]
)
def test_conv_networks_of_any_size(shape):
    encoder, decoder = networks.conv_encoder(shape, 4), networks.conv_decoder(4, shape, num_params=2)
    assert encoder.output_shape == (None, 8)
    assert decoder.output_shape == (None, *shape[:-1], 2 * shape[-1])
    vae = kvae.VAE(encoder, networks.conv_decoder(4, shape))
    assert vae.predict(np.zeros((2, *shape)), verbose=0).shape == (2, *shape)


def test_every_conv_stage_halves():
    sizes = [layer.output.shape[1] for layer in networks.conv_encoder((64, 64, 3), 4).layers if "conv" in layer.name]
    assert sizes == [32, 16, 8, 4]
    filters = [
        layer.filters for layer in networks.conv_encoder((28, 28, 1), 4, filters=(8, 9)).layers if "conv" in layer.name
    ]
    assert filters == [8, 9]


def test_params_size_is_taken():
    assert networks.dense_encoder((5,), 4, params_size=14).output_shape == (None, 14)
    assert networks.conv_encoder((8, 8, 1), 4, params_size=14).output_shape == (None, 14)


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("condition", [{"condition_shape": (10,)}, {"condition_shape": (2, 3)}, {"num_classes": 10}])
def test_conditional_networks(kind, condition, tmp_path):
    encoder = getattr(networks, f"{kind}_encoder")((9, 8, 1), 3, **condition)
    decoder = getattr(networks, f"{kind}_decoder")(3, (9, 8, 1), **condition)
    vae = kvae.VAE(encoder, decoder)
    vae.compile("adam", jit_compile=False)
    shape = condition.get("condition_shape", ())
    assert vae.condition_shape == shape
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (20, 9, 8, 1)).astype("float32")
    c = rng.integers(0, 10, (20, *shape))
    vae.fit((x, c), verbose=0, validation_data=((x, c),))
    assert vae.encode((x, c)).batch_shape == (20,)
    one, other = vae.sample(2, condition=np.full(shape, 3)), vae.sample(2, condition=np.full(shape, 4))
    assert one.shape == (2, 9, 8, 1)
    assert np.abs(one - other).max() > 1e-6
    assert np.abs(vae.transform((x, c)) - vae.transform((x, c + 1 - 2 * (c > 5)))).max() > 1e-6
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_allclose(again.sample(2, condition=np.full(shape, 3)), one, atol=1e-6)


def test_gated_layers_are_those_of_the_paper():
    encoder = networks.dense_encoder((5,), 2, hidden=(7, 3), activation="glu")
    (kernel, bias), (kernel2, bias2), last = (layer.get_weights() for layer in encoder.layers if layer.weights)
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")

    def gated(x, kernel, bias):
        (w, v), (b, c) = np.split(kernel, 2, axis=-1), np.split(bias, 2)
        return (x @ w + b) / (1 + np.exp(-(x @ v + c)))

    expected = gated(gated(x, kernel, bias), kernel2, bias2) @ last[0] + last[1]
    np.testing.assert_allclose(encoder(x), expected, atol=1e-6)
    assert [each.shape for each in (kernel, kernel2, last[0])] == [(5, 14), (7, 6), (3, 4)]


def test_gated_channels():
    encoder = networks.conv_encoder((8, 8, 1), 2, filters=(4,), activation="glu")
    convolution = next(layer for layer in encoder.layers if "conv" in layer.name)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype("float32")
    value, gate = np.split(convolution(x).numpy(), 2, axis=-1)
    assert value.shape == (3, 4, 4, 4)
    kernel, bias = encoder.get_layer("params").get_weights()
    expected = (value / (1 + np.exp(-gate))).reshape(3, -1) @ kernel + bias
    np.testing.assert_allclose(encoder(x), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_gated_networks_train_and_come_back(kind, tmp_path):
    sizes = {"hidden": (8, 8)} if kind == "dense" else {"filters": (4, 8)}
    encoder = getattr(networks, f"{kind}_encoder")((9, 8, 1), 3, activation="glu", **sizes)
    decoder = getattr(networks, f"{kind}_decoder")(3, (9, 8, 1), activation="glu", output_bias=-1.0, **sizes)
    vae = kvae.VAE(encoder, decoder)
    vae.compile("adam", jit_compile=kind == "dense")
    x = np.random.default_rng(0).integers(0, 2, (20, 9, 8, 1)).astype("float32")
    assert np.isfinite(vae.fit(x, verbose=0).history["loss"]).all()
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), vae.predict(x, verbose=0))


def test_gated_decoder_is_exported(tmp_path):
    vae = kvae.VAE(
        networks.dense_encoder((6,), 2, hidden=(8,)), networks.dense_decoder(2, (6,), hidden=(8,), activation="glu")
    )
    z = np.random.default_rng(0).normal(size=(1, 2)).astype("float32")
    for name, export in (("decoder.tflite", kvae.export.tflite), ("decoder.onnx", kvae.export.onnx)):
        export(vae, tmp_path / name)  # run and compared with Keras, or it raises
        np.testing.assert_allclose(kvae.export.load(tmp_path / name).decode(z), vae.decode(z).mean(), atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "glu"])
def test_residual_blocks_add_to_what_they_are_given_and_nothing_at_first(activation):
    encoder = networks.conv_encoder((9, 8, 1), 2, filters=(4,), residual_blocks=1, activation=activation)
    first, second, last = (each for each in encoder.layers if isinstance(each, keras.layers.Conv2D))
    block = next(each for each in encoder.layers if isinstance(each, keras.layers.Add))
    inner = keras.Model(encoder.input, [block.input[0], block.output])
    x = np.random.default_rng(0).normal(size=(3, 9, 8, 1)).astype("float32")
    before, after = inner(x)
    np.testing.assert_array_equal(after, before)

    last.kernel.assign(np.random.default_rng(1).normal(size=last.kernel.shape))
    last.bias.assign(np.arange(4))
    activate = keras.activations.get(activation)
    hidden = (
        (lambda layer, values: activate(layer(values)))
        if activation == "glu"
        else (lambda layer, values: layer(values))
    )
    features = hidden(first, x)
    np.testing.assert_allclose(inner(x)[1], features + last(hidden(second, features)), atol=1e-5)
    assert last.filters == features.shape[-1] == 4


def test_residual_networks_are_deeper_train_come_back_and_are_exported(tmp_path):
    shape = (13, 9, 2)
    encoder = networks.conv_encoder(shape, 3, filters=(4, 8), residual_blocks=2)
    decoder = networks.conv_decoder(3, shape, filters=(4, 8), residual_blocks=2)
    for network, channels in ((encoder, 4), (decoder, 8)):
        sizes = [each.output.shape[1:] for each in network.layers if isinstance(each, keras.layers.Add)]
        assert sorted(sizes) == [(4, 3, 8)] * 2 + [(7, 5, channels)] * 2
    vae = kvae.VAE(encoder, decoder)
    vae.compile("adam", jit_compile=False)
    x = np.random.default_rng(0).integers(0, 2, (20, *shape)).astype("float32")
    assert np.isfinite(vae.fit(x, epochs=2, batch_size=5, verbose=0).history["loss"]).all()
    assert all(np.abs(each).max() > 0 for each in vae.trainable_variables)  # also the kernels that were zero
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), vae.predict(x, verbose=0))
    kvae.export.tflite(vae, tmp_path / "decoder.tflite")  # run and compared with Keras, or it raises


def test_output_bias_starts_the_decoder_at_the_mean_of_the_data(tmp_path):
    x = np.random.default_rng(0).random((50, 3, 4, 2)).astype("float32")
    likelihood = kvae.likelihoods.Beta()
    bias = likelihood.initial_params(x)
    decoder = networks.dense_decoder(2, (3, 4, 2), num_params=2, output_bias=bias)
    np.testing.assert_array_equal(decoder(np.zeros((1, 2)))[0], bias)  # the other biases are zero
    np.testing.assert_allclose(likelihood(decoder(np.zeros((1, 2))))[0], x.mean(axis=0), atol=1e-6)
    decoder.save(tmp_path / "decoder.keras")
    again = keras.models.load_model(tmp_path / "decoder.keras")
    np.testing.assert_array_equal(again(np.ones((1, 2))), decoder(np.ones((1, 2))))

    bias = likelihood.initial_params(x.reshape(-1, 2))
    decoder = networks.conv_decoder(2, (3, 4, 2), num_params=2, output_bias=bias)
    expected = np.broadcast_to(x.mean(axis=(0, 1, 2)), (3, 4, 2))
    np.testing.assert_allclose(likelihood(decoder(np.zeros((1, 2))))[0], expected, atol=1e-6)


def test_output_bias_is_broadcast():
    for bias in (-2.0, [[-2.0], [-2.0], [-2.0]], np.full((3, 4), -2)):
        assert (networks.dense_decoder(2, (3, 4), output_bias=bias)(np.zeros((1, 2))).numpy() == -2).all()
    decoder = networks.dense_decoder(2, (3, 2), num_params=2, output_bias=[1, 2, 3, 4])
    np.testing.assert_array_equal(decoder(np.zeros((1, 2)))[0], [[1, 2, 3, 4]] * 3)
    assert not networks.conv_decoder(2, (4, 4, 1))(np.zeros((1, 2))).numpy().any()


def test_labels_are_one_hot_vectors():
    labels, vectors = (
        networks.dense_decoder(3, (5,), **each) for each in ({"num_classes": 4}, {"condition_shape": (4,)})
    )
    vectors.set_weights(labels.get_weights())
    z, c = np.zeros((4, 3), "float32"), np.arange(4)
    np.testing.assert_allclose(labels([z, c]), vectors([z, np.eye(4, dtype="float32")]), atol=1e-6)


def test_seeded_by_keras():
    def kernel():
        keras.utils.set_random_seed(3)
        return networks.dense_encoder((5,), 2).get_weights()[0]

    np.testing.assert_array_equal(kernel(), kernel())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: networks.conv_encoder((784,), 4), r"\(height, width, channels\).*dense_encoder"),
        (lambda: networks.conv_decoder(4, (28, 28)), r"\(height, width, channels\)"),
        (lambda: networks.dense_encoder((28, None, 1), 4), "without the batch axis"),
        (lambda: networks.dense_encoder((), 4), "without the batch axis"),
        (lambda: networks.dense_encoder((5,), 0), "latent_dim=0"),
        (lambda: networks.dense_decoder(2.5, (5,)), r"latent_dim=2\.5"),
        (lambda: networks.conv_encoder((8, 8, 1), 4, filters=()), "at least one|name at least"),
        (lambda: networks.conv_encoder((8, 8, 1), 4, residual_blocks=-1), "`residual_blocks` must be a whole number"),
        (lambda: networks.conv_decoder(4, (8, 8, 1), filters=32), "`filters` must be the widths.*filters=32"),
        (lambda: networks.dense_encoder((5,), 4, hidden=300), "`hidden` must be the widths.*hidden=300"),
        (lambda: networks.dense_decoder(4, (5,), hidden=(300, 0)), "hidden=0"),
        (lambda: networks.dense_encoder((5,), 4, condition_shape=(3,), num_classes=3), "not both"),
        (lambda: networks.dense_decoder(4, (5,), num_classes=1), "num_classes=1"),
        (lambda: networks.dense_encoder((5,), 4, activation="gated"), "gated"),
        (lambda: networks.dense_decoder(4, (5,), output_bias=np.zeros(4)), r"broadcasts to \(5,\).*shape \(4,\)"),
        (lambda: networks.dense_decoder(4, (5,), output_bias="mean"), r"broadcasts to \(5,\).*Received: 'mean'"),
        (lambda: networks.dense_decoder(4, (5,), output_bias=np.nan), "`output_bias` must be finite"),
        (
            lambda: networks.conv_decoder(4, (8, 8, 1), output_bias=np.zeros((8, 8, 1))),
            r"broadcasts to \(1,\).*for each channel.*shape \(8, 8, 1\)",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
