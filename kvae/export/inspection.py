"""What an export is made of, read from the files alone."""

import collections
import contextlib
import dataclasses
import pathlib
import zipfile

from kvae.export import flatbuffer, loaded, manifest, outputs
from kvae.export.extras import available, require
from kvae.export.tables import table


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What an exported model is made of; printed in full.

    Attributes:
        path: where it stands.
        format: "tflite", "saved_model" or "onnx".
        num_bytes: size on disk, of all files.
        signatures: as in `Exported`.
        operations: list of (name, version, how often). The version is None for a SavedModel, and the opset for ONNX.
        metadata: dict of what else the file tells about itself.
    """

    path: pathlib.Path
    format: str
    num_bytes: int
    signatures: dict
    operations: list
    metadata: dict

    def __str__(self):
        lines = [f"{self.path}: {self.format}, {self.num_bytes:,} bytes", ""]
        for name, sides in self.signatures.items():
            inputs, outputs_ = (
                ", ".join(f"{key} {_shape(shape)}" for key, shape in sides[side].items())
                for side in ("inputs", "outputs")
            )
            lines.append(f"  {name}({inputs}) -> {outputs_}")
        rows = [[name, "" if version is None else version, count] for name, version, count in self.operations]
        lines += ["", table(["operation", "version", "count"], rows), ""]
        return "\n".join(lines + [f"{name}: {value}" for name, value in self.metadata.items()]).rstrip()


class Inspections(tuple):
    """One `Inspection` for each model of a bundle."""

    def __str__(self):
        return "\n\n".join(map(str, self))


def inspect(path):
    """Reads what an export is made of: signatures, operations with versions, bytes and metadata.

    Args:
        path: a `.tflite` or `.onnx` file, the folder of a SavedModel, or a bundle.

    Returns:
        `Inspection`; of a bundle, a tuple of one for each model.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is no export, or is damaged.
        MissingExtraError: for an ONNX file by itself, without onnx and onnxruntime. In a bundle it is left out.

    Example:
        >>> kvae.export.inspect("decoder.tflite").operations[0]
        ('CONV_2D', 1, 1)
    """
    path = outputs.as_path(path)
    if manifest.is_bundle(path):
        models = manifest.read(path)["models"].items()
        there = available("onnx", "onnxruntime")
        return Inspections(inspect(path / name) for name, each in models if there or each["format"] != "onnx")
    exported = loaded.load(path)
    kind = loaded.format_of(path)
    operations, metadata = {"tflite": _tflite, "onnx": _onnx, "saved_model": _saved_model}[kind](path)
    return Inspection(path, kind, outputs.size(path), exported.signatures, operations, metadata)


def _tflite(path):
    data = path.read_bytes()
    operations = [(each.name, each.version, each.count) for each in flatbuffer.operations(data)]
    return operations, {**flatbuffer.metadata(data), **_attached(path)}


def _attached(path):
    """The files that were put behind a model, the documented way to say more about it."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as files:
        return {name: files.read(name).decode("utf-8", "replace") for name in files.namelist()}
    return {}


def _onnx(path):
    (onnx,) = require("onnx", "onnx")
    model = onnx.load(path)
    opsets = {each.domain: each.version for each in model.opset_import}
    counts = collections.Counter((node.op_type, opsets[node.domain]) for node in model.graph.node)
    return [(name, opset, count) for (name, opset), count in sorted(counts.items())], {
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "ir_version": model.ir_version,
        **{each.key: each.value for each in model.metadata_props},
    }


def _saved_model(path):
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((path / loaded.MARKER).read_bytes())
    (graph,) = model.meta_graphs
    nodes = [*graph.graph_def.node, *(node for each in graph.graph_def.library.function for node in each.node_def)]
    counts = collections.Counter(node.op for node in nodes)
    versions = {"tensorflow": graph.meta_info_def.tensorflow_version, "tags": ", ".join(graph.meta_info_def.tags)}
    return [(name, None, count) for name, count in sorted(counts.items())], versions


def _shape(shape):
    return f"[{', '.join('batch' if size is None else str(size) for size in shape)}]"
