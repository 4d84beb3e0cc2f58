"""What a flow makes of a base distribution."""

import tensorflow as tf
import tensorflow_probability as tfp

from kvae.flows.steps import forward, inverse

tfd = tfp.distributions


class FlowDistribution(tfd.Distribution):
    """The distribution of y = flow(x), x ~ base; nats. `log_prob` is exact, by the inverse of the flow.

    There is no closed form of the mean: `mean()` gives the image of the base's mean, the point to which noise zero
    goes. `stddev` and the like are not implemented.

    Args:
        base: tfd distribution, batch `[...]`, event `[D]`.
        steps: list of `Step`.
        context: `[..., C]` with the batch axes of base, or None.
        source: key of the draws that `remember` knows, see there.

    Example:
        >>> base = tfd.MultivariateNormalDiag(tf.zeros([4, 2]), tf.ones(2))
        >>> q = kvae.flows.FlowDistribution(base, kvae.flows.make_steps("iaf", 2, dim=2, hidden=(64,)))
        >>> q.log_prob(tf.zeros([4, 2])).shape
        TensorShape([4])
    """

    def __init__(self, base, steps, context=None, source=None, name="FlowDistribution"):
        parameters = dict(locals())
        self.base = base
        self.context = context
        self._steps = steps
        self._source = source
        super().__init__(
            dtype=base.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def _batch_shape(self):
        return self.base.batch_shape

    def _batch_shape_tensor(self):
        return self.base.batch_shape_tensor()

    def _event_shape(self):
        return self.base.event_shape

    def _event_shape_tensor(self):
        return self.base.event_shape_tensor()

    def _sample_n(self, n, seed=None):
        return forward(self._steps, self.base.sample(n, seed=seed), self.context)[0]

    def _mean(self):
        return forward(self._steps, self.base.mean(), self.context)[0]

    def _log_prob(self, y):
        remembered = recall(y, self._source)
        if remembered is not None:
            return remembered
        x, log_det = inverse(self._steps, y, self.context)
        return self.base.log_prob(x) - log_det


def remember(z, source, log_prob):
    """Keeps with the tensor z its log-density, for `recall` with the same source: a tuple of objects, told by identity.

    The inverse of an autoregressive flow takes D passes for D values, but the density of a z just drawn is known from
    the way forward. The note hangs on the tensor object itself, so any tensor derived from z, even an identity, has
    none, and `log_prob` computes; a note found is always right. Eager tensors get no note: weights may change before
    they are asked for, where within one graph they do not.
    """
    if not tf.executing_eagerly():
        z._kvae_drawn = (source, log_prob)


def recall(z, source):
    """The log-density that `remember` left for this very tensor and source, or None."""
    found, log_prob = getattr(z, "_kvae_drawn", (None, None))
    if found is None or source is None or any(a is not b for a, b in zip(found, source, strict=True)):
        return None
    return log_prob
