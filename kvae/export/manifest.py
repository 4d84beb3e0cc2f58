"""`kvae_export.json`, which tells what is in a bundle, and makes a folder one."""

import hashlib
import json
import pathlib

from kvae.export import outputs
from kvae.export.report import DamageError

NAME = "kvae_export.json"
FORMAT_VERSION = 1
_ORDER = ("tflite", "saved_model", "onnx")  # the first that fits is what `kvae.export.load` takes


def is_bundle(path):
    """Whether a path is a folder with a manifest."""
    return (pathlib.Path(path) / NAME).is_file()


def write(folder, content):
    """Writes the manifest of a bundle, and into it the digest of all that it says."""
    content = {"format_version": FORMAT_VERSION, **content}
    content = {**content, "sha256": digest(content)}
    (folder / NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read(folder):
    """The manifest of a bundle, a dict.

    Raises:
        DamageError: if there is none, it is no JSON, was edited, or is of a later version of kvae.
    """
    path = pathlib.Path(folder) / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, recorded = content["format_version"], content.pop("sha256")
    except FileNotFoundError:
        raise DamageError(f"'{folder}' is no bundle: it holds no {NAME}. Give what kvae.export.bundle wrote.") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamageError(f"'{path}' cannot be read: {error!r}. Copy the bundle again, or export it again.") from error
    if version != FORMAT_VERSION:
        raise DamageError(
            f"'{path}' is of format_version {version!r}, and this kvae reads {FORMAT_VERSION}. Use the kvae that wrote it, "
            f"{content.get('versions', {}).get('kvae', 'which it does not name')}."
        )
    if digest(content) != recorded:
        raise DamageError(
            f"'{path}' was edited: what it says does not have the digest that it tells, {str(recorded)[:12]}... "
            "Copy the bundle again, or export it again."
        )
    return content


def digest(content):
    """SHA-256 of a manifest without its digest, whatever the order and the spacing of its text."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path):
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing(folder):
    """{name: {"sha256", "bytes"}} of all files of a bundle but the manifest; names are relative and have slashes."""
    files = sorted(each for each in folder.rglob("*") if each.is_file() and each != folder / NAME)
    return {
        each.relative_to(folder).as_posix(): {"sha256": file_digest(each), "bytes": outputs.size(each)}
        for each in files
    }


def choose(folder, precision=None, format=None):
    """The path of the model in a bundle that is float32 and TFLite unless asked otherwise.

    Raises:
        ValueError: if there is none; the message lists what there is.
        DamageError: if the manifest is damaged.
    """
    models = read(folder)["models"]
    found = [
        (_ORDER.index(each["format"]), -len(each["signatures"]), name)
        for name, each in models.items()
        if each["precision"] == (precision or "float32") and format in (None, each["format"])
    ]
    if not found:
        there = ", ".join(f"{each['format']} {each['precision']}" for each in models.values())
        raise ValueError(
            f"The bundle '{folder}' has no model of format={format!r} and precision={precision or 'float32'!r}. "
            f"It has: {there}."
        )
    return pathlib.Path(folder) / min(found)[-1]
