"""Two replicas on the two logical CPU devices."""

import tensorflow as tf


def two_replicas():
    # The default all-reduce numbers its collectives anew for each strategy, and models of one process get mixed up.
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())
