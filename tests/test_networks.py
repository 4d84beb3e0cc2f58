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
        (lambda: networks.dense_encoder((5,), 4, condition_shape=(3,), num_classes=3), "not both"),
        (lambda: networks.dense_decoder(4, (5,), num_classes=1), "num_classes=1"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
