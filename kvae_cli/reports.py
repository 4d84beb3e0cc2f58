"""What a run tells of itself: its figures in words, and its card."""

import json
import pathlib
import platform
import shlex
import sys
from importlib import metadata


def report_rows(report):
    """(name, figure in words) of what a report holds."""
    rows = []
    if "training" in report:
        rows.append(("training", f"{report['training']['seconds']:.0f} s, {report['training']['epochs']} epochs"))
    test = report["test"]
    rows += [
        ("ELBO", f"{test['elbo']:.2f} nats, {test['num_examples']:,} test examples"),
        ("reconstruction", f"{test['reconstruction']:.2f} nats"),
        ("KL", f"{test['kl']:.2f} nats"),
        (
            "-log p(x)",
            f"{test['negative_log_likelihood']:.2f} +- {test['standard_error']:.2f} nats, {test['importance_samples']:,} "
            f"importance samples, {test['likelihood_examples']:,} test examples",
        ),
    ]
    if "decoder" in report:
        decoder = report["decoder"]
        rows += [
            ("decoder", f"{decoder['file']}, {decoder['bytes'] / 1000:,.0f} kB"),
            ("parity error", f"{decoder['max_error']:.1e} against Keras"),
            ("latency", f"{decoder['latency_ms']:.3f} ms an image, one thread"),
        ]
    return rows


def print_report(report):
    for name, value in report_rows(report):
        print(f"{name:>16}  {value}")


def card(vae, settings, report):
    """The card of a run: what made it, what it reaches, how to use it."""
    parts = ", ".join(type(each).__name__ for each in (vae.likelihood, vae.posterior, vae.prior, vae.objective))
    figures = "\n".join(f"| {name} | {value} |" for name, value in report_rows(report))
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return f"""# {pathlib.Path(settings["data"]).stem}, {settings["network"]} networks

A variational autoencoder with {vae.latent_dim} latent dimensions and {vae.count_params():,} parameters ({parts}), made by

    kvae {shlex.join(sys.argv[1:])}

with seed {settings["seed"]} and {versions} on {platform.system()} {platform.machine()}. The figures below are in
`metrics.json`, each epoch in `history.csv`, and all settings in `config.toml`, with which `kvae train --config` repeats
the run:

```toml
{toml(settings)}```

| | |
|---|---|
{figures}

Samples from the prior, the means of p(x|z):

![samples](samples.png)

Use it with `kvae.pretrained.load(...)` on this folder, or without kvae: `export/` is a bundle of its decoder, with a card of
its own that tells which file is for what, and what was left out and why.
"""


def toml(settings):
    # A JSON string, number, boolean or list of them is one of TOML too, but for characters escaped in two halves; TOML
    # has no null: what is unset is left out.
    given = {name: value for name, value in settings.items() if value is not None}
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in given.items())


def versions():
    packages = ("kvae", "tensorflow", "keras", "tensorflow-probability", "numpy", "ai-edge-litert")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
