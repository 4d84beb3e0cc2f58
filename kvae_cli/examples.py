"""The examples of a run: those it trains on, those held out to keep the best epoch, and those it is tested on."""

import glob
import pathlib
from typing import Any, NamedTuple

from kvae_cli import common

# Above this, files are streamed: in float32 they may take four times the bytes.
_LARGE = 1_000_000_000


class Examples(NamedTuple):
    """What `kvae train` feeds a model, and how many there are."""

    train: Any
    held_out: Any
    test: Any
    y_test: Any
    counts: str
    steps: int


def is_large(data):
    """Whether a path means data that is read while the model trains: by its kind or its size."""
    path = pathlib.Path(data)
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    is_pattern = glob.has_magic(data) and not path.exists()
    if is_pattern or any(each.suffix.lower() in (".tfrecord", ".tfrecords", ".parquet") for each in files):
        return True
    return sum(each.stat().st_size for each in files if each.is_file()) > _LARGE


def in_memory(kvae, vae, loaded, rows, settings):
    """The examples of a data set in memory, of which the first `rows` are for training."""
    labels = loaded.y_train if settings["condition"] else None
    x, x_held_out = loaded.x_train[:rows], loaded.x_train[rows:]
    batch_size = settings["batch_size"]
    if isinstance(vae.likelihood, kvae.likelihoods.Bernoulli):
        x_held_out = kvae.data.binarize(x_held_out, seed=777)
        condition = None if labels is None else labels[:rows]
        train = kvae.data.dynamic_binarization(x, batch_size, settings["seed"], condition=condition)
    else:
        train = x if labels is None else (x, labels[:rows])
    return Examples(
        train,
        x_held_out if labels is None else (x_held_out, labels[rows:]),
        common.test_data(kvae, vae, loaded),
        loaded.y_test,
        f"{rows:,} examples for training, {len(x_held_out):,} held out, {len(loaded.x_test):,} for test",
        -(-rows // batch_size),
    )


def streamed(kvae, vae, source, settings):
    """The examples of files that are read while the model trains."""
    train, held_out = (common.stream(kvae, vae, source, settings, part) for part in ("train", "validation"))
    test = common.streamed_test(kvae, vae, source, settings)
    counts = (
        f"{train.feed.rows:,} examples for training, {held_out.feed.rows:,} held out, {len(test):,} for test, streamed"
    )
    return Examples(train, held_out, test, None, counts, train.feed.steps)
