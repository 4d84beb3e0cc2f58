"""The little that several replicas (`tf.distribute`) need to know of each other; on one device, nothing.

Keras's own ways with replicas that are mended here, each in one place: `AlreadyBuilt`, `step_logs` and
`overflow_together`.
"""

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


def step_logs(model):
    """What a step reports: the metrics of a model, their means taken over all replicas, whatever rows each has seen.

    Keras gives the mean of the replicas' own results, which is another figure where their rows are uneven.
    """
    logs, context = model.get_metrics_result(), _context()
    if context is None:
        return logs
    means = [metric for metric in model.metrics if type(metric) is keras.metrics.Mean]
    sums = [[tf.cast(each.value, tf.float64) for each in (metric.total, metric.count)] for metric in means]
    sums = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.stack(sums))
    logs |= {metric.name: tf.math.divide_no_nan(sums[i, 0], sums[i, 1]) for i, metric in enumerate(means)}
    if _num_workers(tf.distribute.get_strategy()) == 1:
        return logs
    # With several workers Keras 3.15 reduces logs over their axis 0, which a scalar does not have
    # (tensorflow/tensorflow#72388). This line can go when test_distribute.py passes without it.
    return {name: tf.reshape(value, [1]) for name, value in logs.items()}


def overflow_together(optimizer, gradients):
    """Gradients of which one is not finite on every replica if one is not on any.

    `keras.optimizers.LossScaleOptimizer` takes them for the sum over replicas, which its inner optimizer has yet to
    make: where one replica alone overflows in float16, the weights become infinite, or the workers wait for each other.
    """
    if _context() is None or not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return gradients
    overflow = total(tf.where(optimizer.check_finite(gradients), 0.0, float("nan")))
    return [each + tf.cast(overflow, each.dtype) if tf.is_tensor(each) else each for each in gradients]


class AlreadyBuilt:
    """For models whose variables are all made before `fit` and `evaluate`: leaves Keras's symbolic build out.

    Under a strategy Keras would build them from the mean of the replicas' first batches, which fails where these have
    unequal numbers of rows, and always with several workers.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        pass


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


def _num_workers(strategy):
    resolver = getattr(strategy, "cluster_resolver", None)
    cluster = resolver.cluster_spec().as_dict() if resolver else {}
    return max(1, sum(len(cluster.get(job, ())) for job in ("chief", "worker")))


def is_chief(strategy=None):
    """Whether this process is the one that writes files: with several workers the first, else always.

    Args:
        strategy: `tf.distribute.Strategy`, by default the one in scope.

    Example:
        >>> callbacks = [keras.callbacks.ModelCheckpoint("vae.keras")] if kvae.replicas.is_chief(strategy) else []
    """
    strategy = strategy or tf.distribute.get_strategy()
    if _num_workers(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def build_optimizer(model):
    """Makes the variables of a model's optimizer, in the scope of its strategy.

    Raises:
        ValueError: when the model's own variables were made outside of that scope.
    """
    strategy = model.distribute_strategy
    outside = [each.path for each in model.variables if not strategy.extended.variable_created_in_scope(each.value)]
    if outside:
        raise ValueError(
            f"The variable '{outside[0]}' was made outside of the scope of {type(strategy).__name__}, which trains the "
            "model. Make the networks, the parts and the VAE, and compile it, in one `with strategy.scope():`."
        )
    with strategy.scope():
        model.optimizer.build(model.trainable_variables)


def check_start(model, steps):
    """Checks, before the first epoch, that no worker would wait in vain for another, or train other weights than it.

    Args:
        model: a `keras.Model` that trains.
        steps: number of batches of the epoch, or None where it is not known.

    Raises:
        ValueError: when the workers differ in it, or in the number of steps already taken.
    """
    strategy = model.distribute_strategy
    if _num_workers(strategy) == 1:
        return
    own = [-1 if steps is None else steps, int(model.steps_taken.numpy())]
    for other in strategy.gather(tf.constant([own], tf.int64), axis=0).numpy().tolist():
        if other[0] != own[0]:
            raise ValueError(
                "All workers must be given the same data and batch size, of which each takes its share. "
                f"Received: {own[0]} batches in an epoch here, {other[0]} on another worker."
            )
        if other[1] != own[1]:
            raise ValueError(
                "All workers must start from the same weights. "
                f"Received: a model of {own[1]} steps here, of {other[1]} on another worker. "
                "Resume from a file that all workers can read and the first has written."
            )
