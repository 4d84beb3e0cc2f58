"""The networks that give each step of a flow its scale and shift."""

import itertools

import keras
import numpy as np
import tensorflow as tf

from kvae import checks


@keras.saving.register_keras_serializable(package="kvae")
class DenseNetwork(keras.layers.Layer):
    """A small dense network, ELU between its layers, that also takes a context. It starts at zero.

    Args:
        num_inputs: I.
        num_outputs: O.
        hidden: widths of the hidden layers.
        context_size: C, the width of a second input; 0 for none.

    Call arguments:
        x: `[..., I]`.
        context: `[..., C]` with leading axes that broadcast against those of x, or None.

    Returns:
        `[..., O]`.

    Raises:
        ValueError: for sizes that are not positive.

    Example:
        >>> kvae.flows.DenseNetwork(num_inputs=2, num_outputs=6)(tf.zeros([5, 2])).shape
        TensorShape([5, 6])
    """

    def __init__(self, num_inputs, num_outputs, hidden=(64,), context_size=0, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.num_inputs = checks.check_count("num_inputs", num_inputs)
        self.num_outputs = checks.check_count("num_outputs", num_outputs)
        self.hidden = checks.check_widths("hidden", hidden)
        self.context_size = checks.check_count("context_size", context_size, least=0)

    def build(self, input_shape=None):
        widths = (self.num_inputs, *self.hidden, self.num_outputs)
        # The last kernel starts at zero, so that a flow starts as a fixed scaling whatever its input.
        initializers = ["glorot_uniform"] * len(self.hidden) + ["zeros"]
        self.kernels = [
            self.add_weight(shape, initializer, name=f"kernel_{index}")
            for index, (shape, initializer) in enumerate(zip(itertools.pairwise(widths), initializers, strict=True))
        ]
        self.biases = [
            self.add_weight((width,), "zeros", name=f"bias_{index}") for index, width in enumerate(widths[1:])
        ]
        if self.context_size:
            self.context_kernel = self.add_weight(
                (self.context_size, widths[1]), initializers[0], name="context_kernel"
            )
        self.built = True

    def masks(self):
        """For each kernel, which of its entries count: a float32 array of its shape, or None for all."""
        return [None] * (len(self.hidden) + 1)

    def call(self, x, context=None):
        values = x
        for layer, (kernel, bias, mask) in enumerate(zip(self.kernels, self.biases, self.masks(), strict=True)):
            values = tf.nn.elu(values) if layer else values
            kernel = kernel.value if mask is None else kernel.value * mask
            values = _product(values, kernel) + bias.value
            if self.context_size and layer == 0:
                values = values + _product(context, self.context_kernel.value)
        return values

    def get_config(self):
        names = ("num_inputs", "num_outputs", "hidden", "context_size")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="kvae")
class MaskedNetwork(DenseNetwork):
    """MADE: a network whose outputs for value i see only the values before i, and the whole context.

    TFP's `AutoregressiveNetwork` is a Keras 2 layer, whose variables a Keras 3 model does not see; hence this one.

    Reference: Germain et al. 2015, arXiv:1502.03509, equations 12 and 13; hidden degrees are spread evenly.

    Args:
        num_inputs: D.
        num_blocks: outputs for each value. They lie in blocks: output `b * D + i` belongs to value i.
        hidden: widths of the hidden layers.
        context_size: C, the width of a second input; 0 for none.
        reverse: whether the order is from the last value to the first.

    Call arguments:
        x: `[..., D]`.
        context: `[..., C]` with leading axes that broadcast against those of x, or None.

    Returns:
        `[..., num_blocks * D]`.

    Raises:
        ValueError: for sizes that are not positive.

    Example:
        >>> kvae.flows.MaskedNetwork(num_inputs=3, num_blocks=2)(tf.zeros([5, 3])).shape
        TensorShape([5, 6])
    """

    def __init__(self, num_inputs, num_blocks=2, hidden=(64,), context_size=0, reverse=False, **kwargs):
        num_blocks = checks.check_count("num_blocks", num_blocks)
        super().__init__(num_inputs, num_blocks * num_inputs, hidden, context_size, **kwargs)
        self.num_blocks = num_blocks
        self.reverse = reverse

    @property
    def order(self):
        """Place of each value in the order, from 1 to D: int32 array `[D]`."""
        order = np.arange(1, self.num_inputs + 1, dtype="int32")
        return order[::-1].copy() if self.reverse else order

    def masks(self):
        # A hidden unit of degree d sees the first d values. Degree 0 sees the context alone, and is of no use without.
        lowest = 0 if self.context_size or self.num_inputs == 1 else 1
        spread = self.num_inputs - lowest
        hidden = [lowest + ((np.arange(width) + 1) * spread - 1) // width for width in self.hidden]
        degrees = [self.order, *hidden]
        inner = [after >= before[:, None] for before, after in itertools.pairwise(degrees)]
        outer = np.tile(self.order, self.num_blocks) > degrees[-1][:, None]
        return [mask.astype("float32") for mask in (*inner, outer)]

    def get_config(self):
        config = {**super().get_config(), "num_blocks": self.num_blocks, "reverse": self.reverse}
        del config["num_outputs"]
        return config


def _product(values, kernel):
    return tf.matmul(values, kernel) if len(values.shape) == 2 else tf.tensordot(values, kernel, axes=1)
