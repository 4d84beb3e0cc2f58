"""The command line as its users meet it: what it prints, writes, refuses, and how it exits."""

import contextlib
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import tomllib

import keras
import numpy as np
import pytest
import tensorflow as tf

import kvae
import kvae_cli

QUICK = ["--epochs", "2", "--samples", "5", "--latent-dim", "2"]


def export_decoder(kvae, vae, out):
    report = kvae.export.tflite(vae, out / "decoder.tflite")
    return {
        "file": "export/decoder.tflite",
        "bytes": report.num_bytes,
        "max_error": report.max_error,
        "latency_ms": 1.0,
    }


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """A function that runs a command in an empty directory: (exit code, standard output, standard error).

    Trainings leave a decoder instead of a bundle, which takes longer than they do; `digits_run` has a whole one.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kvae_cli.exporting, "export_all", export_decoder)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["kvae", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            kvae_cli.main()
        captured = capfd.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return command


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """The directory of a quick run on digits."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kvae", "train", "digits", "--out", str(out), "--seed", "3", *QUICK])
        with pytest.raises(SystemExit) as end:
            kvae_cli.main()
    assert not end.value.code
    return out


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# The main job


def test_train_writes_all_it_says(digits_run):
    pictures = {"reconstructions", "samples", "interpolations", "traversals", "latent", "manifold", "curves"}
    expected = {"model.keras", "config.toml", "history.csv", "metrics.json", "README.md", "export/README.md"}
    expected |= {f"{name}.png" for name in pictures} | {"export/saved_model/1/saved_model.pb"}
    expected |= {f"export/litert/decoder_{each}.tflite" for each in ("float32", "float16", "int8")}
    assert expected <= files(digits_run)
    assert not digits_run.with_name("digits.part").exists()

    metrics = json.loads((digits_run / "metrics.json").read_text())
    vae = keras.models.load_model(digits_run / "model.keras")
    x_test = kvae.data.load("digits").x_test
    assert metrics["test"]["elbo"] == pytest.approx(vae.evaluate(x_test, return_dict=True, verbose=0)["elbo"], abs=1e-3)
    values = kvae.evaluation.log_likelihood(vae, x_test, num_samples=5, seed=3)
    assert metrics["test"]["negative_log_likelihood"] == pytest.approx(-values.mean(), abs=1e-3)
    assert metrics["test"]["standard_error"] == pytest.approx(kvae.evaluation.estimate(values).standard_error, abs=1e-3)
    assert metrics["decoder"]["bytes"] == (digits_run / metrics["decoder"]["file"]).stat().st_size
    assert metrics["decoder"]["max_error"] < 1e-5
    assert {"tensorflow", "keras", "kvae", "python"} <= set(metrics["versions"])

    rows = (digits_run / "history.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[0].startswith("epoch,") and "val_elbo" in rows[0]
    z = np.zeros((1, 2), "float32")
    np.testing.assert_allclose(kvae.export.load(digits_run / "export").decode(z), vae.decode(z).mean(), atol=1e-5)


def test_config_repeats_a_run(run, digits_run, tmp_path):
    config = tomllib.loads((digits_run / "config.toml").read_text())
    assert (config["data"], config["seed"], config["epochs"], config["latent_dim"]) == ("digits", 3, 2, 2)
    code, out, _ = run("train", "--config", digits_run / "config.toml", "--out", "again", "--samples", "6")
    assert code == 0 and "wrote again/" in out
    first, again = (
        json.loads((each / "metrics.json").read_text())["test"] for each in (digits_run, tmp_path / "again")
    )
    assert again["elbo"] == first["elbo"]
    assert (first["importance_samples"], again["importance_samples"]) == (5, 6)  # the command line goes first


RECIPE = """
data = "digits"
likelihood = "bernoulli"
latent_dim = 3
hidden = [12, 9]
activation = "glu"
output_bias = true
posterior = "full_normal"
prior = "vamp_prior:num_components=20,learn_weights=true"
objective = "elbo:num_samples=2,beta=0.5"
schedule = "constant"
learning_rate = 1e-12  # so that what is saved is what training began with
held_out = 300
patience = 2
warmup = 2
epochs = 30
samples = 5
seed = 5
"""


def test_a_file_says_the_whole_recipe(run, tmp_path):
    (tmp_path / "row.toml").write_text(RECIPE)
    code, out, err = run("train", "--config", "row.toml", "--out", "out")
    assert (code, err) == (0, "")
    assert "1,200 examples for training, 300 held out" in out
    settings = tomllib.loads((tmp_path / "out" / "config.toml").read_text())
    assert tomllib.loads(RECIPE).items() <= settings.items()
    assert 'activation = "glu"' in (tmp_path / "out" / "README.md").read_text()
    assert (
        len((tmp_path / "out" / "history.csv").read_text().splitlines()) == 1 + 2 + 1 + 2
    )  # header, warm-up, the best, patience

    vae = kvae.pretrained.load(tmp_path / "out")
    x = kvae.data.load("digits").x_train[:1200]
    assert [each.units for each in vae.encoder.layers if hasattr(each, "units")] == [24, 18, 9]
    assert [each.units for each in vae.decoder.layers if hasattr(each, "units")] == [24, 18, 64]
    bias = vae.decoder.get_layer("params").bias
    np.testing.assert_allclose(bias, vae.likelihood.initial_params(x).ravel(), atol=1e-6)
    assert type(vae.posterior).__name__ == "FullNormal" and vae.prior.learn_weights
    assert vae.objective.num_samples == 2
    assert float(vae.objective.beta) == 0.5  # although the first epoch is the best, in which it was 0.25
    assert float(vae.optimizer.learning_rate) == pytest.approx(1e-12)
    binarized = kvae.data.binarize(x, 5).reshape(1200, 64)
    pseudo_inputs = vae.prior.pseudo_inputs.numpy().reshape(20, 64)
    assert np.abs(pseudo_inputs[:, None] - binarized).max(axis=-1).min(axis=-1).max() < 1e-6


def test_evaluate_repeats_the_figures_of_the_run(run, digits_run, monkeypatch):
    code, out, err = run("evaluate", digits_run, "--samples", "5", "--seed", "3", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((digits_run / "metrics.json").read_text())["test"]
    monkeypatch.setattr(kvae_cli.evaluating, "_LONG", 10)
    code, out, err = run("evaluate", digits_run / "model.keras", "--samples", "5", "--data", "digits")
    assert code == 0 and "-log p(x)" in out and "importance samples" in out
    assert err == "kvae: log p(x) of 297 test examples by 5 importance samples each\n"


def test_evaluate_disentanglement(run, tmp_path, monkeypatch):
    monkeypatch.setattr(kvae.data.sets, "SUBSET", (30, 20))
    monkeypatch.setitem(kvae.data.sets.FACTORS, "sprites", lambda: kvae.data.sprites("heart", 2, 4, 3))
    encoder = kvae.networks.dense_encoder((64, 64, 1), 3, hidden=(8,))
    vae = kvae.VAE(encoder, kvae.networks.dense_decoder(3, (64, 64, 1), hidden=(8,)))
    vae.compile("adam")
    vae.save(tmp_path / "model.keras")
    arguments = ["evaluate", "model.keras", "--data", "sprites", "--samples", "2", "--disentanglement"]
    arguments += ["--disentanglement-examples", "300", "--seed", "4"]
    code, out, err = run(*arguments, "--json")
    assert code == 0 and "kvae: disentanglement: encoding 300 examples" in err
    report = json.loads(out)
    expected = kvae.evaluation.disentanglement(vae, kvae.data.sprites("heart", 2, 4, 3), "mig", 300, seed=4)
    assert {"mig", "dci_completeness", "factor_vae", "irs"} < set(report["disentanglement"])
    mig = report["disentanglement"]["mig"]
    assert mig["value"] == pytest.approx(expected["mig"].value, abs=1e-6)
    assert (mig["method"], mig["num_examples"], mig["seed"]) == ("20-bin histogram", 300, 4)
    assert mig["factors"] == ["scale", "orientation", "x", "y"]
    code, out, _ = run(*arguments)
    assert code == 0 and "ELBO" in out
    assert "Disentanglement of means, 300 examples, factors scale, orientation, x, y, seed 4" in out
    for data, message in (
        ("digits", "factors are known, sprites or dsprites, not 'digits'"),
        ("sprites", "gives [64, 64"),
    ):
        code, _, err = run("evaluate", "digits_dense", "--disentanglement", "--data", data)
        assert code == 2 and message in " ".join(err.replace("│", " ").split())


def test_sample(run, digits_run, tmp_path):
    assert run("sample", digits_run, "--out", "new/samples.npy", "-n", "5", "--seed", "4")[0] == 0
    vae = keras.models.load_model(digits_run / "model.keras")
    np.testing.assert_allclose(np.load(tmp_path / "new" / "samples.npy"), vae.sample(5, seed=4), atol=1e-6)
    code, out, _ = run("sample", digits_run)
    assert code == 0 and out.strip() == "wrote samples.png"
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_plot(run, digits_run, tmp_path):
    code, _out, _ = run("plot", digits_run, "--out", "pictures")
    assert code == 0
    assert {"samples.png", "curves.png", "manifold.png", "latent.png"} <= files(tmp_path / "pictures")


def test_export(run, digits_run, tmp_path):
    code, out, err = run("export", digits_run, "decoder.tflite")
    assert (code, err) == (0, "") and "decoder.tflite" in out
    assert run("export", digits_run, "decoder.onnx")[0] == 0
    assert run("export", digits_run, "small.tflite", "--precision", "float16")[0] == 0
    assert (tmp_path / "small.tflite").stat().st_size < 0.6 * (tmp_path / "decoder.tflite").stat().st_size
    z = np.ones((1, 2), "float32")
    for path in ("decoder.tflite", "decoder.onnx"):
        expected = keras.models.load_model(digits_run / "model.keras").decode(z).mean()
        np.testing.assert_allclose(kvae.export.load(tmp_path / path).decode(z), expected, atol=1e-5)


def test_bundle(run, tmp_path):
    code, out, err = run("export", "digits_dense", "out", "--precision", "float32, float16")
    assert (code, err) == (0, "")
    assert "litert/decoder_float16.tflite" in out and "verified, in " in out
    assert not (tmp_path / "out" / "litert" / "decoder_int8.tflite").exists()
    code, out, _ = run("verify", "out")
    assert code == 0 and out.startswith("out: verified\n") and "golden vectors" in out

    code, out, _ = run("benchmark", "out/litert/decoder_float16.tflite", "--threads", "1", "--json")
    (row,) = json.loads(out)
    assert code == 0 and row["num_bytes"] == (tmp_path / "out" / "litert" / "decoder_float16.tflite").stat().st_size
    assert "| times float32 |" in run("benchmark", "out/litert/decoder_float16.tflite")[1]
    code, out, _ = run("inspect", "out/litert/decoder_float32.tflite")
    assert code == 0 and "decode(z [1, 16]) -> x_mean [1, 8, 8, 1]" in out and "FULLY_CONNECTED" in out

    (tmp_path / "out" / "README.md").write_text("edited")
    code, out, err = run("verify", "out")
    assert (code, out) == (5, "") and "is damaged: README.md has 6 bytes instead of" in err


def test_exit_codes_of_exports(run, monkeypatch):
    for error, expected in (
        (kvae.export.UnsupportedOperationError("no Erf"), 3),
        (kvae.export.MissingExtraError("no onnx"), 4),
        (kvae.export.ParityError("too far off"), 5),
        (OSError("no space"), 1),
    ):

        def fail(*arguments, error=error, **options):
            raise error

        monkeypatch.setattr(kvae.export, "onnx", fail)
        code, _, err = run("export", "digits_dense", "decoder.onnx")
        assert (code, err) == (expected, f"kvae: {error}\n")


def test_precisions_are_checked(run, tmp_path):
    for arguments, message in (
        (["out", "--precision", "float32,int4"], "`precision` must be one of 'float32'"),
        (["a.tflite", "--precision", "float32,int8"], "a file has one precision; a folder takes several"),
    ):
        code, _, err = run("export", "digits_dense", *arguments)
        assert code == 2 and message in " ".join(err.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["npz", "npy", "csv", "images"])
def test_every_kind_of_data(run, tmp_path, kind):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 6, 5), dtype="uint8")
    source = tmp_path / f"data.{kind}"
    if kind == "npz":
        np.savez(source, x_train=images[:30], x_test=images[30:], y_test=np.arange(10))
    elif kind == "npy":
        np.save(source, images / 255)
    elif kind == "csv":
        source.write_text(
            "a,b,c\n" + "\n".join(",".join(f"{value:.3f}" for value in row) for row in rng.normal(size=(40, 3)))
        )
    else:
        (source / "deep").mkdir(parents=True)
        for number, image in enumerate(images):
            tf.io.write_file(str(source / "deep" / f"{number}.png"), tf.io.encode_png(image[..., None]))
    network = "dense" if kind == "csv" else "conv"
    code, _out, err = run("train", source, "--network", network, "--out", "out", *QUICK)
    assert code == 0, err
    assert (tmp_path / "out" / "metrics.json").is_file()


def test_bernoulli_binarizes(run, tmp_path):
    code, _out, err = run(
        "train", "digits", "--likelihood", "bernoulli", "--beta", "2", "--warmup", "2", "--out", "out", *QUICK
    )
    assert code == 0 and "grey" not in err
    vae = kvae.pretrained.load(tmp_path / "out")
    assert isinstance(vae.likelihood, kvae.likelihoods.Bernoulli)
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())["test"]
    x_test = kvae.data.binarize(kvae.data.load("digits").x_test, seed=777)
    assert report["elbo"] == pytest.approx(kvae.evaluation.elbo(vae, x_test).mean(), abs=1e-3)


@pytest.mark.parametrize("likelihood", ["bernoulli", "normal"])
def test_conditional_on_labels(run, tmp_path, likelihood):
    code, _, err = run("train", "digits", "--condition", "label", "--likelihood", likelihood, "--out", "out", *QUICK)
    assert code == 0, err
    assert run("sample", "out", "--condition", "7", "--out", "sevens.npy", "-n", "3")[0] == 0
    vae = kvae.pretrained.load(tmp_path / "out")
    np.testing.assert_allclose(np.load(tmp_path / "sevens.npy"), vae.sample(3, condition=7, seed=0), atol=1e-6)
    assert run("evaluate", "out", "--samples", "3")[0] == 0
    code, _, err = run("sample", "out", "--out", "none.npy")
    assert code == 2 and "needs a `condition`" in " ".join(err.replace("│", " ").split())
    code, _, err = run("sample", "out", "--out", "none.npy", "--condition", "10")
    assert code == 2 and "must hold labels 0, 1, ..., 9" in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "none.npy").exists()


def test_names_with_marks_of_all_kinds(run, tmp_path):
    name = "data [v2], \U0001f600 \u00e9.npz"
    x = np.random.default_rng(0).normal(size=(40, 3))
    labels = np.array([f"class {index}" for index in range(40)])  # too many for colours
    np.savez(tmp_path / name, x=x, y=labels)
    assert not kvae_cli.examples.is_large(str(tmp_path / name))
    assert kvae_cli.examples.is_large("data [v3]*.npz")
    code, out, err = run("train", name, "--out", "\u00fc \U0001f600", *QUICK)
    assert code == 0 and "streamed" not in out, err
    settings = tomllib.loads((tmp_path / "\u00fc \U0001f600" / "config.toml").read_text(encoding="utf-8"))
    assert settings["data"] == name
    code, _, err = run("evaluate", "\u00fc \U0001f600", "--samples", "3")
    assert code == 0, err


@pytest.mark.parametrize(
    "likelihood", ["categorical:num_classes=3", "joint:parts=[['categorical:num_classes=3',2],[normal,1]]"]
)
def test_classes_are_drawn(run, tmp_path, likelihood):
    np.save(tmp_path / "classes.npy", np.random.default_rng(0).integers(0, 3, (40, 3)))
    code, _, err = run("train", "classes.npy", "--likelihood", likelihood, "--out", "out", *QUICK)
    assert code == 0, err
    assert (tmp_path / "out" / "reconstructions.png").is_file()


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "name the data, for instance: kvae train digits"),
        (["train", "minst"], "Unknown data set 'minst'"),
        (["train", "absent.npy"], "no file 'absent.npy'"),
        (["train", "corrupt.npz"], "no readable .npz file"),
        (["train", "text.csv"], "must hold numbers"),
        (["train", "empty"], "no .png or .jpg images"),
        (["train", "digits", "--network", "transformer"], "dense or conv"),
        (["train", "digits", "--likelihood", "gaussian"], "Unknown likelihood 'gaussian'"),
        (["train", "digits", "--posterior", "diagonal"], "Did you mean 'diagonal_normal'"),
        (
            ["train", "digits", "--objective", "iwae", "--beta", "2"],
            "--beta needs an objective that takes one, which iwae",
        ),
        (
            ["train", "digits", "--objective", "iwae", "--warmup", "2"],
            "--warmup needs an objective with a beta, which iwae",
        ),
        (["train", "digits", "--objective", "elbow"], "Did you mean 'elbo'"),
        (["train", "digits", "--objective", "elbo:beta=2", "--beta", "3"], "beta is given twice, by --beta 3 and in"),
        (["train", "digits", "--objective", "iwae:samples=5"], "Did you mean 'num_samples'"),
        (["train", "digits", "--prior", "flow:num_steps"], "are written name:key=value,key=value"),
        (["train", "digits", "--prior", "vamp_prior:num_components=1351"], "Received: 1350 rows"),
        (["train", "digits", "--likelihood", "normal:scale=-1"], "`scale` must be a positive number"),
        (["train", "digits", "--hidden", "0"], "greater than or equal to 1"),
        (["train", "digits", "--activation", "gated"], "activation function identifier: gated"),
        (["train", "digits", "--schedule", "linear"], "--schedule must be cosine or constant, not 'linear'"),
        (["train", "digits", "--held-out", "1500"], "leave rows to train on: 1,500 of 1,500 are too many"),
        (["train", "digits", "--patience", "0"], "greater than or equal to 1"),
        (["train", "table.npy", "--stream", "--held-out", "2"], "of streams a tenth is held out"),
        (["train", "digits", "--condition", "colour"], "must be label"),
        (["train", "table.npy", "--condition", "label"], "needs data with labels"),
        (["train", "digits", "--latent-dim", "0"], "greater than or equal to 1"),
        (["train", "digits", "--beta", "-1"], "greater than or equal to 0"),
        (["train", "digits", "--learning-rate", "0"], "larger than zero"),
        (["train", "--config", "absent.toml"], "cannot read 'absent.toml'"),
        (["train", "--config", "broken.toml"], "cannot read 'broken.toml'"),
        (["train", "--config", "odd.toml"], "unknown settings in 'odd.toml': latents. Known: activation"),
        (["train", "digits", "--out", "empty"], "'empty' is there already"),
        (["train", "digits", "--out", "text.csv", "--overwrite"], "'text.csv' is no run"),
        (["train", "digits", "--out", "..", "--overwrite"], "must end in the name of a directory"),
        (["train", "table.npy", "--network", "conv"], "dense_encoder"),
        (["train", "table.npy", "--likelihood", "bernoulli"], "must lie in [0, 1]"),
        (["evaluate", "absent", "--examples", "1"], "--examples"),
        (["evaluate", "absent"], "There is no model 'absent'"),
        (["evaluate", "corrupt.keras"], "no readable .keras file"),
        (["sample", "absent"], "There is no model 'absent'"),
        (["sample", "absent", "--out", "samples.jpg"], "must end in .png or .npy"),
        (["plot", "absent"], "There is no model 'absent'"),
        (["export", "absent", "out.txt"], "must end in .tflite or .onnx"),
        (["export", "absent", "out.onnx", "--precision", "int8"], "ONNX is exported in float32"),
        (["export", "absent", "out.tflite", "--calibration", "digits"], "--calibration is for --precision int8_full"),
        (["verify", "absent"], "there is no 'absent'"),
        (["benchmark", "absent"], "there is no 'absent'"),
        (["benchmark", "absent", "--threads", "0"], "greater than or equal to 1"),
        (["inspect", "absent"], "there is no 'absent'"),
        (["export", "absent", "out.tflite"], "There is no model 'absent'"),
        (["dance"], "No such command"),
    ],
)
def test_wrong_usage(run, tmp_path, arguments, message):
    (tmp_path / "corrupt.npz").write_bytes(b"PK")
    (tmp_path / "corrupt.keras").write_bytes(b"PK")
    (tmp_path / "text.csv").write_text("a,b\n1,2\n3,x\n")
    (tmp_path / "broken.toml").write_text("data = ")
    (tmp_path / "odd.toml").write_text("latents = 3\n")
    np.save(tmp_path / "table.npy", np.random.default_rng(0).normal(size=(20, 3)))
    (tmp_path / "empty").mkdir()
    before = files(tmp_path)
    code, _out, err = run(*arguments)
    flat = " ".join(err.replace("│", " ").split())
    assert code == 2, err
    assert message in flat
    assert "Traceback" not in err
    assert files(tmp_path) == before
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_dir()) == ["empty"]


def test_model_without_its_data_is_told_so(run, digits_run, tmp_path):
    (tmp_path / "model.keras").write_bytes((digits_run / "model.keras").read_bytes())
    code, _, err = run("evaluate", "model.keras")
    assert code == 2 and "add --data" in err
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    code, _, err = run("sample", "other.keras")
    assert code == 2 and "not a kvae model" in " ".join(err.split())


def test_shipped_models_know_their_own_data(run, tmp_path):
    (tmp_path / "config.toml").write_text('data = "mnist"\n')  # of another run, in which one happens to stand
    code, out, _ = run("evaluate", "digits_dense", "--samples", "2", "--examples", "5", "--json")
    assert code == 0 and json.loads(out)["num_examples"] == 297


def test_failure_leaves_the_earlier_run_and_the_best_model(run, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.toml").write_text("")
    (tmp_path / "out" / "precious").write_text("kept")

    def fail(*arguments, **options):
        raise RuntimeError("the decoder has no twin")

    monkeypatch.setattr(kvae.export, "tflite", fail)
    code, _, err = run("train", "digits", "--out", "out", "--overwrite", *QUICK)
    assert code == 1
    assert "kvae: the decoder has no twin" in err and "Traceback" not in err
    assert "the best model so far is out.part/model.keras" in err and "--resume goes on" in err
    assert (tmp_path / "out" / "precious").read_text() == "kept"
    assert isinstance(kvae.pretrained.load(tmp_path / "out.part"), kvae.VAE)

    (tmp_path / "out").rename(tmp_path / "elsewhere")
    before = files(tmp_path)
    code, _, err = run("train", "digits", "--out", "out", *QUICK)
    assert code == 2 and "run that was not finished. Go on with it by --resume" in " ".join(err.split())
    assert files(tmp_path) == before


def test_overwrite(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("")
    code, _, err = run("train", "digits", "--out", "out", "--overwrite", *QUICK)
    assert code == 2 and "'out' is no run: it holds no config.toml" in " ".join(err.split())
    assert files(tmp_path) == {"out/old"}
    (tmp_path / "out" / "config.toml").write_text("")
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "config.toml").write_text("")
    assert run("train", "digits", "--out", "out", "--overwrite", *QUICK)[0] == 0
    assert "old" not in files(tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("changes", range(4))
def test_a_kill_while_a_run_is_put_in_place_leaves_no_half(tmp_path, monkeypatch, changes):
    out, aside = tmp_path / "out", tmp_path / "out.part"
    for folder, text in ((out, "earlier"), (aside, "new")):
        folder.mkdir()
        for name in "abc":
            (folder / name).write_text(text)
    (aside / "state").mkdir()
    done = []

    def killed(change):
        def counted(*arguments, **options):
            if len(done) == changes:
                raise KeyboardInterrupt
            done.append(change)
            return change(*arguments, **options)

        return counted

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "rename", killed(pathlib.Path.rename))
        patch.setattr(shutil, "rmtree", killed(shutil.rmtree))
        with contextlib.suppress(KeyboardInterrupt):
            kvae_cli.training._put(aside, out)
    assert len(done) == min(changes, 3)  # out, in, away
    held = [[path.read_text() for path in folder.glob("?")] for folder in (out, aside) if folder.exists()]
    assert ["new"] * 3 in held and all(texts in (["new"] * 3, ["earlier"] * 3) for texts in held)
    if aside.exists():  # what --resume comes to
        kvae_cli.training._put(aside, out)
    assert [path.read_text() for path in out.glob("?")] == ["new"] * 3


def test_resume_goes_on_with_what_is_done(run, tmp_path, monkeypatch):
    options = ["--warmup", "2", "--hidden", "9", "--hidden", "8", "--activation", "glu", "--output-bias", *QUICK]
    options += [
        "--prior",
        "vamp_prior:num_components=5",
        "--schedule",
        "constant",
        "--held-out",
        "99",
        "--patience",
        "7",
    ]
    command = ["train", "digits", "--out", "a", "--resume", *options]
    with monkeypatch.context() as patch:
        patch.setattr(kvae_cli.evaluating, "figures", lambda *_: 1 / 0)  # training is over, the rest is not
        assert run(*command)[0] == 1
    assert {"config.toml", "model.keras", "state"} <= {path.name for path in (tmp_path / "a.part").iterdir()}
    code, _, err = run(*command, "--seed", "4")
    assert code == 2
    assert "begun with other settings: seed 0 is now 4" in " ".join(err.replace("│", " ").split())
    config = tmp_path / "a.part" / "config.toml"
    config.write_text(config.read_text().replace("batch_size = 128\n", ""))  # as if begun before there was this setting
    code, out, err = run(*command)
    assert (code, err) == (0, "")
    assert "first step" not in out  # no step was left to take
    assert not (tmp_path / "a.part").exists()
    assert not (tmp_path / "a" / "state").exists()
    assert run("train", "digits", "--out", "b", *options)[0] == 0
    assert (tmp_path / "a" / "history.csv").read_text() == (tmp_path / "b" / "history.csv").read_text()


def test_streamed_data(run, tmp_path):
    images = kvae.data.load("digits").x_train[:400]
    kvae.data.write_records((images * 255).astype("uint8"), tmp_path / "shards", num_shards=2)
    path = min((tmp_path / "shards").iterdir())
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    code, _, err = run("train", "shards", "--out", "out", *QUICK)
    assert code != 0 and f"shards/{path.name}: record 199: its checksum is wrong" in err
    arguments = ["--skip-errors", "--steps-per-epoch", "2", "--output-bias", "--prior", "vamp_prior:num_components=4"]
    code, out, err = run("train", "shards", "--out", "out", *arguments, *QUICK)
    assert code == 0, err
    assert "320 examples for training, 40 held out, 40 for test, streamed" in out.replace("39 for test", "40 for test")
    assert "left out because they cannot be read: 1, first shards/" in err
    code, out, _ = run("evaluate", "out", "--samples", "5", "--json")
    assert code == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert json.loads(out)["elbo"] == metrics["test"]["elbo"]
    code, _, err = run("train", "digits", "--image-size", "8", "--out", "x", *QUICK)
    assert code == 2 and "are for streams" in err


def test_control_c_keeps_the_best_model(tmp_path):
    command = [
        sys.executable,
        "-c",
        "import kvae_cli; kvae_cli.main()",
        "train",
        "digits",
        "--epochs",
        "400",
        "--samples",
        "5",
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell lets what it starts in the background ignore Ctrl-C, and that is handed down.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch 40/400"):
                time.sleep(0.1)
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Finishing with the best model so far" in out
    assert err == ""
    assert "wrote runs/digits/" in out
    assert isinstance(kvae.pretrained.load(tmp_path / "runs" / "digits"), kvae.VAE)


# Start-up


def test_help_does_not_import_tensorflow():
    code = "import sys, kvae_cli; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "command", [[], ["train"], ["evaluate"], ["sample"], ["plot"], ["export"], ["verify"], ["benchmark"], ["inspect"]]
)
def test_every_command_explains_itself(run, command):
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert "Usage: " in out
