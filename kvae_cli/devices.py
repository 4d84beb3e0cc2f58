"""What `kvae train` trains on: all visible GPUs, all workers of TF_CONFIG, or one device."""


def strategy(kvae):
    """The `tf.distribute` strategy that the environment asks for; says in one line what it is."""
    chosen = kvae.cluster.strategy()
    print(f"training on {describe(chosen)}", flush=True)
    return chosen


def describe(strategy):
    import tensorflow as tf

    replicas, resolver = strategy.num_replicas_in_sync, getattr(strategy, "cluster_resolver", None)
    if replicas == 1:
        return "one GPU" if tf.config.get_visible_devices("GPU") else "the CPU"
    workers = sum(map(len, resolver.cluster_spec().as_dict().values())) if resolver else 1
    name = type(strategy).__name__.removesuffix("V1").replace("CollectiveAllReduce", "MultiWorkerMirrored")
    if workers <= 1:
        return f"{replicas} devices of this machine ({name})"
    return f"{workers} workers with {replicas // workers} device(s) each, as {resolver.task_type} {resolver.task_id} ({name})"


def meet(strategy):
    """Waits for the other workers to come to the same point, where there are any."""
    import tensorflow as tf

    if strategy.num_replicas_in_sync > 1:
        strategy.reduce("SUM", tf.zeros([]), axis=None)
