"""ONNX: one function of a VAE for onnxruntime, browsers and what else reads it. The one module that uses tf2onnx."""

import pathlib

import numpy as np
import tensorflow as tf

from kvae import checks
from kvae.export import endpoints, float32, graphs, loaded, outputs, parity
from kvae.export.extras import require
from kvae.export.quiet import quiet
from kvae.export.report import Report, UnsupportedOperationError

# The first that has BitwiseXor, which the sampler needs.
OPSET = 18


def onnx(vae, path, endpoint="decode", overwrite=False):
    """Exports one function of a VAE as an ONNX file, of opset 18.

    Its inputs and outputs have the names of the SavedModel's, and take any number of rows (see
    `kvae.export.saved_model`); all but those of `sample`, which takes (seed, stream) and gives one row: row i of
    `vae.sample(n, seed=seed)` is that of stream i. Needs the extra `onnx`.

    The export is loaded by onnxruntime, run and compared with the Keras model before it is moved to `path`.

    Args:
        vae: built `kvae.VAE`. One in mixed precision is exported in float32.
        path: file to make, with its parents; it ends in `.onnx`.
        endpoint: "decode", "encode", "reconstruct", "sample" or "score".
        overwrite: whether a file that stands there may be replaced, once the new one is verified.

    Returns:
        `Report`.

    Raises:
        TypeError: if `vae` is no `kvae.VAE`.
        ValueError: if it is not built, there is no such endpoint, a network draws random numbers in inference, or the
            path does not end in `.onnx`.
        MissingExtraError: without tf2onnx, onnx or onnxruntime.
        UnsupportedOperationError: if it uses operations that ONNX does not have; they are named.
        FileExistsError: if `path` exists and may not be replaced.
        OSError: if `path` cannot be written.
        ParityError: if the export does not compute what the VAE does. Nothing is left behind.

    Example:
        >>> print(kvae.export.onnx(vae, "decoder.onnx"))
        decoder.onnx: onnx float32, 441 kB, largest error 6.6e-07, decode 0.29 ms
    """
    model = float32.exportable(vae)
    checks.check_choice("endpoint", endpoint, endpoints.names(model))
    require("onnx", "tf2onnx", "onnx", "onnxruntime")
    with outputs.new_file(path, loaded.ONNX_SUFFIX, overwrite) as file:
        file.write_bytes(_convert(model, endpoint))
        exported = loaded.load(file)
        compared = parity.compare(model, exported)
        return Report(
            path=pathlib.Path(path),
            format="onnx",
            precision="float32",
            max_error=compared.max_error,
            num_bytes=outputs.size(file),
            latency_ms=parity.median_latency(exported),
            tolerance=compared.tolerance,
            psnr=compared.psnr,
        )


def _convert(vae, endpoint):
    """The bytes of an ONNX file."""
    tf2onnx, onnx_package = require("onnx", "tf2onnx", "onnx")
    form = endpoints.Form(batch_size=1 if endpoint == "sample" else None)
    function, inputs = endpoints.bound(vae, endpoint, form)
    traced = tf.function(function, input_signature=inputs, autograph=False)
    graph = traced.get_concrete_function().graph
    endpoints.check_pure(vae, endpoint, graph)
    with quiet():
        model, _ = tf2onnx.convert.from_function(traced, inputs, opset=OPSET, custom_op_handlers=_HANDLERS)
    # What it cannot convert, tf2onnx only logs, and leaves in the file.
    known = onnx_package.defs.get_all_schemas_with_history()
    missing = {node.op_type for node in model.graph.node} - {each.name for each in known}
    if missing:
        places = graphs.find(graph, vae, missing.__contains__) or ", ".join(sorted(missing))
        raise UnsupportedOperationError(
            f"`{endpoint}` uses operations that cannot be converted to ONNX: {places}. Nothing was written. Replace the "
            "layers by others of the same use, or export with kvae.export.saved_model, which takes all operations."
        )
    for value in [*model.graph.input, *model.graph.output]:
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = "batch"
    onnx_package.helper.set_model_props(model, {"endpoint": endpoint, "producer": "kvae"})
    return model.SerializeToString()


# For operations that tf2onnx does not know, what stands for them in ONNX.


def _broadcast_shapes(graph, node, name, args):
    """The shape that two shapes broadcast to: that of a sum of zeros."""
    zeros = []
    for shape in node.input:
        whole = graph.make_node("Cast", [shape], attr={"to": _INT64}).output[0]
        zeros.append(graph.make_node("ConstantOfShape", [whole]).output[0])
    total = graph.make_node("Shape", graph.make_node("Add", zeros).output)
    _replace(graph, node, "Cast", total.output, {"to": graph.get_dtype(node.output[0])})


def _log1p(graph, node, name, args):
    """log(1 + x), which for the sums of log-densities is exact enough: to 6e-8 of each."""
    _replace(graph, node, "Log", graph.make_node("Add", [node.input[0], _one(graph)]).output)


def _expm1(graph, node, name, args):
    _replace(graph, node, "Sub", [graph.make_node("Exp", node.input).output[0], _one(graph)])


def _one(graph):
    return graph.make_const(f"one_{len(graph.get_nodes())}", np.float32(1.0)).output[0]


def _replace(graph, node, operation, inputs, attributes=None):
    """Puts an operation in the place of a node."""
    kind, shape = graph.get_dtype(node.output[0]), graph.get_shape(node.output[0])
    graph.remove_node(node.name)
    graph.make_node(
        operation, inputs, attr=attributes, name=node.name, outputs=node.output, dtypes=[kind], shapes=[shape]
    )


_INT64 = 7  # as ONNX counts the types
_HANDLERS = {"BroadcastArgs": (_broadcast_shapes, []), "Log1p": (_log1p, []), "Expm1": (_expm1, [])}
