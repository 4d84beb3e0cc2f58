"""What the commands share: the options of the same meaning, and how a model and its data are found."""

import os
import pathlib
import sys
import tomllib
from typing import Annotated

import typer

# Examples that a run on streamed data holds in memory, to test it or to start it from.
_FIRST_ROWS = 10_000


def import_kvae():
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
        callback=_read_config, is_eager=True, help="TOML file of these options; those on the command line override it."
    ),
]
Model = Annotated[str, typer.Argument(help="A run directory, a .keras file, or the name of a shipped model.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Fixes everything random.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Samples = Annotated[int, typer.Option(min=1, help="Importance samples for each test example.")]
Examples = Annotated[int, typer.Option(min=2, help="How many test examples the importance-weighted likelihood takes.")]


def check_free(path, overwrite):
    if path.exists() and not overwrite:
        raise typer.BadParameter(f"'{path}' is there already. Choose another name, or add --overwrite.")


def write(path, text):
    """Writes a text file, whole or not at all."""
    aside = path.with_name(path.name + ".writing")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def usage(function, *arguments):
    """`function(*arguments)`, whose complaints are about what was typed."""
    try:
        return function(*arguments)
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise typer.BadParameter(str(error)) from None


def load(model, data):
    """(kvae, the model, its data); `data` None means what the run was trained on, and "" that none is needed."""
    kvae = import_kvae()
    vae = usage(kvae.pretrained.load, model)
    if data == "":
        return kvae, vae, None
    settings = run_settings(kvae, model) if data is None else {"data": data}
    if settings.get("stream"):
        source = usage(open_stream, kvae, settings)
        return kvae, vae, kvae.data.Data(None, None, usage(streamed_test, kvae, vae, source, settings), None)
    return kvae, vae, usage(kvae.data.load, settings["data"])


def home(kvae, model):
    """The folder of a model that `kvae.pretrained.load` finds."""
    return kvae.pretrained.find(model).parent


def run_settings(kvae, model):
    """The settings of the run that a model comes from."""
    config = home(kvae, model) / "config.toml"
    settings = tomllib.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    if "data" not in settings:
        raise typer.BadParameter(f"there is no config.toml beside '{model}' that names its data: add --data.")
    return settings


def open_stream(kvae, settings):
    """The files of a run that are read while it trains, gone through once."""
    size = settings.get("image_size")
    return kvae.data.stream(settings["data"], shape=None if size is None else (size, size)).feed.source


def stream(kvae, vae, source, settings, part):
    """A part of the data of a run that is read while it trains, as the model takes it, or grey where there is none."""
    return kvae.data.stream(
        source,
        settings["batch_size"],
        settings["seed"],
        shuffle=part == "train",
        part=part,
        transform="binarize" if vae and isinstance(vae.likelihood, kvae.likelihoods.Bernoulli) else None,
        on_error="skip" if settings["skip_errors"] else "raise",
    )


def streamed_test(kvae, vae, source, settings):
    """The test examples of a streamed run, as an array."""
    return first_rows(stream(kvae, vae, source, settings, "test"), settings)


def first_rows(batches, settings):
    """The first examples of a streamed run, as an array."""
    import numpy as np

    from kvae import feeding

    with feeding.reading(batches):
        few = batches.take(-(-_FIRST_ROWS // settings["batch_size"]))
        return np.concatenate([batch.numpy() for batch in few])[:_FIRST_ROWS]


def test_data(kvae, vae, loaded):
    """The test set as the model takes it: binarised for a Bernoulli likelihood, with labels for a conditional model."""
    binarized = isinstance(vae.likelihood, kvae.likelihoods.Bernoulli)
    x_test = kvae.data.binarize(loaded.x_test, seed=777) if binarized else loaded.x_test
    if vae.condition_shape is None:
        return x_test
    if loaded.y_test is None:
        raise typer.BadParameter("the model is conditional, and this data has no labels y_test.")
    return x_test, loaded.y_test


def rows(test, rows):
    return tuple(each[rows] for each in test) if isinstance(test, tuple) else test[rows]
