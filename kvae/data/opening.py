"""What a user names as a source, opened as the `Source` of its kind."""

import glob
import pathlib

import tensorflow as tf

from kvae.data.sources import ArrayFile, DataSet, Images, Records, Source
from kvae.data.tables import CSV, Parquet

_IMAGES = (".png", ".jpg", ".jpeg")
_RECORDS = (".tfrecord", ".tfrecords")


def open_source(path, **options):
    """The `Source` of a file, a folder, a pattern with `*`, or a data set; one that is open already is given back."""
    if isinstance(path, Source):
        return path
    if isinstance(path, tf.data.Dataset):
        return DataSet(path, **options)
    pattern = str(path)
    has_magic = glob.has_magic(pattern) and not pathlib.Path(pattern).exists()
    paths = sorted(map(pathlib.Path, glob.glob(pattern, recursive=True))) if has_magic else [pathlib.Path(path)]
    if not paths or not paths[0].exists():
        raise FileNotFoundError(f"There is nothing at '{path}'.")
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        paths = sorted(each for each in folder.rglob("*") if each.suffix.lower() in (*_IMAGES, *_RECORDS, ".parquet"))
        if not paths:
            raise ValueError(f"There are no images, TFRecord or Parquet files in the folder '{folder}'.")
    kinds = {_kind(each) for each in paths}
    if len(kinds) > 1 or None in kinds:
        raise ValueError(
            f"'{path}' must be an .npy, .npz, .csv, .tfrecord or .parquet file, or only images, TFRecord or Parquet files "
            f"in a folder. Received: {', '.join(sorted({each.suffix or each.name for each in paths}))}."
        )
    (kind,) = kinds
    if kind in (Images, Records, Parquet):
        return kind(paths, **options)
    if len(paths) > 1:
        raise ValueError(f"Only images, TFRecord and Parquet files can be many. Received: {len(paths)} of '{path}'.")
    return kind(paths[0], **options)


def _kind(path):
    suffix = path.suffix.lower()
    kinds = {".npy": ArrayFile, ".npz": ArrayFile, ".csv": CSV, ".parquet": Parquet}
    return Images if suffix in _IMAGES else Records if suffix in _RECORDS else kinds.get(suffix)
