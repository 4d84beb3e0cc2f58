"""The little that several replicas (`tf.distribute`) need to know of each other; on one device, nothing."""

import keras
import tensorflow as tf


def _context():
    context = tf.distribute.get_replica_context()
    return None if context is None or context.num_replicas_in_sync == 1 else context


def total(value):
    """The sum of `value` over all replicas."""
    context = _context()
    return value if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def share(scalar):
    """This replica's share of a scalar that every replica computes whole: the shares add up to it."""
    context = _context()
    return scalar if context is None else scalar / context.num_replicas_in_sync


def share_of_mean(values, weight=None):
    """This replica's share of the weighted mean of `values` `[B]` over the global batch: the shares add up to it.

    Keras optimizers sum gradients over replicas, so this is right for uneven replica batches too.
    """
    if weight is None:
        weight = tf.ones_like(values)
    return tf.math.divide_no_nan(tf.reduce_sum(weight * values), total(tf.reduce_sum(weight)))


def rows_before(count):
    """How many rows of the global batch stand on the replicas before this one, which has `count`; int32 scalar."""
    context = _context()
    if context is None:
        return tf.constant(0)
    replica = context.replica_id_in_sync_group
    own = tf.one_hot(replica, context.num_replicas_in_sync, dtype=tf.int32) * tf.cast(count, tf.int32)
    return tf.reduce_sum(total(own)[:replica])


class RowCounter(keras.metrics.Metric):
    """How many rows were seen since the reset; a metric, so that it is no weight of the model."""

    def __init__(self, name="rows", dtype="int32"):
        super().__init__(name=name, dtype=dtype)
        self.rows = self.add_variable(
            (), initializer="zeros", dtype=dtype, aggregation="only_first_replica", name="rows"
        )

    def update_state(self, rows):
        self.rows.assign_add(rows)

    def result(self):
        return self.rows.value
