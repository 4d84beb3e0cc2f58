"""One row of the published tables, by its configuration: `kvae train`, `kvae evaluate`, and what came out as JSON.

Run `python benchmarks/reproduce/run.py mnist_30_minutes`, from the root of the repository; `--seed 1` for another seed.
A run that was killed goes on with the same command, from its last whole epoch. Then `benchmarks/reproduce/report.py`
writes `benchmarks/RESULTS.md`. MNIST is looked up as in `kvae.data.load`.
"""

import argparse
import json
import os
import pathlib
import platform
import shlex
import signal
import subprocess
import sys
import tomllib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from kvae_cli import common, training

HOME = pathlib.Path(__file__).parent


def command_line(*arguments, capture=False):
    """Runs `kvae *arguments`; with `capture` what it prints is returned instead of shown."""
    command = [sys.executable, "-m", "kvae_cli", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE if capture else None, text=True).stdout


def reproduce(row, config, run, results, seed, evaluate="", command_line=command_line):
    """Trains what is not trained yet, evaluates it, and writes the figures of the row.

    Args:
        row: name of the row.
        config: path of its settings.
        run: directory of the run, as of `kvae train --out`.
        results: folder in which `ROW-seedSEED.json` is written, whole or not at all.
        seed: int, in place of that of the settings.
        evaluate: further arguments of `kvae evaluate`.
        command_line: function that runs `kvae`, as `command_line` does.

    Returns:
        The path of the figures.

    Raises:
        ValueError: when there is a finished run that was made with other settings.
    """
    settings = tomllib.loads(config.read_text()) | {"seed": seed}
    if not run.exists():
        command_line("train", "--config", config, "--out", run, "--seed", seed, "--resume")
    made = tomllib.loads((run / "config.toml").read_text())
    if differing := training.differing(settings, made):
        raise ValueError(f"'{run}' was made with other settings: {', '.join(differing)}. Remove it to begin anew.")
    printed = command_line("evaluate", run, "--seed", seed, "--json", *shlex.split(evaluate), capture=True)
    metrics = json.loads((run / "metrics.json").read_text())
    figures = {
        "row": row,
        "seed": seed,
        "settings": made,
        "training": metrics["training"] | _of_model(run),
        "test": json.loads(printed),
        "machine": {"cores": _cores(), "system": platform.system(), "machine": platform.machine()},
        "versions": metrics["versions"],
    }
    path = results / f"{row}-seed{seed}.json"
    results.mkdir(parents=True, exist_ok=True)
    common.write(path, json.dumps(figures, indent=2) + "\n")
    return path


def _cores():
    """The cores that this process may use, fewer than there are if it is held to some of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _of_model(run):
    """What the trained model itself knows."""
    kvae, vae, loaded = common.load(str(run), None)
    latents = kvae.evaluation.latent_statistics(vae, common.test_data(kvae, vae, loaded))
    return {
        "steps": int(vae.optimizer.iterations.numpy()),
        "parameters": vae.count_params(),
        "active_units": latents.active_units,
        "latent_dim": vae.latent_dim,
    }


def main():
    published = tomllib.loads((HOME / "published.toml").read_text())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=published["rows"], metavar="ROW", help=", ".join(published["rows"]))
    parser.add_argument("--seed", type=int, help="in place of that of the configuration")
    parser.add_argument("--out", type=pathlib.Path, help="directory of the run; runs/reproduce/ROW-seedN by default")
    options = parser.parse_args()
    row, config = options.row, HOME / "configs" / f"{options.row}.toml"
    seed = tomllib.loads(config.read_text())["seed"] if options.seed is None else options.seed
    run = options.out or pathlib.Path("runs", "reproduce", f"{row}-seed{seed}")
    evaluate = published["groups"][published["rows"][row]["group"]]["evaluate"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the training does not go on without this
    try:
        print(f"wrote {reproduce(row, config, run, HOME / 'results', seed, evaluate)}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
