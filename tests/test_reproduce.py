"""The published tables: what they are made of is consistent, and one row can be made, cut and gone on with."""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tomllib

import keras
import numpy as np
import pytest
import typer

import kvae
import kvae_cli

ROOT = pathlib.Path(__file__).parent.parent
HOME = ROOT / "benchmarks" / "reproduce"
PUBLISHED = tomllib.loads((HOME / "published.toml").read_text())
CONFIGS = sorted((HOME / "configs").glob("*.toml"))
TABLES = (ROOT / "benchmarks" / "RESULTS.md").read_text().splitlines()


def script(name):
    spec = importlib.util.spec_from_file_location(f"reproduce_{name}", HOME / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


report, run = script("report"), script("run")
RESULTS = report.read_results(HOME / "results")


def result(row, nll=84.0, seed=0, **test):
    """What run.py writes of a row, in figures made up."""
    return {
        "row": row,
        "seed": seed,
        "training": {
            "seconds": 90.0,
            "epochs": 3,
            "steps": 1500,
            "parameters": 10,
            "active_units": 20,
            "latent_dim": 40,
        },
        "test": {"negative_log_likelihood": nll, "standard_error": 0.25, "elbo": -90.0, **test},
        "machine": {"cores": 2, "system": "Linux", "machine": "x86_64"},
        "versions": {"python": "3.11", "kvae": "1", "tensorflow": "2", "keras": "3", "numpy": "2"},
    }


def line(row, results):
    """The cells of a row in the text made of the results."""
    (found,) = [each for each in report.write(PUBLISHED, results).splitlines() if each.startswith(f"| `{row}`")]
    return [cell.strip() for cell in found.strip("|").split("|")]


# The table as it stands


def test_the_file_is_what_the_figures_give(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["report.py", "--check"])
    report.main()
    monkeypatch.setattr(report, "RESULTS", tmp_path / "RESULTS.md")
    (tmp_path / "RESULTS.md").write_text("\n".join(TABLES) + "\nby hand\n")
    with pytest.raises(SystemExit, match="is not what the figures give"):
        report.main()
    monkeypatch.setattr(sys, "argv", ["report.py"])
    report.main()
    assert (tmp_path / "RESULTS.md").read_text().splitlines() == TABLES


def test_results_are_of_the_configurations_as_they_are():
    for each in RESULTS:
        settings = tomllib.loads((HOME / "configs" / f"{each['row']}.toml").read_text()) | {"seed": each["seed"]}
        assert kvae_cli.training.differing(settings, each["settings"]) == {}, each["row"]


def test_rows_that_miss_say_why():
    rows = report.make_rows(PUBLISHED, RESULTS)
    missing = [name for name, row in rows.items() if row.met(rows) is False]
    assert [name for name in missing if not PUBLISHED["rows"][name].get("remark")] == []


def test_the_half_hour_recipe_run_again_lands_within_two_standard_errors():
    first, *others = [each["test"] for each in RESULTS if each["row"] == "mnist_30_minutes"]
    assert others
    for other in others:
        difference = other["negative_log_likelihood"] - first["negative_log_likelihood"]
        assert abs(difference) <= 2 * first["standard_error"]


def quotes(text):
    """The table rows of a text that begin with the name of one of ours."""
    return [each for each in text.splitlines() if each.startswith(tuple(f"| `{row}`" for row in PUBLISHED["rows"]))]


def test_the_readme_quotes_it_word_for_word():
    (row,) = quotes("# kvae\n| `mnist_iwae_5` | 1.00 |\n| `mnist_conv` | 2 |\n")
    assert row not in TABLES
    quoted = quotes((ROOT / "README.md").read_text())
    assert len(quoted) == 3 and [each for each in quoted if each not in TABLES] == []


# Configurations


def test_every_row_has_its_configuration():
    assert [path.stem for path in CONFIGS] == sorted(PUBLISHED["rows"])
    assert {row["group"] for row in PUBLISHED["rows"].values()} == set(PUBLISHED["groups"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_are_settings_of_train(path):
    train = typer.main.get_command(kvae_cli.app).commands["train"]
    context = train.make_context("train", ["--config", str(path)])  # unknown names and wrong types raise
    settings = tomllib.loads(path.read_text())
    assert settings == {name: _plain(context.params[name]) for name in settings}
    header = "".join(each for each in path.read_text().splitlines() if each.startswith("#"))
    for figure in PUBLISHED["rows"][path.stem].get("published", {}).values():
        assert figure in header


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", PUBLISHED["groups"])
def test_groups_are_evaluated_as_evaluate_takes_it(name):
    evaluate = typer.main.get_command(kvae_cli.app).commands["evaluate"]
    arguments = PUBLISHED["groups"][name]["evaluate"].split()
    params = evaluate.make_context("evaluate", ["RUN", *arguments]).params
    assert params["disentanglement"] == ("mig" in PUBLISHED["groups"][name]["scores"])


# The report


def test_a_row_that_was_not_run_stays_empty():
    cells = line("mnist_gated_vamp", [])
    assert cells[:4] == [
        "`mnist_gated_vamp`",
        "82.43 +- 0.06",
        "not run",
        "at most 82.93, below `mnist_gated_standard`",
    ]
    assert len(cells) == 12 and set(cells[4:]) == {""}


def test_a_row_of_one_seed():
    cells = line("mnist_gated_standard", [result("mnist_gated_standard", 84.951)])
    assert cells[1:] == [
        "84.45 +- 0.12", "84.95 +- 0.25", "at most 84.95", "no", "90.00", "20 of 40", "3", "1,500", "1.5", "2", "0",
    ]  # fmt: skip
    assert line("mnist_gated_standard", [result("mnist_gated_standard", 84.95)])[4] == "yes"


def test_a_target_that_is_another_row():
    vamp, standard = result("mnist_gated_vamp", 82.9), result("mnist_gated_standard", 84.0)
    assert line("mnist_gated_vamp", [vamp])[4] == ""  # undecided: the other row is not there
    assert line("mnist_gated_vamp", [vamp, standard])[4] == "yes"
    assert line("mnist_gated_vamp", [vamp, result("mnist_gated_standard", 82.9)])[4] == "no"
    assert line("mnist_gated_vamp", [result("mnist_gated_vamp", 85.0)])[4] == "no"  # decided without the other


def test_a_row_that_misses_says_so_below():
    published = json.loads(json.dumps(PUBLISHED))
    published["rows"]["mnist_30_minutes"]["remark"] = "Too short."
    text = report.write(published, [result("mnist_30_minutes", 83.5)])
    assert "Missed: Too short." in text
    assert "| below 83.50, at most 30 minutes | no |" in text
    in_time, late = result("mnist_30_minutes", 83.4), result("mnist_30_minutes", 83.4)
    late["training"]["seconds"] = 1801
    assert "Missed" not in report.write(published, [in_time])
    assert "Missed" in report.write(published, [late])


def test_several_seeds():
    def scored(row, mig, factor_vae, seed):
        return result(row, seed=seed, disentanglement={"mig": {"value": mig}, "factor_vae": {"value": factor_vae}})

    factor = [scored("sprites_factor", mig, 0.75, seed) for seed, mig in enumerate((0.1, 0.2, 0.6))]
    vae = [scored("sprites_vae", 0.29, 0.8, 0)]
    cells = line("sprites_factor", factor[::-1] + vae)
    # The mean 0.3, and the deviation sqrt((0.2^2 + 0.1^2 + 0.3^2) / 2) = 0.2646 over sqrt(3)
    assert cells[2] == "0.300 +- 0.153" and cells[4] == "0.750 +- 0.000" and cells[-1] == "0, 1, 2"
    assert cells[6] == "no"  # better by MIG, not by the other score
    text = report.write(PUBLISHED, factor + vae)
    assert "MIG by seed: 0.100, 0.200, 0.600. FactorVAE score by seed: 0.750, 0.750, 0.750." in text
    assert text.count("by seed:") == 2  # not of the row of one seed
    assert line("sprites_vae", vae)[2] == "0.290"  # one seed: no error is known


def test_the_seeds_share_their_test_images():
    both = [result("mnist_30_minutes", 82.0), result("mnist_30_minutes", 82.4, seed=1)]
    both[1]["training"]["seconds"] = 1801
    cells = line("mnist_30_minutes", both)
    # sqrt(0.25^2 + 0.2^2) with 0.2 = 0.4 / sqrt(2) / sqrt(2); and the slower of the two is too slow
    assert cells[2] == "82.20 +- 0.32" and cells[4] == "no" and cells[9] == "30.0"
    assert "-log p(x) by seed: 82.00 +- 0.25, 82.40 +- 0.25." in report.write(PUBLISHED, both)


def test_results_of_unknown_rows_are_refused():
    with pytest.raises(ValueError, match=r"not in published\.toml: mnist_gone"):
        report.write(PUBLISHED, [result("mnist_gone")])


# A row


@pytest.fixture
def row(tmp_path, monkeypatch, capfd):
    """A function that makes a small row of digits, by the command line in this process, without pictures and export."""
    config = tmp_path / "tiny.toml"
    config.write_text(
        'data = "digits"\nlikelihood = "normal"\nlatent_dim = 2\nhidden = [16]\nepochs = 2\nbatch_size = 100\nsamples = 2\n'
    )

    def command_line(*arguments, capture=False):
        monkeypatch.setattr(sys, "argv", ["kvae", *map(str, arguments)])
        capfd.readouterr()
        try:
            kvae_cli.main()
        except SystemExit as end:
            if end.code:
                raise subprocess.CalledProcessError(end.code, arguments) from None
        return capfd.readouterr().out if capture else None

    def make(**arguments):
        return run.reproduce(
            "tiny",
            config,
            tmp_path / "run",
            tmp_path / "results",
            evaluate="--samples 7 --examples 9",
            command_line=command_line,
            **arguments,
        )

    monkeypatch.setattr(kvae_cli.exporting, "export_all", lambda kvae, vae, out: {
        "file": "none", "bytes": 0, "max_error": 0.0, "latency_ms": 0.0,
    })  # fmt: skip
    monkeypatch.setattr(kvae_cli.looking, "draw", lambda *arguments: [])
    make.config = config
    return make


def test_a_row_is_cut_and_goes_on(row, tmp_path, monkeypatch):
    def cut(*arguments):
        raise RuntimeError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(kvae_cli.looking, "draw", cut)
        with pytest.raises(subprocess.CalledProcessError):
            row(seed=3)
    assert not (tmp_path / "results").exists()
    path = row(seed=3)
    assert path == tmp_path / "results" / "tiny-seed3.json"
    figures = json.loads(path.read_text())
    test, training = figures["test"], figures["training"]
    assert (figures["row"], figures["seed"], figures["settings"]["seed"]) == ("tiny", 3, 3)
    assert (test["importance_samples"], test["likelihood_examples"]) == (7, 9)
    assert (training["epochs"], training["steps"]) == (2, 28)  # 1,350 rows in batches of 100, twice
    assert training["seconds"] > 0.1  # that of the leg that was cut, which took all the steps

    vae, x = keras.models.load_model(tmp_path / "run" / "model.keras"), kvae.data.load("digits").x_test
    bound = kvae.evaluation.log_likelihood(vae, x[:9], num_samples=7, seed=3)
    assert test["negative_log_likelihood"] == pytest.approx(-bound.mean(), abs=1e-3)  # rounded to 4 digits
    assert training["active_units"] == (vae.transform(x).var(axis=0) > 0.01).sum()
    assert training["parameters"] == vae.count_params()

    recipe = row.config.read_text()
    for other in (
        recipe.replace("epochs = 2", "epochs = 3"),
        recipe.replace("epochs = 2\n", "warmup = 1\nepochs = 2\n"),
    ):
        row.config.write_text(other)
        with pytest.raises(ValueError, match="made with other settings: (epochs|warmup)"):  # and not trained again
            row(seed=3)


def test_the_command_line_is_a_process_of_its_own():
    test = json.loads(
        run.command_line("evaluate", "digits_dense", "--samples", 2, "--examples", 5, "--json", capture=True)
    )
    assert test["importance_samples"] == 2 and np.isfinite(test["elbo"])
    with pytest.raises(subprocess.CalledProcessError):
        run.command_line("evaluate", "no_such_model")
