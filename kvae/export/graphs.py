"""Which operations a traced graph holds, and which layers they come from."""

import math
import re

import tensorflow as tf

_RANDOM = ("Random", "Multinomial", "TruncatedNormal", "RngReadAndSkip", "RngSkip")


def is_impure(operation):
    """Whether operations of a type give different results in different calls, or make others do so."""
    return operation.startswith("Assign") or any(word in operation for word in _RANDOM)


def find(graph, vae, is_wanted):
    """In words, where a graph holds operations of a type for which `is_wanted(type)`; if some compute
    in float64, these alone; "" if nowhere.

    Example:
        >>> find(graph, vae, lambda operation: operation == "Erf")
        "Erf (in layer 'activation')"
    """
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    layers = {layer.name for layer in vae._flatten_layers()}
    nodes = [node for node in nodes if is_wanted(node.op)]
    # A format that has an operation may lack it in float64.
    double = [node for node in nodes if node.attr["T"].type == tf.float64.as_datatype_enum]
    found = {(f"{node.op}{' in float64' if double else ''}", _layer(node.name, layers)) for node in double or nodes}
    return ", ".join(f"{operation} (in {where})" for operation, where in sorted(found))


def _layer(name, layers):
    """The innermost layer that the scopes of an operation's name tell of."""
    for scope in reversed(name.split("/")[:-1]):
        # Keras opens the scope of a layer twice, so that TensorFlow numbers the one in which it computes.
        for candidate in (re.sub(r"_\d+$", "", scope), scope):
            if candidate in layers:
                return f"layer '{candidate}'"
    return f"'{name}'"


def count_weights(functions):
    """How many numbers in the kernels of networks the outputs of concrete functions depend on.

    Kernels are variables of rank 2 and more: biases and the like may be merged with others. Heads of which nothing is
    given are left out.

    Args:
        functions: list of pairs (concrete function, list of networks).
    """
    used = {}
    for function, networks in functions:
        reached = _reached(function.graph)
        captured = {id(outer) for outer, inner in function.graph.captures if inner.op.name in reached}
        variables = [each for network in networks for each in network.variables if len(each.shape) > 1]
        used |= {each.path: math.prod(each.shape) for each in variables if id(each.value.handle) in captured}
    return sum(used.values())


def _reached(graph):
    """Names of the operations that the outputs of a graph depend on."""
    reached, waiting = set(), [each.op for each in graph.outputs]
    while waiting:
        operation = waiting.pop()
        if operation.name not in reached:
            reached.add(operation.name)
            waiting += [each.op for each in operation.inputs]
    return reached
