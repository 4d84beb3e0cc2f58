"""Where exports go: written beside their place, moved there when they are known to be right, and gone otherwise."""

import contextlib
import os
import pathlib
import secrets
import shutil


@contextlib.contextmanager
def new_file(path, suffix, overwrite):
    """A path to write a file to. It becomes `path` if the block succeeds; if the block raises, no trace is left.

    Args:
        path: str or path-like.
        suffix: what it must end in.
        overwrite: whether a file that exists may be replaced, which happens in one step at the end.

    Yields:
        `pathlib.Path` beside `path`, with the same suffix.

    Raises:
        ValueError: if `path` does not end in `suffix`.
        FileExistsError: if `path` exists and `overwrite` is False, or is a folder.
        OSError: if it cannot be written; of the kind that the system reports.
    """
    if as_path(path).suffix != suffix:
        raise ValueError(f"`path` must end in {suffix}. Received: '{path}'. Try '{path}{suffix}'.")
    target = _free_for_file(path, overwrite)
    with _sibling(target, path) as sibling:
        with _writing(path):
            sibling.touch()
        yield sibling
        _free_for_file(path, overwrite)  # still: others may have been at work meanwhile
        with _writing(path):
            os.replace(sibling, target)


@contextlib.contextmanager
def new_folder(path, overwrite, marker):
    """As `new_file`, for a folder. One that exists is replaced as a whole, and only if it is empty or holds `marker`."""
    target = _free_for_folder(path, overwrite, marker)
    with _sibling(target, path) as sibling:
        with _writing(path):
            sibling.mkdir()
        yield sibling
        _free_for_folder(path, overwrite, marker)
        with _writing(path), _moved_away(target):
            os.rename(sibling, target)


def size(path):
    """Bytes of a file, or of all files in a folder."""
    path = pathlib.Path(path)
    return sum(each.stat().st_size for each in [path, *path.rglob("*")] if each.is_file())


def as_path(path):
    """`path` as a `pathlib.Path`, else TypeError or ValueError."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"`path` must be a str or a pathlib.Path. Received: {path!r} (of type {type(path).__name__}).")
    if not os.fspath(path):
        raise ValueError("`path` must name a file or a folder. Received: an empty string.")
    return pathlib.Path(path)


def _target(path, overwrite):
    path = as_path(path)
    target = pathlib.Path(os.path.realpath(path))  # through links, so that a link is not replaced by what it points to
    with _writing(path):
        exists = target.exists()
    if exists and not overwrite:
        raise FileExistsError(f"'{path}' exists. Pass overwrite=True to replace it, or give another path.")
    return target


def _free_for_file(path, overwrite):
    target = _target(path, overwrite)
    if target.is_dir():
        raise FileExistsError(f"A file cannot be written to '{path}', which is a folder. Give another path.")
    return target


def _free_for_folder(path, overwrite, marker):
    target = _target(path, overwrite)
    if target.exists() and not (target.is_dir() and ((target / marker).exists() or not any(target.iterdir()))):
        raise FileExistsError(
            f"'{path}' exists and was not made by this exporter: it holds no {marker}. overwrite=True would delete what "
            "is in it, so it was left alone. Give another path, or remove it yourself."
        )
    return target


@contextlib.contextmanager
def _sibling(target, path):
    """A free path beside `target`, whose parents exist while the block runs; they and it go if the block raises."""
    sibling = target.with_name(f".{secrets.token_hex(4)}.{as_path(path).name}")
    made = []
    try:
        with _writing(path):
            made += [parent for parent in target.parents if not parent.exists()]
            target.parent.mkdir(parents=True, exist_ok=True)
        yield sibling
    except BaseException:
        _remove(sibling)
        for parent in made:
            with contextlib.suppress(OSError):  # never made, or meanwhile used by someone else
                parent.rmdir()
        raise


@contextlib.contextmanager
def _moved_away(target):
    """A folder can only be moved to a free place: an old one steps aside, and comes back if the block raises."""
    aside = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    if not target.exists():
        yield
        return
    os.rename(target, aside)
    try:
        yield
    except BaseException:
        os.rename(aside, target)
        raise
    _remove(aside)


@contextlib.contextmanager
def _writing(path):
    try:
        yield
    except OSError as error:
        raise type(error)(
            f"'{path}' cannot be written: {error.strerror or error}. Give a path in a folder where you may write."
        ) from error


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # never written
            path.unlink()
