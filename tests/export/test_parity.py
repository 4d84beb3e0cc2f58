"""What does not compute what the Keras model computes does not leave, and leaves nothing behind."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from exporting import listing, make_conditional_vae, make_ending_in, make_vae, randomised
from keras import layers

import kvae
import kvae.export
from kvae.export import parity, references


class DiffersInGraphs(layers.Layer):
    """Adds something in a graph that it does not add eagerly."""

    def __init__(self, something, **kwargs):
        super().__init__(**kwargs)
        self.something = something

    def call(self, values):
        return values if tf.executing_eagerly() else values + self.something


def test_difference_is_found_and_nothing_left(export, tmp_path):
    message = r"The exported `decode` does not agree .* the largest error of x_mean is 0\.000\d+, more than 1e-05"
    with pytest.raises(kvae.export.ParityError, match=message):
        export(make_ending_in(DiffersInGraphs(1e-3)), tmp_path / "new" / "folders")
    assert listing(tmp_path) == []


def test_the_old_export_stays_until_the_new_one_is_verified(export, tmp_path):
    vae = make_ending_in(DiffersInGraphs(0.0))
    path = export(vae, tmp_path).path
    before, expected = listing(tmp_path), kvae.export.load(path).decode(np.ones((1, 3)))
    with pytest.raises(kvae.export.ParityError):
        export(make_ending_in(DiffersInGraphs(1e-3)), tmp_path, overwrite=True)
    assert listing(tmp_path) == before
    np.testing.assert_array_equal(kvae.export.load(path).decode(np.ones((1, 3))), expected)

    vae.decoder.set_weights([2 * each for each in vae.decoder.get_weights()])
    export(vae, tmp_path, overwrite=True)
    assert listing(tmp_path) == before
    np.testing.assert_allclose(
        kvae.export.load(path).decode(np.ones((1, 3))), vae.decode(np.ones((1, 3))).mean(), atol=1e-6
    )


def test_samples_are_allowed_what_rounding_in_a_learned_prior_does():
    def tolerance(prior, steepness):
        vae = make_vae(prior=prior)
        randomised(vae.prior)
        *_, last = (layer for layer in vae.decoder.layers if hasattr(layer, "kernel"))
        last.kernel.assign(steepness * last.kernel)
        return references.references(vae, "sample", kvae.export.endpoints.FORM, "float32", ({}, 5), 5)[
            "x_mean"
        ].tolerance

    maf = "flow:num_steps=4,hidden=32,kind=maf"
    assert tolerance("standard_normal", 1000) == 1e-5  # z is exact but for the noise's own rounding
    assert 1e-5 < tolerance(maf, 1) < 2e-5
    assert 5e-5 < tolerance(maf, 1000) < 1e-2  # z may be off by 1e-5 of its size


def test_a_model_that_gives_nan_is_refused(tmp_path):
    vae = make_vae()
    vae.decoder.set_weights([np.full_like(each, np.nan) for each in vae.decoder.get_weights()])
    with pytest.raises(kvae.export.ParityError, match="The Keras model's own decode/x_mean holds .* NaN"):
        kvae.export.tflite(vae, tmp_path / "decoder.tflite")
    assert listing(tmp_path) == []


class Altered:
    """An export of which one output is altered."""

    def __init__(self, exported, output, alter):
        self.signatures = exported.signatures
        self._exported, self._output, self._alter = exported, output, alter

    def run(self, name, **inputs):
        outputs = self._exported.run(name, **inputs)
        return {key: self._alter(value) if f"{name}/{key}" == self._output else value for key, value in outputs.items()}


@pytest.mark.parametrize(
    "output", ["decode/x_mean", "encode/mean", "encode/stddev", "reconstruct/x_mean", "sample/x_mean", "sample/z"]
)
@pytest.mark.parametrize("case", ["conv_normal", "conditional"])
def test_every_output_is_compared(case, output, models, saved_models):
    vae, exported = models[case], kvae.export.load(saved_models[0] / case)
    assert parity.check_parity(vae, exported) <= 1e-5
    signature, name = output.split("/")
    message = f"The exported `{signature}` does not agree with the Keras model: the largest error of {name}"
    with pytest.raises(kvae.export.ParityError, match=message):
        parity.check_parity(vae, Altered(exported, output, lambda value: value + 1e-3))
    with pytest.raises(kvae.export.ParityError, match=f"The exported {output} holds .* NaN or infinite values"):
        parity.check_parity(vae, Altered(exported, output, lambda value: value * np.nan))
    with pytest.raises(kvae.export.ParityError, match=f"The exported {output} has shape"):
        parity.check_parity(vae, Altered(exported, output, lambda value: value[:, :1]))


def test_compares_at_prior_draws_zero_and_corners():
    z, c = parity.probes(make_conditional_vae())
    assert z.shape == (67, 3)
    np.testing.assert_array_equal(z[64:], [[0, 0, 0], [3, 3, 3], [-3, -3, -3]])
    assert abs(z[:64].mean()) < 4 / np.sqrt(64 * 3)  # four standard errors
    assert abs(z[:64].std() - 1) < 4 / np.sqrt(2 * 64 * 3)
    assert set(np.unique(c)) == {0.0, 1.0}


class OnlyDecodes:
    """What could have been exported, but for a factor."""

    def __init__(self, vae, factor):
        self.signatures = {"decode": {"inputs": {"z": (None, 3)}, "outputs": {"x_mean": (None, 6)}}}
        self.run = lambda name, z: {"x_mean": factor * vae.decode(z).mean().numpy()}


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_errors_of_unbounded_data_do_not_depend_on_its_unit(unit):
    decoder = keras.Sequential([kvae.networks.dense_decoder(3, (6,)), layers.Rescaling(unit)])
    likelihood = kvae.likelihoods.Normal(scale=1e-3 * unit)
    vae = randomised(kvae.VAE(kvae.networks.dense_encoder((6,), 3), decoder, likelihood))
    assert parity.check_parity(vae, OnlyDecodes(vae, 1 + 5e-6)) == pytest.approx(5e-6, rel=0.1)  # eps is 2% of it
    with pytest.raises(kvae.export.ParityError, match=r"error of x_mean is 0\.0005"):
        parity.check_parity(vae, OnlyDecodes(vae, 1.0005))


def test_errors_of_bounded_data_are_absolute():
    vae = make_ending_in()
    vae.decoder.layers[-1].layers[-1].bias.assign(np.full(6, -10.0))  # means of 5e-5
    assert parity.check_parity(vae, OnlyDecodes(vae, 1.05)) < 1e-5
    vae.decoder.layers[-1].layers[-1].bias.assign(np.full(6, -5.0))  # means of 7e-3
    with pytest.raises(kvae.export.ParityError):
        parity.check_parity(vae, OnlyDecodes(vae, 1.05))


def test_means_that_are_small_differences_of_large_numbers_are_not_called_wrong(tmp_path):
    """A model that has collapsed, and learned to answer with the mean of standardised data: nearly zero."""
    vae = make_vae("dense", (6,), likelihood="normal")
    for network in (vae.encoder, vae.decoder):
        network.layers[1].kernel.assign(tf.zeros_like(network.layers[1].kernel))
        output = network(np.zeros((1, *network.input_shape[1:]), "float32"))[0]
        network.layers[-1].bias.assign(network.layers[-1].bias - output)
    assert np.abs(vae.decode(np.zeros((1, 3))).mean()).max() < 1e-6
    assert kvae.export.tflite(vae, tmp_path / "decoder.tflite").max_error < 1e-5


class AlwaysNoisy(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, values):
        return values + keras.random.normal(keras.ops.shape(values), seed=self.seed_generator)


@pytest.mark.parametrize(
    ("layer", "operation"),
    [
        (AlwaysNoisy(name="odd"), "StatelessRandomNormalV2"),
        (layers.Lambda(lambda values: values + tf.random.normal([12]), name="odd"), "RandomStandardNormal"),
        (kvae.Sampling(name="odd"), "AssignVariableOp"),
    ],
)
def test_networks_that_draw_outside_training_are_refused(export, layer, operation, tmp_path):
    vae = make_ending_in(layers.Dense(12), layer, layers.Dense(6))
    with pytest.raises(ValueError, match=rf"`decode` cannot be exported: .*{operation} \(in layer 'odd'\)"):
        export(vae, tmp_path)
    assert listing(tmp_path) == []
