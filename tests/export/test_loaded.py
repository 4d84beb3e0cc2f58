"""`kvae.export.load`: what it runs, and what it refuses."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from exporting import CASES

import kvae
import kvae.export


@pytest.fixture(params=["saved_model", "tflite"])
def load(request, saved_models, tflite_files):
    """A function that loads a case in each format."""
    (saved, _), (files, _) = saved_models, tflite_files
    return lambda case: kvae.export.load(saved / case if request.param == "saved_model" else files / f"{case}.tflite")


@pytest.mark.parametrize("case", CASES)
def test_decode(case, load, models, model_inputs):
    z, c = (model_inputs[case].get(name) for name in "zc")
    given = z if c is None else (z, c)
    got = load(case).decode(given)
    assert (type(got), got.dtype) == (np.ndarray, np.float32)
    np.testing.assert_allclose(got, models[case].decode(given).mean(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("leading", [(), (1,), (0,), (2, 3)])
def test_leading_axes(load, models, leading):
    z = np.random.default_rng(0).normal(size=(*leading, 4)).astype("float32")
    got = load("conv_normal").decode(z)
    assert got.shape == (*leading, 13, 9, 3)
    if z.size:
        expected = models["conv_normal"].decode(z[None]).mean()[0]
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_one_condition_for_all_and_one_for_each(load, models):
    z, c = np.random.default_rng(0).normal(size=(2, 3, 3)), np.eye(4)[1]
    exported = load("conditional")
    got = exported.decode((z, c))
    assert got.shape == (2, 3, 6)
    np.testing.assert_array_equal(got, exported.decode((z, np.tile(c, (2, 3, 1)))))
    np.testing.assert_allclose(got[0], models["conditional"].decode((z[0], c)).mean(), atol=1e-5)


def test_encode_reconstruct_and_sample(saved_models, models, model_inputs):
    vae, x = models["conv_bernoulli"], model_inputs["conv_bernoulli"]["x"]
    exported = kvae.export.load(saved_models[0] / "conv_bernoulli")
    np.testing.assert_allclose(exported.encode(x)["mean"], vae.transform(x), atol=1e-5)
    np.testing.assert_allclose(exported.encode(x.astype("uint8"))["stddev"], vae.encode(x).stddev(), atol=1e-5)
    np.testing.assert_allclose(exported.reconstruct(x), vae.reconstruct(x), atol=1e-5)
    for seed in (0, -3, 2**32 - 3):
        np.testing.assert_allclose(exported.sample(seed=seed, n=4), vae.sample(4, seed=seed), atol=1e-5)
    np.testing.assert_array_equal(exported.sample(-3, 4), exported.sample(2**32 - 3, 4))
    np.testing.assert_allclose(exported.sample(1, 9)[:4], exported.sample(1, 4), atol=1e-6)


def test_conditional_encode_reconstruct_and_sample(saved_models, models, model_inputs):
    vae, (x, c) = models["conditional"], (model_inputs["conditional"][name] for name in "xc")
    exported = kvae.export.load(saved_models[0] / "conditional")
    np.testing.assert_allclose(exported.encode((x, c))["mean"], vae.transform((x, c)), atol=1e-5)
    np.testing.assert_allclose(exported.reconstruct((x, c)), vae.reconstruct((x, c)), atol=1e-5)
    for condition in (c[0], c):
        np.testing.assert_allclose(
            exported.sample(1, len(c), condition), vae.sample(len(c), seed=1, condition=condition), atol=1e-5
        )


def test_score(saved_models, models, model_inputs):
    vae, x = models["conv_bernoulli"], model_inputs["conv_bernoulli"]["x"]
    exported = kvae.export.load(saved_models[0] / "conv_bernoulli")
    # float32 sums over 784 pixels
    np.testing.assert_allclose(exported.score(x, seed=-2), kvae.evaluation.elbo(vae, x, seed=-2), rtol=1e-5)
    np.testing.assert_array_equal(exported.score(x), exported.score(x, seed=0))


def test_files_in_whole_numbers(models, model_inputs, tmp_path):
    vae, x = models["dense_bernoulli"], model_inputs["dense_bernoulli"]["x"]
    path = tmp_path / "vae.tflite"
    kvae.export.tflite(
        vae, path, signatures=("decode", "reconstruct"), input_dtype="uint8", output_dtype="uint8", batch_sizes=(1, 4)
    )
    exported = kvae.export.load(path, threads=2)
    assert (exported.dtype("reconstruct", "x"), exported.dtype("decode", "z")) == ("uint8", "float32")
    got = exported.reconstruct(255 * x)
    assert got.dtype == np.uint8
    assert exported.reconstruct(x[:0]).dtype == np.uint8
    # half a unit of 8 bits, from rounding, and a little for the float32 before it
    np.testing.assert_allclose(got, 255 * vae.reconstruct(x), rtol=0, atol=0.51)
    with pytest.raises(ValueError, match="`x` must hold whole numbers from 0 to 255. Received: float32 values"):
        exported.reconstruct(0.5 * x)


def test_files_that_draw(models, tmp_path):
    vae, z = models["conv_bernoulli"], np.ones((400, 16), "float32")
    kvae.export.tflite(vae, tmp_path / "decoder.tflite", output="sample")
    exported = kvae.export.load(tmp_path / "decoder.tflite")
    drawn = exported.decode(z, seed=3)
    np.testing.assert_array_equal(drawn, exported.decode(z, seed=3))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    # every row its own draw: of 400, five standard errors of at most 0.5 / 20
    np.testing.assert_allclose(drawn.mean(axis=0), vae.decode(z[:1]).mean()[0], atol=5 * 0.025)
    with pytest.raises(ValueError, match="`decode` needs a seed. Received: seed=None"):
        exported.decode(z)


@pytest.mark.parametrize("rows", [1, 4, 6, 9])
def test_files_of_several_rows_at_once(models, tmp_path_factory, rows):
    vae, path = models["conv_normal"], tmp_path_factory.getbasetemp() / "batches.tflite"
    if not path.exists():
        kvae.export.tflite(vae, path, batch_sizes=(1, 4))
    z = np.random.default_rng(0).normal(size=(rows, 4)).astype("float32")
    got = kvae.export.load(path).run("decode_b4", z=z)["x_mean"]
    np.testing.assert_allclose(got, vae.decode(z).mean(), rtol=0, atol=1e-5)


def test_a_seed_where_nothing_is_drawn(load):
    with pytest.raises(ValueError, match="`decode` takes no seed. Received: seed=1"):
        load("dense_bernoulli").decode(np.zeros((1, 16)), seed=1)


def test_describes_itself(load):
    exported = load("conv_bernoulli")
    assert repr(exported).startswith(f"<kvae.export.Exported '{exported.path}' with `decode`")


@pytest.mark.parametrize("shape", [(5, 15), (16, 5), (), (5, 16, 1)])
def test_wrong_width_of_z(load, shape):
    with pytest.raises(ValueError, match=r"`z` must have shape \[\.\.\., 16\]\. Received: \["):
        load("dense_bernoulli").decode(np.zeros(shape))


def test_wrong_inputs(saved_models):
    exported = kvae.export.load(saved_models[0] / "dense_bernoulli")
    with pytest.raises(
        ValueError, match=r"`x` must have shape \[batch, 28, 28, 1\] for `encode`. Received: \[3, 28, 28\]"
    ):
        exported.encode(np.zeros((3, 28, 28)))
    with pytest.raises(ValueError, match="`decode` takes the inputs `z`. Received: `latent`"):
        exported.run("decode", latent=np.zeros((1, 16)))
    with pytest.raises(ValueError, match="no signature `draw`. It has: `decode`, `encode`"):
        exported.run("draw")
    for seed in (0.5, 2**31, np.nan):
        with pytest.raises(ValueError, match="`seed` must hold whole numbers from -2147483648 to 2147483647"):
            exported.run("sample", seed=seed, n=1)
    with pytest.raises(ValueError, match="`n` must be an int of at least 1. Received: n=0"):
        exported.sample(0, 0)
    with pytest.raises(ValueError, match="`seed` must be an int of at most 32 bits"):
        exported.sample(2**40, 1)
    with pytest.raises(ValueError, match="takes no condition"):
        exported.sample(0, 1, condition=np.zeros(4))


def test_unequal_rows(load):
    exported = load("conditional")
    with pytest.raises(ValueError, match="`decode` needs equally many rows of all its inputs. Received: .*`z` 3"):
        exported.run("decode", z=np.zeros((3, 3)), c=np.zeros((5, 4)))


def test_wrong_conditions(saved_models):
    exported = kvae.export.load(saved_models[0] / "conditional")
    with pytest.raises(ValueError, match=r"takes the pair \(z, c\). Received: ndarray"):
        exported.decode(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"needs a condition of shape \[4\]"):
        exported.sample(0, 2)
    with pytest.raises(ValueError, match=r"`c` must have shape \[2, 4\], or \[4\] for all. Received: \[3, 4\]"):
        exported.decode((np.zeros((2, 3)), np.zeros((3, 4))))


def test_a_decoder_only_decodes(tflite_files):
    exported = kvae.export.load(tflite_files[0] / "dense_bernoulli.tflite")
    for call in (lambda: exported.encode(np.zeros((1, 28, 28, 1))), lambda: exported.sample(0, 1)):
        with pytest.raises(ValueError, match="It has: `decode`. kvae.export.saved_model writes all"):
            call()


def test_nothing_there(tmp_path):
    for name in ("absent", "absent.tflite"):
        with pytest.raises(FileNotFoundError, match=f"There is no .*{name}"):
            kvae.export.load(tmp_path / name)


@pytest.mark.parametrize("path", [None, 3, ["decoder.tflite"]])
def test_no_path(path):
    with pytest.raises(TypeError, match="`path` must be a str or a pathlib.Path"):
        kvae.export.load(path)


def test_no_export(tmp_path):
    with pytest.raises(ValueError, match=r"holds no saved_model\.pb"):
        kvae.export.load(tmp_path)
    (tmp_path / "vae.keras").touch()
    with pytest.raises(ValueError, match=r"a \.onnx file. Received: .*keras.models.load_model"):
        kvae.export.load(tmp_path / "vae.keras")


@pytest.mark.parametrize(
    "damage", [lambda whole: b"", lambda whole: b"junk" * 100, lambda whole: whole[:1000], lambda whole: whole[:-8]]
)
def test_damaged_tflite(damage, tflite_files, tmp_path):
    whole = (tflite_files[0] / "conv_normal.tflite").read_bytes()
    (tmp_path / "decoder.tflite").write_bytes(damage(whole))
    with pytest.raises(ValueError, match="cannot be read: it is damaged, incomplete or of another make"):
        kvae.export.load(tmp_path / "decoder.tflite")


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
@pytest.mark.parametrize("how", ["junk", "removed"])
def test_damaged_saved_model(name, how, saved_models, tmp_path):
    shutil.copytree(saved_models[0] / "conv_normal", tmp_path / "saved")
    if how == "junk":
        (tmp_path / "saved" / name).write_bytes(b"junk" * 100)
    else:
        (tmp_path / "saved" / name).unlink()
    with pytest.raises(ValueError, match=r"cannot be read: it is damaged|holds no saved_model\.pb"):
        kvae.export.load(tmp_path / "saved")


def test_models_of_others(tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).export(tmp_path / "other", verbose=False)
    with pytest.raises(
        ValueError, match="none of the signatures `decode`, .*so it was not exported by kvae. It has: `serve`"
    ):
        kvae.export.load(tmp_path / "other")
    tf.saved_model.save(tf.Module(), str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="none of the signatures .* It has: none"):
        kvae.export.load(tmp_path / "empty")
