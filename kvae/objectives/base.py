"""What the objectives share: their base class, means over samples and batches, and the checks of their arguments."""

import math

import tensorflow as tf

from kvae import checks, parts, replicas
from kvae.objectives.terms import weighted_sum


class Objective(parts.Part):
    """Base class of the objectives. A subclass gives `loss`.

    Attributes:
        num_samples: draws of z per example.
    """

    num_samples = 1

    @property
    def output_shape(self):
        return (None,)

    def loss(self, terms):
        """The cost `[B]` of each example, nats, from `Terms`."""
        raise NotImplementedError(
            f"{type(self).__name__} must give `loss(terms)`, the cost [B] of each example in nats."
        )

    def gate(self, z, memo):
        """z `[S, B, D]` as the decoder and the densities shall see it; a place to change what flows backwards."""
        return z

    def auxiliary_loss(self, terms):
        """A scalar to minimise along with the loss but not to report in it: a discriminator's."""
        return 0.0


def log_mean_exp(log_weight):
    """log 1/S sum_s exp(log_weight_s) over the first axis."""
    count = tf.cast(tf.shape(log_weight)[0], log_weight.dtype)
    return tf.reduce_logsumexp(log_weight, axis=0) - tf.math.log(count)


def batch_mean(values, sample_weight=None):
    """The mean of `values` `[B, ...]` by sample weights `[B]` over the rows of the batch, those of all replicas."""
    weight = tf.ones(tf.shape(values)[:1], values.dtype) if sample_weight is None else sample_weight
    weighted = replicas.total(weighted_sum(weight, values))
    return tf.math.divide_no_nan(weighted, replicas.total(tf.reduce_sum(weight)))


def check_number(name, value, minimum=0.0):
    """`value` as a float if it is finite and at least `minimum`, else ValueError."""
    if not checks.is_number(value) or not math.isfinite(value) or value < minimum:
        bound = "" if minimum == -math.inf else f", {'zero' if minimum == 0 else minimum} or larger"
        raise ValueError(f"`{name}` must be a number{bound}. Received: {name}={value!r}")
    return float(value)


def check_num_samples(num_samples):
    """`num_samples` if it is a whole number of at least 1, else ValueError."""
    return checks.check_count("num_samples", num_samples)
