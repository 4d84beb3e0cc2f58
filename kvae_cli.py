"""The `kvae` command. It stands outside the package, so that `kvae --help` answers without importing TensorFlow."""

import contextlib
import csv
import functools
import inspect
import json
import os
import pathlib
import platform
import shlex
import shutil
import sys
import time
import tomllib
from importlib import metadata
from typing import Annotated

import typer

app = typer.Typer(
    help="Variational autoencoders: train, evaluate, look, sample, and ship the decoder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main():
    """Runs the command; whatever goes wrong ends in one line and exit code 1, wrong usage in exit code 2."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        _fail("Interrupted.", 130)
    except Exception as error:
        if os.environ.get("KVAE_DEBUG"):
            raise
        _fail(str(error) or type(error).__name__, 1)


def _fail(message, code):
    print(f"kvae: {message}", file=sys.stderr)
    raise SystemExit(code)


def _import_kvae():
    """Imports the package with the notes that TensorFlow's libraries write below Python left out."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    original = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import kvae
    finally:
        os.dup2(original, 2)
        os.close(original)
    return kvae


# Arguments that several commands share


def _read_config(context: typer.Context, path: pathlib.Path | None):
    if path is not None:
        try:
            config = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise typer.BadParameter(f"cannot read '{path}': {error}") from None
        known = {parameter.name for parameter in context.command.params} - {"config"}
        if unknown := sorted(set(config) - known):
            raise typer.BadParameter(
                f"unknown settings in '{path}': {', '.join(unknown)}. Known: {', '.join(sorted(known))}"
            )
        context.default_map = config
    return path


Config = Annotated[
    pathlib.Path | None,
    typer.Option(
        callback=_read_config, is_eager=True, help="TOML file of these options; the command line goes before it."
    ),
]
Model = Annotated[str, typer.Argument(help="A run directory, a .keras file, or the name of a shipped model.")]
Seed = Annotated[int, typer.Option(help="Fixes everything random.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Samples = Annotated[int, typer.Option(min=1, help="Importance samples for each test example.")]
Examples = Annotated[int, typer.Option(min=1, help="How many test examples the importance-weighted likelihood takes.")]


def _check_free(path, overwrite):
    if path.exists() and not overwrite:
        raise typer.BadParameter(f"'{path}' is there already. Choose another name, or add --overwrite.")


def _usage(function, *arguments):
    """`function(*arguments)`, whose complaints are about what was typed."""
    try:
        return function(*arguments)
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise typer.BadParameter(str(error)) from None


@app.command()
def train(
    data: Annotated[
        str | None,
        typer.Argument(help="digits, mnist, fashion_mnist, or the path of .npz, .npy, .csv or a folder of images."),
    ] = None,
    out: Annotated[pathlib.Path | None, typer.Option(help="Directory of the run; runs/DATA by default.")] = None,
    network: Annotated[str, typer.Option(help="dense or conv.")] = "dense",
    latent_dim: Annotated[int, typer.Option(min=1, help="Latent dimensions.")] = 16,
    likelihood: Annotated[
        str,
        typer.Option(
            help="p(x|z); auto is bernoulli for grey images, drawn anew in each epoch, and normal for the rest."
        ),
    ] = "auto",
    posterior: Annotated[str, typer.Option(help="q(z|x).")] = "diagonal_normal",
    prior: Annotated[str, typer.Option(help="p(z).")] = "standard_normal",
    objective: Annotated[str, typer.Option(help="What training minimises: elbo, iwae, ...")] = "elbo",
    beta: Annotated[float | None, typer.Option(min=0, help="Weight of the KL, for objectives that have one.")] = None,
    condition: Annotated[str | None, typer.Option(help="label: learn p(x|label), from data that has labels.")] = None,
    warmup: Annotated[int, typer.Option(min=0, help="Epochs over which beta rises from 0.")] = 0,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="At most; by default what makes 20,000 steps, 20 to 200.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    learning_rate: Annotated[float, typer.Option(help="Of Adam; falls to zero along a cosine.")] = 1e-3,
    samples: Samples = 1000,
    examples: Examples = 1000,
    seed: Seed = 0,
    config: Config = None,
    overwrite: Overwrite = False,
):
    """Train a VAE; evaluate it, draw its pictures and export its decoder, verified.

    A tenth of the training data is held out to keep the best epoch. Ctrl-C ends the training early with the best model
    so far, which is then evaluated and exported all the same; a second Ctrl-C ends at once.
    """
    settings = {name: value for name, value in locals().items() if name not in ("out", "config", "overwrite")}
    if data is None:
        raise typer.BadParameter("name the data, for instance: kvae train digits")
    out = out or pathlib.Path("runs") / pathlib.Path(data).stem
    _check_free(out, overwrite)
    if network not in ("dense", "conv"):
        raise typer.BadParameter(f"--network must be dense or conv, not '{network}'.")
    if not learning_rate > 0:
        raise typer.BadParameter("--learning-rate must be larger than zero.")

    start = time.perf_counter()
    kvae = _import_kvae()
    import keras

    loaded = _usage(kvae.data.load, data)
    keras.utils.set_random_seed(seed)
    rows = len(loaded.x_train) - max(1, len(loaded.x_train) // 10)
    num_classes = _usage(_num_classes, loaded, condition)
    vae = _usage(_build, kvae, loaded.x_train.shape[1:], rows, num_classes, settings)
    binarized = isinstance(vae.likelihood, kvae.likelihoods.Bernoulli)
    if binarized:
        _usage(kvae.data.binarize, loaded.x_train[:1])
    labels = loaded.y_train if condition else None
    x, x_held_out = loaded.x_train[:rows], loaded.x_train[rows:]
    steps = -(-rows // batch_size)
    epochs = epochs or min(200, max(20, 20_000 // steps))
    if binarized:
        x_held_out = kvae.data.binarize(x_held_out, seed=777)
        x = kvae.data.dynamic_binarization(
            x, batch_size=batch_size, seed=seed, condition=None if labels is None else labels[:rows]
        )
    elif labels is not None:
        x = (x, labels[:rows])
    test = _test_data(kvae, vae, loaded)
    held_out = x_held_out if labels is None else (x_held_out, labels[rows:])
    vae.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps)))

    # Everything is made in a directory aside, so that a run that fails leaves the one that was there as it was.
    aside = out.with_name(out.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    print(f"{data}: {rows:,} examples for training, {len(x_held_out):,} held out, {len(loaded.x_test):,} for test")
    print(f"{vae.count_params():,} parameters, at most {epochs} epochs of {steps} steps")
    try:
        history, seconds = _fit(kvae, vae, x, held_out, aside / "model.keras", settings | {"epochs": epochs}, start)
        vae = keras.models.load_model(aside / "model.keras")
        report = {"training": {"seconds": round(seconds, 1), "epochs": len(history["loss"])}}
        report["test"] = _evaluate(kvae, vae, test, samples, examples, seed)
        _write_history(history, aside / "history.csv")
        list(_draw(kvae, vae, test, loaded.y_test, aside, history))
        report["decoder"] = _export(kvae, vae, aside / "export")
        report["versions"] = _versions()
        (aside / "metrics.json").write_text(json.dumps(report, indent=2) + "\n")
        (aside / "config.toml").write_text(_toml(settings | {"epochs": epochs}))
        (aside / "README.md").write_text(_card(vae, settings, report))
        if out.exists():
            shutil.rmtree(out)
        aside.rename(out)
    except BaseException:
        if not (aside / "model.keras").exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            print(f"kvae: the best model so far is {aside / 'model.keras'}", file=sys.stderr)
        raise
    _print_report(report)
    print(f"wrote {out}/")
    for path in sorted(out.rglob("*")):
        if path.is_file() and "variables" not in path.parts and path.parent.name != "saved_model":
            print(f"  {path.relative_to(out)}")
    print("  export/saved_model/")


def _num_classes(loaded, condition):
    if condition is None:
        return None
    if condition != "label":
        raise ValueError(f"--condition must be label, not '{condition}'.")
    if loaded.y_train is None or loaded.y_test is None:
        raise ValueError("--condition label needs data with labels, y_train and y_test.")
    return int(max(loaded.y_train.max(), loaded.y_test.max())) + 1


def _build(kvae, data_shape, rows, num_classes, settings):
    """The VAE of a run."""
    likelihood = settings["likelihood"]
    if likelihood == "auto":
        likelihood = "bernoulli" if settings["data"] in ("mnist", "fashion_mnist") else "normal"
    objective = _objective(kvae, settings["objective"], settings["beta"], rows)
    if settings["warmup"] and not hasattr(objective, "beta"):
        raise ValueError(f"--warmup needs an objective with a beta, which {settings['objective']} does not have.")
    likelihood, posterior = kvae.likelihoods.get(likelihood), kvae.posteriors.get(settings["posterior"])
    latent_dim, network = settings["latent_dim"], settings["network"]
    encoder = getattr(kvae.networks, f"{network}_encoder")(
        data_shape, latent_dim, params_size=posterior.params_size(latent_dim), num_classes=num_classes
    )
    decoder = getattr(kvae.networks, f"{network}_decoder")(
        latent_dim, data_shape, num_params=likelihood.num_params, num_classes=num_classes
    )
    return kvae.VAE(encoder, decoder, likelihood, posterior, settings["prior"], objective, seed=settings["seed"])


def _objective(kvae, name, beta, rows):
    """The objective of a name, with what the command line knows of its arguments."""
    classes = {kvae.parts.snake_case(each): getattr(kvae.objectives, each) for each in dir(kvae.objectives)}
    if not inspect.isclass(classes.get(name)):
        return kvae.objectives.get(name)  # which says the names there are
    takes, arguments = inspect.signature(classes[name]).parameters, {}
    if "dataset_size" in takes:
        arguments["dataset_size"] = rows
    if beta is not None:
        if "beta" not in takes:
            raise ValueError(f"--beta needs an objective that takes one, which {name} does not.")
        arguments["beta"] = beta
    return kvae.objectives.get(classes[name](**arguments))


def _fit(kvae, vae, x, held_out, path, settings, start):
    """(history, seconds of training); the best model is at `path`, also when Ctrl-C ended the training."""
    import keras

    epochs = settings["epochs"]
    callbacks = [
        keras.callbacks.ModelCheckpoint(path, monitor="val_elbo", mode="max", save_best_only=True),
        keras.callbacks.EarlyStopping(
            "val_elbo", mode="max", patience=max(10, epochs // 10), start_from_epoch=settings["warmup"]
        ),
    ]
    if settings["warmup"]:
        callbacks.append(kvae.callbacks.BetaWarmup(settings["warmup"]))
    history = keras.callbacks.History()
    with _progress(keras, epochs, start) as progress:
        began = time.perf_counter()
        try:
            vae.fit(
                x,
                epochs=epochs,
                batch_size=None if hasattr(x, "element_spec") else settings["batch_size"],
                validation_data=(held_out,),
                validation_batch_size=None,
                callbacks=[*callbacks, history, progress],
                verbose=0,
            )
        except KeyboardInterrupt:
            if not path.exists():
                raise
            print("\nStopped. Finishing with the best model so far; Ctrl-C again ends at once.")
        return history.history, time.perf_counter() - began


@contextlib.contextmanager
def _progress(keras, epochs, start):
    """A Keras callback that shows one bar for the whole training; without a terminal, ten lines."""
    from rich import progress

    columns = (
        progress.TextColumn("training"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[note]}"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, disable=not sys.stdout.isatty()) as bar:
        task = bar.add_task("", total=epochs, note="compiling")

        class Progress(keras.callbacks.Callback):
            watches_batches = False

            def on_train_batch_end(self, batch, logs=None):
                if start is not None and not hasattr(self, "said"):
                    self.said = True
                    bar.console.print(f"first step after {time.perf_counter() - start:.1f} s")

            def on_epoch_end(self, epoch, logs=None):
                note = f"ELBO {logs['elbo']:.2f}, held out {logs['val_elbo']:.2f}"
                bar.update(task, advance=1, note=note)
                if bar.disable and (epoch + 1) % max(1, epochs // 10) == 0:
                    print(f"epoch {epoch + 1}/{epochs}: {note}", flush=True)

        yield Progress()


@app.command()
def evaluate(
    model: Model,
    data: Annotated[str | None, typer.Option(help="As for train; by default what the model was trained on.")] = None,
    samples: Samples = 1000,
    examples: Examples = 1000,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
):
    """Print the ELBO and the importance-weighted likelihood of a model on test data, in nats."""
    kvae, vae, loaded = _load(model, data)
    report = _evaluate(kvae, vae, _test_data(kvae, vae, loaded), samples, examples, seed)
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print_report({"test": report})


@app.command()
def sample(
    model: Model,
    out: Annotated[pathlib.Path, typer.Option(help="A .png for a picture, or a .npy for the array.")] = pathlib.Path(
        "samples.png"
    ),
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many.")] = 64,
    condition: Annotated[float | None, typer.Option(help="For a model conditioned on labels: which.")] = None,
    draw: Annotated[bool, typer.Option("--draw", help="Draw x ~ p(x|z) rather than giving its mean.")] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
):
    """Draw samples from a model, as a picture or an array."""
    if out.suffix not in (".png", ".npy"):
        raise typer.BadParameter(f"--out must end in .png or .npy, not '{out}'.")
    _check_free(out, overwrite)
    kvae, vae, _ = _load(model, "")
    import numpy as np

    drawn = _usage(functools.partial(vae.sample, number, mean=not draw, seed=seed, condition=condition))
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npy":
        np.save(out, drawn)
    else:
        kvae.plots.grid(drawn).savefig(out)
    print(f"wrote {out}")


@app.command()
def plot(
    model: Model,
    out: Annotated[
        pathlib.Path | None, typer.Option(help="Directory of the pictures; by default the model's own.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="As for train; by default what the model was trained on.")] = None,
):
    """Draw the pictures of a model anew: reconstructions, samples, traversals, latent space, curves."""
    kvae, vae, loaded = _load(model, data)
    home = pathlib.Path(model) if pathlib.Path(model).is_dir() else pathlib.Path(model).parent
    out = out or home
    out.mkdir(parents=True, exist_ok=True)
    history = home / "history.csv"
    test = _test_data(kvae, vae, loaded)
    for path in _draw(kvae, vae, test, loaded.y_test, out, history if history.is_file() else None):
        print(f"wrote {path}")


@app.command()
def export(
    model: Model,
    out: Annotated[pathlib.Path, typer.Argument(help="A name that ends in .tflite, or a folder for a SavedModel.")],
    overwrite: Overwrite = False,
):
    """Export a decoder as TFLite (by the name's ending) or SavedModel, run it and compare it with the model."""
    _check_free(out, overwrite)
    if out.suffix not in (".tflite", ""):
        raise typer.BadParameter(f"OUT must end in .tflite, or be the name of a folder. Received: '{out}'.")
    kvae, vae, _ = _load(model, "")
    export_to = kvae.export.tflite if out.suffix else kvae.export.saved_model
    print(export_to(vae, out, overwrite=overwrite))


# What the commands are made of


def _load(model, data):
    """(kvae, the model, its data); `data` None means what the run was trained on, and "" that none is needed."""
    kvae = _import_kvae()
    vae = _usage(kvae.pretrained.load, model)
    if data is None:
        homes = [pathlib.Path(model), pathlib.Path(model).parent, kvae.pretrained.HOME / model]
        configs = [home / "config.toml" for home in homes if (home / "config.toml").is_file()]
        if not configs:
            raise typer.BadParameter(f"there is no config.toml beside '{model}' that names its data: add --data.")
        data = tomllib.loads(configs[0].read_text(encoding="utf-8"))["data"]
    return kvae, vae, _usage(kvae.data.load, data) if data else None


def _test_data(kvae, vae, loaded):
    """The test set as the model takes it: binarised for a Bernoulli likelihood, with labels for a conditional model."""
    binarized = isinstance(vae.likelihood, kvae.likelihoods.Bernoulli)
    x_test = kvae.data.binarize(loaded.x_test, seed=777) if binarized else loaded.x_test
    if vae.condition_shape is None:
        return x_test
    if loaded.y_test is None:
        raise typer.BadParameter("the model is conditional, and this data has no labels y_test.")
    return x_test, loaded.y_test


def _rows(test, rows):
    return tuple(each[rows] for each in test) if isinstance(test, tuple) else test[rows]


def _evaluate(kvae, vae, test, samples, examples, seed):
    report = vae.evaluate(test, batch_size=256, return_dict=True, verbose=0)
    values = kvae.evaluation.log_likelihood(vae, _rows(test, slice(examples)), num_samples=samples, seed=seed)
    likelihood = kvae.evaluation.estimate(values)
    return {
        **{name: round(report[name], 4) for name in ("elbo", "reconstruction", "kl")},
        "num_examples": len(test[0] if isinstance(test, tuple) else test),
        "negative_log_likelihood": round(-likelihood.mean, 4),
        "standard_error": round(likelihood.standard_error, 4),
        "importance_samples": samples,
        "likelihood_examples": likelihood.num_examples,
    }


def _write_history(history, path):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        writer.writerows([epoch, *row] for epoch, row in enumerate(zip(*history.values(), strict=True), start=1))


def _draw(kvae, vae, test, y_test, out, history):
    """Draws and writes the pictures, giving the path of each."""
    plots, conditional = kvae.plots, vae.condition_shape is not None
    classes = None if not conditional else [number % (int(max(y_test)) + 1) for number in range(64)]
    figures = {
        "reconstructions": plots.reconstructions(vae, test),
        "samples": plots.samples(vae, seed=0, condition=classes),
        "interpolations": plots.interpolations(vae, _rows(test, slice(6)), _rows(test, slice(None, -7, -1))),
        "traversals": plots.traversals(vae, _rows(test, slice(1000))),
    }
    if vae.latent_dim >= 2:
        labels = None if y_test is None else y_test[:5000]
        figures["latent"] = plots.latent_scatter(vae, _rows(test, slice(5000)), labels)
    if vae.latent_dim == 2 and not conditional:
        figures["manifold"] = plots.manifold(vae)
    if history is not None:
        figures["curves"] = plots.curves(history)
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png", dpi=120)
        yield out / f"{name}.png"


def _export(kvae, vae, out):
    kvae.export.saved_model(vae, out / "saved_model")
    report = kvae.export.tflite(vae, out / "decoder.tflite")
    return {
        "file": "export/decoder.tflite",
        "bytes": report.num_bytes,
        "max_error": report.max_error,
        "latency_ms": round(report.latency_ms, 4),
    }


def _report_rows(report):
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


def _print_report(report):
    for name, value in _report_rows(report):
        print(f"{name:>16}  {value}")


def _card(vae, settings, report):
    """The card of a run: what made it, what it reaches, how to use it."""
    parts = ", ".join(type(each).__name__ for each in (vae.likelihood, vae.posterior, vae.prior, vae.objective))
    figures = "\n".join(f"| {name} | {value} |" for name, value in _report_rows(report))
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return f"""# {pathlib.Path(settings["data"]).stem}, {settings["network"]} networks

A variational autoencoder with {vae.latent_dim} latent dimensions and {vae.count_params():,} parameters ({parts}), made by

    kvae {shlex.join(sys.argv[1:])}

with seed {settings["seed"]} and {versions} on {platform.system()} {platform.machine()}. All settings are in `config.toml`,
the figures below in `metrics.json`, each epoch in `history.csv`.

| | |
|---|---|
{figures}

Samples from the prior, the means of p(x|z):

![samples](samples.png)

Use it with `kvae.pretrained.load(...)` on this folder, or without kvae: `model.keras` by Keras (after `import kvae`),
`export/saved_model` by TensorFlow, `export/decoder.tflite` by any TFLite runtime (signature `decode`, input `z`).
"""


def _versions():
    packages = ("kvae", "tensorflow", "keras", "tensorflow-probability", "numpy", "ai-edge-litert")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def _toml(settings):
    # A JSON string, number or boolean is one of TOML too; TOML has no null, so what is unset is left out.
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items() if value is not None)


if __name__ == "__main__":
    main()
