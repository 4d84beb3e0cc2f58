"""`kvae train`: from data to a run directory with everything in it."""

import contextlib
import csv
import inspect
import json
import pathlib
import shutil
import sys
import time
from typing import Annotated

import typer

from kvae_cli import common, evaluating, exporting, looking, reports
from kvae_cli.common import Config, Examples, Overwrite, Samples, Seed


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
    common.check_free(out, overwrite)
    if network not in ("dense", "conv"):
        raise typer.BadParameter(f"--network must be dense or conv, not '{network}'.")
    if not learning_rate > 0:
        raise typer.BadParameter("--learning-rate must be larger than zero.")

    start = time.perf_counter()
    kvae = common.import_kvae()
    import keras

    loaded = common.usage(kvae.data.load, data)
    keras.utils.set_random_seed(seed)
    rows = len(loaded.x_train) - max(1, len(loaded.x_train) // 10)
    num_classes = common.usage(_num_classes, loaded, condition)
    vae = common.usage(_build, kvae, loaded.x_train.shape[1:], rows, num_classes, settings)
    binarized = isinstance(vae.likelihood, kvae.likelihoods.Bernoulli)
    if binarized:
        common.usage(kvae.data.binarize, loaded.x_train[:1])
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
    test = common.test_data(kvae, vae, loaded)
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
        report["test"] = evaluating.figures(kvae, vae, test, samples, examples, seed)
        _write_history(history, aside / "history.csv")
        list(looking.draw(kvae, vae, test, loaded.y_test, aside, history))
        report["decoder"] = exporting.export_all(kvae, vae, aside / "export")
        report["versions"] = reports.versions()
        (aside / "metrics.json").write_text(json.dumps(report, indent=2) + "\n")
        (aside / "config.toml").write_text(_toml(settings | {"epochs": epochs}))
        (aside / "README.md").write_text(reports.card(vae, settings, report))
        if out.exists():
            shutil.rmtree(out)
        aside.rename(out)
    except BaseException:
        if not (aside / "model.keras").exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            print(f"kvae: the best model so far is {aside / 'model.keras'}", file=sys.stderr)
        raise
    reports.print_report(report)
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


def _write_history(history, path):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        writer.writerows([epoch, *row] for epoch, row in enumerate(zip(*history.values(), strict=True), start=1))


def _toml(settings):
    # A JSON string, number or boolean is one of TOML too; TOML has no null, so what is unset is left out.
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items() if value is not None)
