"""All functions of a VAE in one TFLite file: shared weights, samples, scores, draws and pictures of 8 bits."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from exporting import listing, make_conditional_vae, make_vae

import kvae
import kvae.export
from kvae import random
from kvae.export import converter, endpoints

EVERYTHING = ("decode", "encode", "reconstruct", "sample", "score")


def runner(path, name):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path), num_threads=1).get_signature_runner(name)


def draw(path, seed, row, name="sample", **inputs):
    return runner(path, name)(seed=np.int32(seed), stream=np.int32(row), **inputs)


def make_prior(name):
    return {
        "standard_normal": "standard_normal",
        "normal": "normal",
        "mixture": kvae.priors.NormalMixture(num_components=5),
        "vamp": kvae.priors.VampPrior(num_components=5),
        "coupling": kvae.priors.Flow(num_steps=2),
        "maf": kvae.priors.Flow(num_steps=2, kind="maf"),
    }[name]


@pytest.fixture(scope="module")
def vae():
    return make_vae("conv", (12, 12, 1))


@pytest.fixture(scope="module")
def path(vae, tmp_path_factory):
    target = tmp_path_factory.mktemp("everything") / "vae.tflite"
    return kvae.export.tflite(vae, target, signatures=EVERYTHING).path


@pytest.fixture(scope="module")
def path_of_fours(vae, tmp_path_factory):
    target = tmp_path_factory.mktemp("fours") / "vae.tflite"
    return kvae.export.tflite(vae, target, signatures=("decode", "sample"), batch_sizes=(1, 4)).path


@pytest.fixture(scope="module")
def bits():
    return (np.random.default_rng(0).random((4, 12, 12, 1)) < 0.5).astype("float32")


def test_each_function_computes_what_the_model_does(vae, path, bits):
    exported, z = kvae.export.load(path), np.random.default_rng(1).normal(size=(4, 3)).astype("float32")
    assert set(exported.signatures) == set(EVERYTHING)
    # float32 rounding in sums of some hundred products
    np.testing.assert_allclose(exported.decode(z), vae.decode(z).mean(), atol=1e-5)
    np.testing.assert_allclose(exported.encode(bits)["mean"], vae.encode(bits).mean(), atol=1e-5)
    np.testing.assert_allclose(exported.encode(bits)["stddev"], vae.encode(bits).stddev(), atol=1e-5)
    np.testing.assert_allclose(exported.reconstruct(bits), vae.reconstruct(bits), atol=1e-5)
    np.testing.assert_allclose(exported.sample(seed=-7, n=3), vae.sample(3, seed=-7), atol=1e-5)


def test_scores_are_those_of_evaluation(vae, path, bits):
    for seed in (0, -3):
        one = runner(path, "score")(x=bits[:1], seed=np.int32(seed))["elbo"]
        np.testing.assert_allclose(one, kvae.evaluation.elbo(vae, bits[:1], seed=seed), rtol=1e-5)


def test_several_rows_at_once(vae, path_of_fours):
    z = np.random.default_rng(1).normal(size=(4, 3)).astype("float32")
    np.testing.assert_allclose(runner(path_of_fours, "decode_b4")(z=z)["x_mean"], vae.decode(z).mean(), atol=1e-5)
    outputs = runner(path_of_fours, "sample_b4")(seed=np.int32(5), stream=np.int32(8))
    np.testing.assert_allclose(outputs["x_mean"], vae.sample(12, seed=5)[8:], atol=1e-5)


def test_weights_are_shared(vae, path, tmp_path):
    alone = [
        kvae.export.tflite(vae, tmp_path / f"{name}.tflite", signatures=(name,)).num_bytes
        for name in ("decode", "encode", "reconstruct")
    ]
    both = kvae.export.tflite(vae, tmp_path / "three.tflite", signatures=("decode", "encode", "reconstruct"))
    assert both.num_bytes < 0.55 * sum(alone)
    weights = 4 * (vae.decoder.count_params() + vae.encoder.count_params())
    assert both.num_bytes < weights + 30_000


def test_the_same_in_a_saved_model(vae, bits, tmp_path):
    kvae.export.saved_model(vae, tmp_path / "saved")
    exported = kvae.export.load(tmp_path / "saved")
    np.testing.assert_allclose(exported.score(bits, seed=3), kvae.evaluation.elbo(vae, bits, seed=3), rtol=1e-5)
    assert exported.signatures["sample"]["inputs"] == {"seed": (), "n": ()}


def test_an_autoencoder_neither_samples_nor_scores(tmp_path):
    encoder = kvae.networks.dense_encoder((6,), 3, params_size=3)
    autoencoder = kvae.Autoencoder(encoder, kvae.networks.dense_decoder(3, (6,)))
    assert endpoints.names(autoencoder) == ["decode", "encode", "reconstruct"]
    with pytest.raises(ValueError, match="The model has no `score`: it is an Autoencoder"):
        kvae.export.tflite(autoencoder, tmp_path / "code.tflite", signatures=("decode", "score"))
    report = kvae.export.tflite(autoencoder, tmp_path / "code.tflite", signatures=endpoints.names(autoencoder))
    assert list(report.signatures) == ["decode", "encode", "reconstruct"]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_words_of_random123_come_out_of_a_file(precision, tmp_path):
    """The known answers of Threefry-2x32-20 in the test vectors of Random123, key and counter alike."""

    def words(key, counter):
        return {"words": tf.stack(random.threefry2x32([key[0], key[1]], [counter[0], counter[1]]))}

    archive = keras.export.ExportArchive()
    specs = [tf.TensorSpec([2], tf.uint32, name=name) for name in ("key", "counter")]
    archive.add_endpoint("words", words, specs)
    archive.write_out(str(tmp_path / "saved"), verbose=False)
    (tmp_path / "words.tflite").write_bytes(converter.convert(tmp_path / "saved", ["words"], precision)[0])
    run, ones = runner(tmp_path / "words.tflite", "words"), 0xFFFFFFFF
    for key, counter, expected in (
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((ones, ones), (ones, ones), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ):
        got = run(key=np.uint32(key), counter=np.uint32(counter))
        np.testing.assert_array_equal(got["words"], np.uint32(expected))


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("standard_normal", "float16"),
        ("standard_normal", "int8"),
        ("normal", "float32"),
        ("mixture", "float32"),
        ("mixture", "float16"),
        ("vamp", "float32"),
        ("coupling", "float32"),
        ("maf", "float32"),
    ],
)
def test_samples_of_every_prior(name, precision, tmp_path):
    """Rounded weights leave the generator alone, and so do they the few numbers that choose a component."""
    vae = make_vae("dense", (6,), prior=make_prior(name))
    path = kvae.export.tflite(vae, tmp_path / "vae.tflite", precision, signatures=("sample",)).path
    noise = random.normal(-9, tf.range(4), 0, vae.prior.noise_size)
    got = np.concatenate([draw(path, -9, row)["z"] for row in range(4)])
    np.testing.assert_allclose(got, vae.prior.from_noise(noise, vae), atol=1e-5)


def test_conditional_models(tmp_path):
    vae, generator = make_conditional_vae(), np.random.default_rng(0)
    x, z = generator.integers(0, 2, (5, 6)).astype("float32"), generator.normal(size=(5, 3)).astype("float32")
    c = np.eye(4, dtype="float32")[generator.integers(0, 4, 5)]
    path = kvae.export.tflite(vae, tmp_path / "vae.tflite", signatures=EVERYTHING).path
    exported = kvae.export.load(path)
    assert all("c" in sides["inputs"] for sides in exported.signatures.values())
    np.testing.assert_allclose(exported.decode((z, c)), vae.decode((z, c)).mean(), atol=1e-5)
    np.testing.assert_allclose(exported.encode((x, c))["mean"], vae.transform((x, c)), atol=1e-5)
    np.testing.assert_allclose(exported.sample(2, 5, c), vae.sample(5, seed=2, condition=c), atol=1e-5)
    one = runner(path, "score")(x=x[:1], c=c[:1], seed=np.int32(0))["elbo"]
    np.testing.assert_allclose(one, kvae.evaluation.elbo(vae, (x[:1], c[:1])), rtol=1e-5)


def test_pictures_in_8_bits(tmp_path):
    vae = make_vae("dense", (4, 4, 1), likelihood="continuous_bernoulli")
    arguments = {"input_dtype": "uint8", "output_dtype": "uint8"}
    report = kvae.export.tflite(
        vae, tmp_path / "vae.tflite", signatures=("decode", "encode", "reconstruct", "score"), **arguments
    )
    assert report.rescaling == {"x": 1 / 255, "x_mean": 1 / 255}
    assert report.signatures["reconstruct"]["inputs"]["x"] == ("uint8", (1, 4, 4, 1))
    assert report.signatures["decode"]["outputs"]["x_mean"] == ("uint8", (1, 4, 4, 1))
    x = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 1)).astype("uint8")
    picture = runner(report.path, "reconstruct")(x=x)["x_mean"]
    assert picture.dtype == np.uint8
    # a mean within float32 rounding of the middle between two levels may go to either
    np.testing.assert_allclose(picture, np.round(255 * vae.reconstruct(x / np.float32(255))), atol=1)
    assert (picture == np.round(255 * vae.reconstruct(x / np.float32(255)))).mean() > 0.9
    score = runner(report.path, "score")(x=x, seed=np.int32(0))["elbo"]
    # the density of grey values is near 1, its logarithm a difference of numbers of the order of ten
    np.testing.assert_allclose(score, kvae.evaluation.elbo(vae, x / np.float32(255)), rtol=1e-4)


@pytest.mark.parametrize(
    ("likelihood", "arguments", "message"),
    [
        ("normal", {"output_dtype": "uint8"}, "Received: the likelihood Normal"),
        ("poisson", {"input_dtype": "uint8"}, "which the likelihood Poisson is not for"),
        ("poisson", {"output": "sample"}, "Draws from the likelihood Poisson take rejection sampling"),
    ],
)
def test_what_a_likelihood_does_not_have(likelihood, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        kvae.export.tflite(make_vae("dense", (6,), likelihood=likelihood), tmp_path / "vae.tflite", **arguments)
    assert listing(tmp_path) == []


def test_params_are_what_the_likelihood_takes(tmp_path):
    likelihood = kvae.likelihoods.Normal("decoder")
    networks = kvae.networks.dense_encoder((6,), 3), kvae.networks.dense_decoder(3, (6,), num_params=2)
    vae = kvae.VAE(*networks, likelihood)
    path = kvae.export.tflite(vae, tmp_path / "vae.tflite", output="params").path
    z = np.random.default_rng(0).normal(size=(1, 3)).astype("float32")
    params = runner(path, "decode")(z=z)["x_params"]
    assert params.shape == (1, 12)
    np.testing.assert_allclose(vae.likelihood.distribution(params).stddev(), vae.decode(z).stddev(), rtol=1e-5)


LIKELIHOODS = {
    "bernoulli": "bernoulli",
    "continuous_bernoulli": "continuous_bernoulli",
    "normal": "normal",
    "laplace": "laplace",
    "student_t": "student_t",
    "levels": kvae.likelihoods.DiscretizedLogistic,
    "mixture of levels": lambda: kvae.likelihoods.DiscretizedLogistic(num_components=2),
    "categorical": lambda: kvae.likelihoods.Categorical(3),
    "joint": lambda: kvae.likelihoods.Joint([("normal", 4), (kvae.likelihoods.Categorical(3), 2)]),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_draws_of_every_likelihood_that_has_them(name, tmp_path):
    likelihood = kvae.likelihoods.get(LIKELIHOODS[name] if isinstance(LIKELIHOODS[name], str) else LIKELIHOODS[name]())
    width = likelihood.params_shape((6,))[-1]
    vae = make_vae("dense", (6,), likelihood="bernoulli")
    vae = kvae.VAE(vae.encoder, kvae.networks.dense_decoder(3, (width,)), likelihood)
    path = kvae.export.tflite(vae, tmp_path / "vae.tflite", output="sample").path
    z = np.random.default_rng(0).normal(size=(1, 3)).astype("float32")
    x = np.concatenate([draw(path, 1, row, "decode", z=z)["x"] for row in range(200)])
    assert x.shape == (200, 6)
    vae.likelihood.check(x)  # in the support
    assert np.isfinite(vae.decode(np.repeat(z, 200, axis=0)).log_prob(x)).all()
    if name not in ("categorical", "joint"):  # whose means are of another shape; see tests/likelihoods
        p = vae.decode(z)
        error = np.asarray(p.stddev() if name != "levels" and "mixture" not in name else 0.5) / np.sqrt(200)
        assert (np.abs(x.mean(axis=0) - p.mean()) < 4.5 * error).all()
    np.testing.assert_array_equal(draw(path, 1, 7, "decode", z=z)["x"], x[7:8])
    assert len(np.unique(x, axis=0)) > 50 or name == "bernoulli"


def test_samples_with_draws(tmp_path):
    vae = make_vae("dense", (6,))
    path = kvae.export.tflite(vae, tmp_path / "vae.tflite", signatures=("sample", "reconstruct"), output="sample").path
    outputs = draw(path, 3, 1)
    assert set(np.unique(outputs["x"])) <= {0.0, 1.0}
    np.testing.assert_allclose(outputs["z"], random.normal(3, tf.range(1, 2), 0, 3), atol=1e-5)
    x = np.ones((1, 6), "float32")
    assert draw(path, 3, 1, "reconstruct", x=x)["x"].shape == (1, 6)


def test_layers_are_not_blamed_for_what_is_missing_in_float64(tmp_path):
    vae = make_vae("dense", (6,), prior=kvae.priors.NormalMixture(num_components=3))
    with pytest.raises(kvae.export.UnsupportedOperationError, match="MatMul in float64") as caught:
        kvae.export.tflite(vae, tmp_path / "vae.tflite", signatures="score")
    assert "layer 'dense" not in str(caught.value)
