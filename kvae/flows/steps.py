"""The steps of a flow: affine maps whose Jacobian is triangular, each with its inverse."""

import keras
import tensorflow as tf

from kvae.flows import networks

# A step scales by at most e^4 = 55 either way: enough for several steps, and its inverse stays exact in float32.
LOG_SCALE_BOUND = 4.0
# Kingma et al. 2016, section 4: a gate that starts open (0.86) lets a flow start close to the identity.
FORGET_BIAS = 2.0


class Step(keras.layers.Layer):
    """Base class of the steps: an invertible map of `[..., D]` to itself, possibly given a context.

    A subclass gives `forward` and `inverse`.

    Args:
        dim: D.
        hidden: widths of the hidden layers of its network.
        context_size: width of the context, 0 for none.
        index: place of the step in the flow; odd ones take the values in the other order.
    """

    def __init__(self, dim, hidden, context_size=0, index=0, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.dim = dim
        self.odd = index % 2 == 1
        self.network = self.make_network(hidden, context_size)
        self.network.build()
        self.built = True

    def make_network(self, hidden, context_size):
        raise NotImplementedError

    def forward(self, x, context=None):
        """(y `[..., D]`, log |det dy/dx| `[...]`)."""
        raise NotImplementedError

    def inverse(self, y, context=None):
        """(x `[..., D]`, log |det dy/dx| `[...]`): the second as in `forward`, not its negative."""
        raise NotImplementedError


class AffineCoupling(Step):
    """Half of the values stay; the network makes scale and shift of the other half from them. Both ways are one pass.

    Reference: Dinh, Sohl-Dickstein and Bengio 2017 (RealNVP), arXiv:1605.08803, equations 7 and 8.
    """

    def make_network(self, hidden, context_size):
        if self.dim < 2:
            raise ValueError(
                "A flow of kind 'coupling' makes half of the latent dimensions depend on the other half, so it needs at "
                f"least 2. Received: {self.dim}. Take kind='iaf' (posterior) or kind='maf' (prior)."
            )
        kept = self.dim - self.dim // 2 if self.odd else self.dim // 2
        return networks.DenseNetwork(kept, 2 * (self.dim - kept), hidden, context_size)

    def forward(self, x, context=None):
        kept, moved = self._split(x)
        shift, log_scale = _shift_and_log_scale(self.network(kept, context))
        return self._join(kept, tf.exp(log_scale) * moved + shift), tf.reduce_sum(log_scale, axis=-1)

    def inverse(self, y, context=None):
        kept, moved = self._split(y)
        shift, log_scale = _shift_and_log_scale(self.network(kept, context))
        return self._join(kept, (moved - shift) * tf.exp(-log_scale)), tf.reduce_sum(log_scale, axis=-1)

    def _split(self, values):
        first, second = values[..., : self.dim // 2], values[..., self.dim // 2 :]
        return (second, first) if self.odd else (first, second)

    def _join(self, kept, moved):
        # Without its own context the kept half may have fewer leading axes than the moved one.
        kept = kept + tf.zeros_like(moved[..., :1])
        return tf.concat([moved, kept] if self.odd else [kept, moved], axis=-1)


class Autoregressive(Step):
    """Value i is scaled and shifted by what the masked network makes of the values before it.

    `_at_once` is the direction of which the network sees the input; `_one_by_one` the other, D passes for D values.
    """

    def make_network(self, hidden, context_size):
        return networks.MaskedNetwork(self.dim, 2, hidden, context_size, reverse=self.odd)

    def affine(self, values, context):
        """(shift, log_scale) `[..., D]` of the map at once."""
        return _shift_and_log_scale(self.network(values, context))

    def _at_once(self, x, context):
        shift, log_scale = self.affine(x, context)
        return tf.exp(log_scale) * x + shift, tf.reduce_sum(log_scale, axis=-1)

    def _one_by_one(self, y, context):
        order = tf.constant(self.network.order)
        # XLA differentiates the loop only if all inside it are matrices: other axes would be moved about at each pass.
        if context is not None:
            y = y + tf.zeros_like(context[..., :1])
            context = tf.reshape(context + tf.zeros_like(y[..., :1]), [-1, context.shape[-1]])
        rows = tf.reshape(y, [-1, self.dim])

        def solve_next(place, x):
            shift, log_scale = self.affine(x, context)
            # What is not solved yet stays zero: guesses could grow beyond float32, and infinity times a mask is NaN.
            return place + 1, tf.where(order == place, (rows - shift) * tf.exp(-log_scale), x)

        _, x = tf.while_loop(
            lambda place, x: place <= self.dim,
            solve_next,
            (tf.constant(1), tf.zeros_like(rows)),
            maximum_iterations=self.dim,  # XLA needs the bound for the gradient
        )
        log_det = tf.reduce_sum(self.affine(x, context)[1], axis=-1)
        return tf.reshape(x, tf.shape(y)), tf.reshape(log_det, tf.shape(y)[:-1])


class InverseAutoregressive(Autoregressive):
    """Forward at once: y = sigma x + (1 - sigma) m, with the gate sigma and m from the values of x before.

    Reference: Kingma et al. 2016, arXiv:1606.04934, equations 13 and 14.
    """

    def affine(self, values, context):
        m, gate = _shift_and_log_scale(self.network(values, context), bias=FORGET_BIAS)
        log_sigma = tf.math.log_sigmoid(gate)
        return -tf.math.expm1(log_sigma) * m, log_sigma

    def forward(self, x, context=None):
        return self._at_once(x, context)

    def inverse(self, y, context=None):
        return self._one_by_one(y, context)


class MaskedAutoregressive(Autoregressive):
    """Inverse, hence density, at once; forward one value at a time.

    Reference: Papamakarios, Pavlakou and Murray 2017, arXiv:1705.07057, equations 3 to 5.
    """

    def forward(self, x, context=None):
        y, log_det = self._one_by_one(x, context)
        return y, -log_det

    def inverse(self, y, context=None):
        x, log_det = self._at_once(y, context)
        return x, -log_det


KINDS = {"coupling": AffineCoupling, "iaf": InverseAutoregressive, "maf": MaskedAutoregressive}


def make_steps(kind, num_steps, dim, hidden, context_size=0):
    """The steps of a flow, their variables made; to be called in the `build` of the layer that keeps them.

    Args:
        kind: key of `KINDS`.
        num_steps: how many.
        dim: D.
        hidden: widths of the hidden layers of each step's network.
        context_size: width of the context, 0 for none.

    Returns:
        list of `Step`.

    Raises:
        ValueError: when a flow of this kind cannot have `dim` values.

    Example:
        >>> steps = kvae.flows.make_steps("coupling", 4, dim=16, hidden=(64,))
    """
    return [KINDS[kind](dim, hidden, context_size, index) for index in range(num_steps)]


def forward(steps, x, context=None):
    """(y `[..., D]`, log |det dy/dx| `[...]`) of all steps, the first step first.

    Example:
        >>> steps = kvae.flows.make_steps("maf", 4, dim=2, hidden=(8,))
        >>> y, log_det = kvae.flows.forward(steps, tf.zeros([5, 2]))
    """
    total = tf.zeros([])
    for step in steps:
        x, log_det = step.forward(x, context)
        total = total + log_det
    return x, total


def inverse(steps, y, context=None):
    """(x `[..., D]`, log |det dy/dx| `[...]`) such that `forward` of x gives y, and the same log-determinant.

    Example:
        >>> steps = kvae.flows.make_steps("maf", 4, dim=2, hidden=(8,))
        >>> x, log_det = kvae.flows.inverse(steps, tf.zeros([5, 2]))
    """
    total = tf.zeros([])
    for step in reversed(steps):
        y, log_det = step.inverse(y, context)
        total = total + log_det
    return y, total


def _shift_and_log_scale(outputs, bias=0.0):
    """Shift and log-scale, the second bounded smoothly."""
    shift, raw = tf.split(outputs, 2, axis=-1)
    return shift, LOG_SCALE_BOUND * tf.tanh((raw + bias) / LOG_SCALE_BOUND)
