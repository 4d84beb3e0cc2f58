"""`kvae train`: from data to a run directory with everything in it."""

import contextlib
import csv
import functools
import inspect
import json
import pathlib
import shutil
import sys
import time
import tomllib
from typing import Annotated

import typer

from kvae_cli import common, devices, evaluating, exporting, looking, recipes, reports
from kvae_cli.common import Config, Examples, Overwrite, Samples, Seed
from kvae_cli.examples import in_memory, is_large, streamed


def train(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(
            help="digits, mnist, fashion_mnist, sprites, dsprites, or the path of .npz, .npy, .csv, .parquet, .tfrecord, or "
            "a folder of images or of such files."
        ),
    ] = None,
    out: Annotated[pathlib.Path | None, typer.Option(help="Directory of the run; runs/DATA by default.")] = None,
    network: Annotated[str, typer.Option(help="dense or conv.")] = "dense",
    hidden: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Width of a hidden layer, or channels of a convolution; once for each, in order."),
    ] = None,
    activation: Annotated[
        str, typer.Option(help="Of the hidden layers: relu, tanh, ...; glu for gated ones.")
    ] = "relu",
    residual_blocks: Annotated[
        int, typer.Option(min=0, help="How many residual blocks follow each convolution, for --network conv.")
    ] = 0,
    output_bias: Annotated[
        bool, typer.Option("--output-bias/--zero-bias", help="Start the decoder at the mean of the data.")
    ] = False,
    latent_dim: Annotated[int, typer.Option(min=1, help="Latent dimensions.")] = 16,
    likelihood: Annotated[
        str,
        typer.Option(
            help="p(x|z); auto is bernoulli for mnist, fashion_mnist, sprites and dsprites, binarised anew in each epoch, "
            "and normal for the rest."
        ),
    ] = "auto",
    posterior: Annotated[str, typer.Option(help="q(z|x).")] = "diagonal_normal",
    prior: Annotated[
        str,
        typer.Option(
            help="p(z). Any part may have arguments: vamp_prior:num_components=500, flow:kind=maf,hidden=[64,64]."
        ),
    ] = "standard_normal",
    objective: Annotated[str, typer.Option(help="What training minimises: elbo, iwae:num_samples=5, ...")] = "elbo",
    beta: Annotated[float | None, typer.Option(min=0, help="Weight of the KL, for objectives that have one.")] = None,
    condition: Annotated[str | None, typer.Option(help="label: learn p(x|label), from data that has labels.")] = None,
    warmup: Annotated[int, typer.Option(min=0, help="Epochs over which beta rises from 0.")] = 0,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="At most; by default what makes 20,000 steps, 20 to 200.")
    ] = None,
    steps_per_epoch: Annotated[
        int | None, typer.Option(min=1, help="Cuts a long round through the data into epochs of that many steps.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 1e-3,
    schedule: Annotated[
        str, typer.Option(help="Of the learning rate: cosine, which falls to zero at the last epoch, or constant.")
    ] = "cosine",
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs without a better one that end the training; a tenth of all, at least 10."),
    ] = None,
    held_out: Annotated[
        int | None, typer.Option(min=1, help="Last rows of the training data, held out; by default a tenth.")
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option("--stream/--in-memory", help="Read files while training; by default where they are large."),
    ] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Height and width of streamed images.")] = None,
    skip_errors: Annotated[
        bool, typer.Option("--skip-errors", help="Leave out what cannot be read of a stream.")
    ] = False,
    samples: Samples = 1000,
    examples: Examples = 1000,
    seed: Seed = 0,
    config: Config = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was killed, as if it had not been; else begin it.")
    ] = False,
    overwrite: Overwrite = False,
):
    """Train a VAE; evaluate it, draw its pictures and export its decoder, verified.

    Some of the training data is held out to keep the best epoch. Ctrl-C ends the training early with the best model
    so far, which is then evaluated and exported all the same; a second Ctrl-C ends at once. With the same command and
    --resume a run that was killed goes on from its last whole epoch.
    """
    settings = {name: value for name, value in locals().items() if name not in _NOT_OF_THE_RUN}
    if data is None:
        raise typer.BadParameter("name the data, for instance: kvae train digits")
    out = out or pathlib.Path("runs") / pathlib.Path(data).stem
    _check_place(out, overwrite)
    settings["stream"] = is_large(data) if stream is None else stream
    settings["hidden"] = hidden or None
    for name, known in recipes.CHOICES.items():
        if settings[name] not in known:
            raise typer.BadParameter(f"--{name} must be {' or '.join(known)}, not '{settings[name]}'.")
    if not learning_rate > 0:
        raise typer.BadParameter("--learning-rate must be larger than zero.")

    start = time.perf_counter()
    kvae = common.import_kvae()
    import keras

    # Everything is made in a directory aside, so that a run that fails leaves the one that was there as it was.
    aside = out.with_name(out.name + ".part")
    keras.utils.set_random_seed(seed)
    strategy = common.usage(devices.strategy, kvae)
    chief = kvae.replicas.is_chief(strategy)
    with strategy.scope():
        vae, given = _prepare(kvae, settings)
    steps = steps_per_epoch or given.steps
    settings["epochs"] = epochs or min(200, max(20, 20_000 // steps))
    if warmup > settings["epochs"]:
        raise typer.BadParameter(
            f"--warmup {warmup} must not be longer than the training of {settings['epochs']} epochs."
        )
    with strategy.scope():
        vae.compile(recipes.optimizer(settings, steps))
    if not chief:  # the first worker writes
        devices.meet(strategy)
        _fit(kvae, vae, given, aside / "state", settings, start)
        return devices.meet(strategy)
    if resume and (aside / "config.toml").exists():
        _check_same(settings, tomllib.loads((aside / "config.toml").read_text(encoding="utf-8")), aside)
    elif (aside / "config.toml").exists() and not overwrite:
        raise typer.BadParameter(
            f"'{aside}' holds a run that was not finished. Go on with it by --resume, or begin anew by --overwrite."
        )
    else:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        common.write(aside / "config.toml", reports.toml(settings))
    print(f"{data}: {given.counts}")
    print(f"{vae.count_params():,} parameters, at most {settings['epochs']} epochs of {steps} steps")
    try:
        devices.meet(strategy)
        beta = warmup and float(vae.objective.beta.numpy())
        checkpoint, seconds = _fit(kvae, vae, given, aside / "state", settings, start)
        devices.meet(strategy)
        _tell_skipped(given)
        checkpoint.restore_best()
        if warmup:  # the best epoch may be one on the way
            vae.objective.beta.assign(beta)
        vae.save(aside / "model.keras")
        if strategy.num_replicas_in_sync > 1:
            vae = keras.models.load_model(aside / "model.keras")  # one without the others
        history = {name: [logs[name] for logs in checkpoint.logs] for name in checkpoint.logs[0]}
        report = {"training": {"seconds": round(seconds, 1), "epochs": len(checkpoint.logs)}}
        report["test"] = evaluating.figures(kvae, vae, given.test, samples, examples, seed)
        _write_history(history, aside / "history.csv")
        list(looking.draw(kvae, vae, given.test, given.y_test, aside, history))
        report["decoder"] = exporting.export_all(kvae, vae, aside / "export")
        report["versions"] = reports.versions()
        (aside / "metrics.json").write_text(json.dumps(report, indent=2) + "\n")
        (aside / "README.md").write_text(reports.card(vae, settings, report), encoding="utf-8")
        _put(aside, out)
    except BaseException:
        if (aside / "model.keras").exists():
            print(f"kvae: the best model so far is {aside / 'model.keras'}", file=sys.stderr)
        if kvae.callbacks.Checkpoint.latest(aside / "state"):
            print("kvae: the same command with --resume goes on from the last whole epoch.", file=sys.stderr)
        elif not (aside / "model.keras").exists():
            shutil.rmtree(aside, ignore_errors=True)
        raise
    reports.print_report(report)
    print(f"wrote {out}/")
    for path in sorted(out.iterdir()):
        print(f"  {path.name}{'/' if path.is_dir() else ''}")


def _put(aside, out):
    """Puts a run in its place. Killed at any moment, no half of the one before, which goes with its state, is left there."""
    if out.exists():
        out.rename(aside / "state" / "before")
    aside.rename(out)
    shutil.rmtree(out / "state")


# Arguments that say how a command goes about it, not what the run is.
_NOT_OF_THE_RUN = ("context", "out", "config", "overwrite", "resume")
# Settings of which a run keeps what it made of "not given".
_DECIDED_BY_THE_RUN = ("epochs", "stream")


def _check_place(out, overwrite):
    """Refuses to put a run where something is that is none."""
    if out.name in ("", ".."):
        raise typer.BadParameter(f"--out must end in the name of a directory, not be '{out}'.")
    common.check_free(out, overwrite)
    if out.exists() and not (out.is_dir() and ((out / "config.toml").exists() or not any(out.iterdir()))):
        raise typer.BadParameter(
            f"'{out}' is no run: it holds no config.toml. --overwrite would delete what is there, so it was left alone. "
            "Choose another name, or remove it yourself."
        )


def _prepare(kvae, settings):
    """(the VAE, its examples)."""
    if settings["stream"]:
        if settings["condition"]:
            raise typer.BadParameter("--condition needs data in memory: streams have no labels.")
        if settings["held_out"]:
            raise typer.BadParameter("--held-out is for data in memory: of streams a tenth is held out.")
        source = common.usage(common.open_stream, kvae, settings)
        batches = common.usage(common.stream, kvae, None, source, settings, "train")
        start = functools.cache(lambda: common.first_rows(batches, settings))
        vae = common.usage(recipes.build, kvae, source.shape, batches.feed.rows, None, settings, start)
        return vae, common.usage(streamed, kvae, vae, source, settings)
    if settings["image_size"] or settings["skip_errors"]:
        raise typer.BadParameter("--image-size and --skip-errors are for streams: add --stream.")
    loaded = common.usage(kvae.data.load, settings["data"])
    held_out = settings["held_out"] or max(1, len(loaded.x_train) // 10)
    rows = len(loaded.x_train) - held_out
    if rows < 1:
        raise typer.BadParameter(
            f"--held-out must leave rows to train on: {held_out:,} of {len(loaded.x_train):,} are too many."
        )
    num_classes = common.usage(_num_classes, loaded, settings["condition"])
    x = loaded.x_train[:rows]
    vae = common.usage(recipes.build, kvae, x.shape[1:], rows, num_classes, settings, lambda: x)
    return vae, common.usage(in_memory, kvae, vae, loaded, rows, settings)


def _tell_skipped(given):
    """How many examples of a stream could not be read."""
    feeds = [data.feed for data in (given.train, given.held_out) if hasattr(data, "feed")]
    skipped = {name: reason for feed in feeds for name, reason in getattr(feed, "skipped", {}).items()}
    if skipped:
        name, reason = next(iter(skipped.items()))
        print(
            f"kvae: examples left out because they cannot be read: {len(skipped)}, first {name}: {reason}",
            file=sys.stderr,
        )


def differing(settings, made):
    """The settings in which a run that was made is not as asked: dict of names to (made, asked); None is the default."""
    defaults = {name: each.default for name, each in inspect.signature(train).parameters.items()}
    made, asked = {**defaults, **made}, {**defaults, **settings}  # it may be older than some of them
    decided = [name for name in _DECIDED_BY_THE_RUN if asked[name] is None]
    return {
        name: (made[name], asked[name]) for name in sorted(asked) if made[name] != asked[name] and name not in decided
    }


def _check_same(settings, before, aside):
    if found := differing(tomllib.loads(reports.toml(settings)), before):
        listed = ", ".join(f"{name} {made} is now {asked}" for name, (made, asked) in found.items())
        raise typer.BadParameter(
            f"the run in '{aside}' was begun with other settings: {listed}. Give the same, or begin anew by --overwrite "
            "in place of --resume."
        )


def _num_classes(loaded, condition):
    if condition is None:
        return None
    if condition != "label":
        raise ValueError(f"--condition must be label, not '{condition}'.")
    if loaded.y_train is None or loaded.y_test is None:
        raise ValueError("--condition label needs data with labels, y_train and y_test.")
    return int(max(loaded.y_train.max(), loaded.y_test.max())) + 1


def _fit(kvae, vae, given, folder, settings, start):
    """(the checkpoint, which knows the best epoch, seconds of training); also when Ctrl-C ended the training."""
    import keras

    epochs = settings["epochs"]
    best = recipes.best_epoch(kvae, vae.objective, settings["warmup"])
    stopping = keras.callbacks.EarlyStopping(
        **best,
        patience=settings["patience"] or max(10, epochs // 10),
        start_from_epoch=settings["warmup"],
    )
    callbacks = [stopping]
    if settings["warmup"]:
        callbacks.append(kvae.callbacks.BetaWarmup(settings["warmup"], stop=float(vae.objective.beta.numpy())))
    with _progress(keras, epochs, start) as progress:
        checkpoint = kvae.callbacks.Checkpoint(folder, **best, seconds=5.0, replay=[stopping, progress])
        try:
            vae.fit(
                given.train,
                epochs=epochs,
                steps_per_epoch=settings["steps_per_epoch"],
                batch_size=None if hasattr(given.train, "element_spec") else settings["batch_size"],
                validation_data=given.held_out if hasattr(given.held_out, "element_spec") else (given.held_out,),
                callbacks=[*callbacks, progress, checkpoint],
                verbose=0,
            )
        except KeyboardInterrupt:
            if not checkpoint.logs:
                raise
            print("\nStopped. Finishing with the best model so far; Ctrl-C again ends at once.")
        return checkpoint, checkpoint.elapsed


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
