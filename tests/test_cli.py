"""The command line as its users meet it: what it prints, writes, refuses, and how it exits."""

import json
import os
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


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """A function that runs a command in an empty directory: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

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
    expected = {"model.keras", "config.toml", "history.csv", "metrics.json", "README.md", "export/decoder.tflite"}
    expected |= {f"{name}.png" for name in pictures} | {"export/saved_model/saved_model.pb"}
    assert expected <= files(digits_run)
    assert not digits_run.with_name("digits.part").exists()

    metrics = json.loads((digits_run / "metrics.json").read_text())
    vae = keras.models.load_model(digits_run / "model.keras")
    x_test = kvae.data.load("digits").x_test
    assert metrics["test"]["elbo"] == pytest.approx(vae.evaluate(x_test, return_dict=True, verbose=0)["elbo"], abs=1e-3)
    values = kvae.evaluation.log_likelihood(vae, x_test, num_samples=5, seed=3)
    assert metrics["test"]["negative_log_likelihood"] == pytest.approx(-values.mean(), abs=1e-3)
    assert metrics["test"]["standard_error"] == pytest.approx(kvae.evaluation.estimate(values).standard_error, abs=1e-3)
    assert metrics["decoder"]["bytes"] == (digits_run / "export" / "decoder.tflite").stat().st_size
    assert metrics["decoder"]["max_error"] < 1e-5
    assert {"tensorflow", "keras", "kvae", "python"} <= set(metrics["versions"])

    rows = (digits_run / "history.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[0].startswith("epoch,") and "val_elbo" in rows[0]
    z = np.zeros((1, 2), "float32")
    np.testing.assert_allclose(
        kvae.export.load(digits_run / "export" / "decoder.tflite").decode(z), vae.decode(z).mean(), atol=1e-5
    )


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


def test_evaluate_repeats_the_figures_of_the_run(run, digits_run):
    code, out, err = run("evaluate", digits_run, "--samples", "5", "--seed", "3", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((digits_run / "metrics.json").read_text())["test"]
    code, out, _ = run("evaluate", digits_run / "model.keras", "--samples", "5", "--data", "digits")
    assert code == 0 and "-log p(x)" in out and "importance samples" in out


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
    assert run("export", digits_run, "saved")[0] == 0
    z = np.ones((1, 2), "float32")
    for path in ("decoder.tflite", "saved"):
        expected = keras.models.load_model(digits_run / "model.keras").decode(z).mean()
        np.testing.assert_allclose(kvae.export.load(tmp_path / path).decode(z), expected, atol=1e-5)


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
    assert not (tmp_path / "none.npy").exists()


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
        (["train", "digits", "--condition", "colour"], "must be label"),
        (["train", "table.npy", "--condition", "label"], "needs data with labels"),
        (["train", "digits", "--latent-dim", "0"], "greater than or equal to 1"),
        (["train", "digits", "--beta", "-1"], "greater than or equal to 0"),
        (["train", "digits", "--learning-rate", "0"], "larger than zero"),
        (["train", "--config", "absent.toml"], "cannot read 'absent.toml'"),
        (["train", "--config", "broken.toml"], "cannot read 'broken.toml'"),
        (["train", "--config", "odd.toml"], "unknown settings in 'odd.toml': latents. Known: batch_size"),
        (["train", "digits", "--out", "empty"], "'empty' is there already"),
        (["train", "table.npy", "--network", "conv"], "dense_encoder"),
        (["evaluate", "absent"], "There is no model 'absent'"),
        (["evaluate", "corrupt.keras"], "no readable .keras file"),
        (["sample", "absent"], "There is no model 'absent'"),
        (["sample", "absent", "--out", "samples.jpg"], "must end in .png or .npy"),
        (["plot", "absent"], "There is no model 'absent'"),
        (["export", "absent", "out.onnx"], "must end in .tflite"),
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


def test_failure_leaves_the_earlier_run_and_the_best_model(run, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("kept")

    def fail(*arguments, **options):
        raise RuntimeError("the decoder has no twin")

    monkeypatch.setattr(kvae.export, "tflite", fail)
    code, _, err = run("train", "digits", "--out", "out", "--overwrite", *QUICK)
    assert code == 1
    assert "kvae: the decoder has no twin" in err and "Traceback" not in err
    assert "the best model so far is out.part/model.keras" in err
    assert (tmp_path / "out" / "precious").read_text() == "kept"
    assert isinstance(kvae.pretrained.load(tmp_path / "out.part"), kvae.VAE)


def test_overwrite(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("")
    assert run("train", "digits", "--out", "out", "--overwrite", *QUICK)[0] == 0
    assert "old" not in files(tmp_path / "out")


def test_control_c_keeps_the_best_model(tmp_path):
    command = [
        sys.executable,
        "-c",
        "import kvae_cli; kvae_cli.main()",
        "train",
        "digits",
        "--epochs",
        "150",
        "--samples",
        "5",
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch 15/150"):
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


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["sample"], ["plot"], ["export"]])
def test_every_command_explains_itself(run, command):
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert "Usage: " in out
