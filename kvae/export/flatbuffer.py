"""What a TFLite file is made of: its operations listed, checked, and made fit for graphics processors."""

import collections
import copy
import functools
from typing import NamedTuple

import numpy as np

from kvae.export.report import StructureError

# Both GPU delegates of TFLite refuse a version above 3, whatever the file uses of it.
_MAX_TRANSPOSE_CONV = 3
_DEQUANTIZE_FLOAT16 = 3  # the version that takes float16
_LEAST_WEIGHTS = 1024
_STATEFUL = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")


class Operation(NamedTuple):
    """A kind of operation in a TFLite file.

    Attributes:
        name: as in TFLite's schema, `CONV_2D`; of one that is not built in, the name it registers: `FlexConv2D`.
        version: int.
        count: how often it occurs, in all signatures.
        is_builtin: whether every TFLite runtime has it.
    """

    name: str
    version: int
    count: int
    is_builtin: bool = True


def operations(data):
    """The operations in the bytes of a TFLite file, a list of `Operation` in order of name and version.

    Raises:
        ValueError: if the bytes are no TFLite file.

    Example:
        >>> operations(pathlib.Path("decoder.tflite").read_bytes())[0]
        Operation(name='CONV_2D', version=1, count=1, is_builtin=True)
    """
    model = _unpack(data)
    kinds = [_kind(code) for code in model.operatorCodes]
    counts = collections.Counter(kinds[each.opcodeIndex] for graph in model.subgraphs for each in graph.operators)
    return [Operation(name, version, count, builtin) for (name, version, builtin), count in sorted(counts.items())]


def metadata(data):
    """{name: text} of what the bytes of a TFLite file say about it, such as `min_runtime_version`; binary parts left out."""
    model = _unpack(data)
    buffers = {
        each.name.decode(): bytes(model.buffers[each.buffer].data).rstrip(b"\0") for each in model.metadata or ()
    }
    return {name: value.decode() for name, value in buffers.items() if value.isascii() and value.decode().isprintable()}


def check_structure(data, num_params=0, bytes_per_param=4):
    """Raises if the bytes of a TFLite file hold what some runtime or GPU delegate refuses, or lack the weights.

    Refused are operations that are not built in, variables, tensors without a fixed shape, and transposed convolutions
    above version 3.

    Args:
        data: bytes of the file.
        num_params: how many weights it must hold.
        bytes_per_param: of each weight.

    Raises:
        StructureError: names everything that is wrong.
        ValueError: if the bytes are no TFLite file.

    Example:
        >>> check_structure(pathlib.Path("decoder.tflite").read_bytes(), vae.decoder.count_params())
    """
    found = operations(data)
    problems = []
    if missing := sorted({each.name for each in found if not each.is_builtin}):
        problems.append(f"operations that are not built in: {', '.join(missing)}")
    if variables := sorted({each.name for each in found if each.name in _STATEFUL}):
        problems.append(f"variables, which weights must not be: {', '.join(variables)}")
    if newer := [
        each.version for each in found if each.name == "TRANSPOSE_CONV" and each.version > _MAX_TRANSPOSE_CONV
    ]:
        problems.append(f"TRANSPOSE_CONV of version {newer[-1]}, where GPU delegates end at {_MAX_TRANSPOSE_CONV}")
    if dynamic := _dynamic_tensors(_unpack(data)):
        problems.append(
            f"{len(dynamic)} tensors without a fixed shape, which GPU delegates refuse, the first {dynamic[0]} (a recurrent "
            "layer has none with unroll=True)"
        )
    least = 0.9 * num_params * bytes_per_param
    if len(data) < least:
        problems.append(f"{len(data)} bytes, fewer than the {least:.0f} that its {num_params} weights take")
    if problems:
        raise StructureError(
            f"The TFLite file is not fit to leave. It has {'; '.join(problems)}. Export it again by kvae.export.tflite."
        )


def signatures(data):
    """What the functions of a TFLite file take and give: dict of "inputs" and "outputs", dicts of (dtype, shape).

    Example:
        >>> signatures(pathlib.Path("decoder.tflite").read_bytes())
        {'decode': {'inputs': {'z': ('float32', (1, 16))}, 'outputs': {'x_mean': ('float32', (1, 28, 28, 1))}}}
    """
    model, types = _unpack(data), _names(_schema().TensorType)

    def described(maps, tensors):
        named = {each.name.decode(): tensors[each.tensorIndex] for each in maps}
        return {name: (types[each.type].lower(), tuple(map(int, each.shape))) for name, each in sorted(named.items())}

    return {
        each.signatureKey.decode(): {
            "inputs": described(each.inputs, model.subgraphs[each.subgraphIndex].tensors),
            "outputs": described(each.outputs, model.subgraphs[each.subgraphIndex].tensors),
        }
        for each in model.signatureDefs or ()
    }


def split_activations(data):
    """The bytes of a TFLite file in which no transposed convolution has an activation within.

    An activation inside makes a TRANSPOSE_CONV one of version 4. As an operation of its own it computes the same, bit
    for bit, and takes the same time on a CPU. In int8 it would take much longer; but there the rectifier is the bound
    of the numbers themselves, so nothing is left to compute.
    """
    model = _unpack(data)
    transposed = {index for index, code in enumerate(model.operatorCodes) if _kind(code)[0] == "TRANSPOSE_CONV"}
    changed = False
    for graph in model.subgraphs:
        operators = []
        for operator in graph.operators:
            operators.append(operator)
            if operator.opcodeIndex in transposed and operator.builtinOptions.fusedActivationFunction:
                changed = True
                activation = _activation(operator)
                operator.builtinOptions.fusedActivationFunction = _schema().ActivationFunctionType.NONE
                if not _is_bound(activation, graph.tensors[operator.outputs[0]]):
                    operators.append(_split_off(model, graph, operator, activation))
        graph.operators = operators
    for index in transposed if changed else ():
        code = model.operatorCodes[index]
        code.version = min(code.version, _MAX_TRANSPOSE_CONV)
    return _pack(model) if changed else data


def halve_weights(data):
    """The bytes of a float32 TFLite file with its weights in float16, from which runtimes make float32 when they load it.

    TensorFlow's own converter rounds every constant, also the factors of a random number generator and whatever a
    user's layer computes with. Here it is those of at least 1024 values, the least that this converter quantizes too,
    and only if none of them overflows.
    """
    model, halved = _unpack(data), {}
    for graph in model.subgraphs:
        replaced = {}
        for index, tensor in enumerate(list(graph.tensors)):
            if tensor.type == _schema().TensorType.FLOAT32 and _halved(model, tensor.buffer, halved):
                replaced[index] = len(graph.tensors)
                graph.tensors.append(_in_float32(tensor))
                tensor.type = _schema().TensorType.FLOAT16
        for operator in graph.operators:
            operator.inputs = [replaced.get(index, index) for index in operator.inputs]
        graph.outputs = [replaced.get(index, index) for index in graph.outputs]
        graph.operators = [*(_dequantize(model, *pair) for pair in replaced.items()), *graph.operators]
    return _pack(model)


def _halved(model, index, halved):
    """Whether a buffer of float32 holds weights, which then are in float16 from now on."""
    if index not in halved:
        values = model.buffers[index].data
        values = np.zeros(0, "<f4") if values is None else np.asarray(values, np.uint8).view("<f4")
        halved[index] = values.size >= _LEAST_WEIGHTS and np.abs(values).max() <= np.finfo("float16").max
        if halved[index]:
            model.buffers[index].data = values.astype("<f2").view(np.uint8)
    return halved[index]


def _in_float32(tensor):
    """What a tensor of weights becomes in memory."""
    unpacked = copy.copy(tensor)
    unpacked.name, unpacked.buffer = tensor.name + b"_float32", 0
    return unpacked


def _dequantize(model, source, target):
    schema = _schema()
    operator = schema.OperatorT()
    operator.opcodeIndex = _opcode(model, schema.BuiltinOperator.DEQUANTIZE, _DEQUANTIZE_FLOAT16)
    operator.inputs, operator.outputs = [source], [target]
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    return operator


def _activation(operator):
    # The two enumerations have the same names for what TFLite fuses: RELU, RELU6, RELU_N1_TO_1, TANH.
    return _names(_schema().ActivationFunctionType)[operator.builtinOptions.fusedActivationFunction]


def _is_bound(activation, tensor):
    """Whether an activation lets pass all that a tensor of int8 can hold."""
    low, high = {"RELU": (0, np.inf), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}.get(activation, (np.inf, -np.inf))
    if tensor.type != _schema().TensorType.INT8 or tensor.quantization is None:
        return False
    scale, zero = (np.asarray(each)[0] for each in (tensor.quantization.scale, tensor.quantization.zeroPoint))
    return low <= scale * (-128 - zero) and scale * (127 - zero) <= high * (1 + 1e-6)


def _split_off(model, graph, operator, activation):
    """The operation that computes the activation on what the transposed convolution gives without it."""
    (output,) = operator.outputs
    linear = copy.copy(graph.tensors[output])
    linear.name = linear.name + b"_linear"
    graph.tensors.append(linear)
    added = _schema().OperatorT()
    added.opcodeIndex = _opcode(model, getattr(_schema().BuiltinOperator, activation))
    added.inputs, added.outputs = [len(graph.tensors) - 1], [output]
    operator.outputs = [len(graph.tensors) - 1]
    return added


def _opcode(model, code, version=1):
    """The index of a kind of operation among the model's, to which it is added if it is not there."""
    for index, each in enumerate(model.operatorCodes):
        if (_builtin(each), each.version) == (code, version):
            return index
    added = _schema().OperatorCodeT()
    added.builtinCode = code
    added.deprecatedBuiltinCode = min(code, 127)
    added.version = version
    model.operatorCodes.append(added)
    return len(model.operatorCodes) - 1


def _kind(code):
    """(name, version, whether it is built in) of an operator code."""
    number, schema = _builtin(code), _schema()
    if number == schema.BuiltinOperator.CUSTOM:
        return (code.customCode or b"CUSTOM").decode(), code.version, False
    return _names(schema.BuiltinOperator)[number], code.version, True


def _builtin(code):
    # Files from before there were more than 127 operations have the number in the older field alone.
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def _dynamic_tensors(model):
    return [
        tensor.name.decode()
        for graph in model.subgraphs
        for tensor in graph.tensors
        if tensor.shapeSignature is not None and any(size < 0 for size in tensor.shapeSignature)
    ]


def _unpack(data):
    if data[4:8] != b"TFL3":
        raise ValueError(f"These {len(data)} bytes are no TFLite file: the mark TFL3 is missing at the fourth.")
    return _schema().ModelT.InitFromPackedBuf(data, 0)


def _pack(model):
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@functools.cache
def _names(enumeration):
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _schema():
    from ai_edge_litert import schema_py_generated  # here, because a SavedModel does without

    return schema_py_generated
