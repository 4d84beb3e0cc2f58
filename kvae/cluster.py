"""Which of TensorFlow's `tf.distribute` strategies this process is to train under, checked before anyone waits in vain.

TensorFlow itself waits without a word, for up to an hour and deaf to Ctrl-C, when a worker of `TF_CONFIG` does not come
or was told of another cluster. So the workers call the roll before they start it.
"""

import contextlib
import dataclasses
import json
import os
import socket
import time

import tensorflow as tf

_LONGEST_MESSAGE = 1 << 20  # bytes; a cluster of thousands of workers fits
_GRACE = 10.0  # seconds; the chief may have started later, and it is the one who knows which worker is missing


def strategy(timeout=600.0):
    """The strategy that the environment asks for.

    With several workers in the environment variable `TF_CONFIG`, `tf.distribute.MultiWorkerMirroredStrategy`, once all
    of them have answered; else with several visible GPUs `tf.distribute.MirroredStrategy`; else TensorFlow's default of
    one device. Call it before anything that makes tensors, and make networks and VAE in its scope.

    Args:
        timeout: seconds to wait for the other workers.

    Returns:
        `tf.distribute.Strategy`.

    Raises:
        ValueError: when `TF_CONFIG` is malformed, or the workers were given different ones.
        TimeoutError: when a worker does not answer in time.

    Example:
        >>> with kvae.cluster.strategy().scope():
        ...     vae = kvae.VAE(*make_networks())
    """
    if not timeout > 0:
        raise ValueError(f"`timeout` must be larger than zero seconds. Received: timeout={timeout!r}")
    own = read_task(os.environ.get("TF_CONFIG", ""))
    if own is None:
        if not os.environ.get("TF_CONFIG", "").strip():
            os.environ.pop("TF_CONFIG", None)  # TensorFlow takes an empty one for malformed JSON
        several = len(tf.config.get_visible_devices("GPU")) > 1
        return tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()
    call_roll(own, time.monotonic() + timeout, devices=len(tf.config.get_visible_devices("GPU")))
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise RuntimeError(
            "kvae.cluster.strategy() must be called before anything that makes tensors, right after the imports. "
            f"TensorFlow says: {error}"
        ) from error


@dataclasses.dataclass(frozen=True)
class Task:
    """What one process is in a cluster: the `index`-th of `addresses`, host:port, of which the first is the chief."""

    addresses: tuple
    index: int


def read_task(text):
    """The `Task` of a `TF_CONFIG`, or None where it names no more than one worker.

    Raises:
        ValueError: when the text is not a `TF_CONFIG` of a chief and workers.
    """
    if not text.strip():
        return None

    def refuse(what):
        raise ValueError(
            f"TF_CONFIG {what}. Expected for instance "
            '{"cluster": {"worker": ["first:2222", "second:2222"]}, "task": {"type": "worker", "index": 0}}. '
            f"Received: {text[:500]}"
        )

    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        refuse(f"is not JSON: {error}")
    if not isinstance(config, dict) or not isinstance(config.get("cluster", {}), dict):
        refuse("must be an object with the keys `cluster` and `task`")
    cluster = config.get("cluster", {})
    if not cluster:
        return None
    if unknown := sorted(set(cluster) - {"chief", "worker"}):
        refuse(f"names tasks that training on equal workers does not have: {', '.join(unknown)}")
    if not all(isinstance(hosts, list) for hosts in cluster.values()):
        refuse("must list the addresses of each kind of task")
    tasks = [(kind, index) for kind in ("chief", "worker") for index in range(len(cluster.get(kind, ())))]
    addresses = tuple(cluster[kind][index] for kind, index in tasks)
    for address in addresses:
        if not (isinstance(address, str) and address.rpartition(":")[0] and address.rpartition(":")[2].isdecimal()):
            refuse(f"must give each address as host:port, and gives {address!r}")
    if len(set(addresses)) < len(addresses):
        refuse("gives one address to several tasks")
    task = config.get("task")
    if not isinstance(task, dict) or (task.get("type"), task.get("index")) not in tasks or task["index"] is True:
        refuse(f"must say which of its {len(tasks)} tasks this process is, counted from 0, and says {task!r}")
    return Task(addresses, tasks.index((task["type"], task["index"]))) if len(tasks) > 1 else None


def call_roll(own, deadline, **facts):
    """Waits until all workers are there, and agree on the cluster and on some facts.

    Args:
        own: the `Task` of this process.
        deadline: in the seconds of `time.monotonic`.
        facts: what must be equal on all workers, by name.

    Raises:
        ValueError: when they do not agree, or this worker's port is taken.
        TimeoutError: when one of them does not answer in time.
    """
    facts = {"addresses": list(own.addresses), **facts}
    port = int(own.addresses[own.index].rpartition(":")[2])
    try:
        listener = socket.create_server(("", port), backlog=len(own.addresses))
    except OSError as error:
        raise ValueError(f"Worker {own.index} cannot use its port {port} of TF_CONFIG: {error.strerror}.") from error
    with listener:
        if own.index == 0:
            _hear(listener, own, deadline, facts)
            return
    _report(own, deadline, facts)


def _hear(listener, own, deadline, facts):
    """The chief's side: hears every worker, then tells all that they may start, or why not."""
    present = {}
    try:
        complaint = None
        while len(present) < len(own.addresses) - 1 and complaint is None:
            listener.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                missing = [f"{i} ({own.addresses[i]})" for i in range(1, len(own.addresses)) if i not in present]
                complaint = f"No word from worker {', '.join(missing)}. Start every worker of TF_CONFIG."
                break
            try:
                # Whoever has connected has its words ready; who has none is no worker.
                connection.settimeout(5)
                word = json.loads(_read_line(connection))
                index, theirs = int(word["index"]), dict(word["facts"])
            except (OSError, ValueError, KeyError, TypeError):
                connection.close()
                continue
            for gone in [each for each, other in present.items() if _has_gone(other)]:
                present.pop(gone).close()  # that worker died while it waited, and may be started again
            doubled = present.get(index)
            present[index if doubled is None else (index, "again")] = connection
            complaint = _difference(index, theirs, facts, doubled is not None)
        for connection in present.values():
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(complaint).encode() + b"\n")
    finally:
        for connection in present.values():
            connection.close()
    if complaint is not None:
        raise (TimeoutError if complaint.startswith("No word") else ValueError)(complaint)


def _has_gone(connection):
    """Whether the other side, which has nothing more to say, has closed a connection."""
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(5)


def _difference(index, theirs, ours, doubled):
    """What is wrong with a worker's facts, in words; None if nothing is."""
    if doubled:
        return f"Two processes say that they are worker {index}. Give each an `index` of its own in TF_CONFIG."
    for name in ours:
        if theirs.get(name) != ours[name]:
            return (
                f"All workers must have the same {name}. Received: {ours[name]} on worker 0, and {theirs.get(name)} on "
                f"worker {index}."
            )
    return None


def _report(own, deadline, facts):
    """A worker's side: reports to the chief, and raises what the chief complains of."""
    host, _, port = own.addresses[0].rpartition(":")
    word = json.dumps({"index": own.index, "facts": facts}).encode() + b"\n"
    problem = "it was not tried"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=left) as connection:
                connection.sendall(word)
                connection.settimeout(left + _GRACE)
                complaint = json.loads(_read_line(connection))
        except (OSError, ValueError) as error:  # the chief is not there yet
            problem = error
            time.sleep(min(0.2, left))
            continue
        if complaint is not None:
            raise (TimeoutError if complaint.startswith("No word") else ValueError)(complaint)
        return
    raise TimeoutError(
        f"No word from worker 0 ({own.addresses[0]}): {problem}. Start every worker of TF_CONFIG, and let them reach each "
        "other's ports."
    )


def _read_line(connection):
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(65536)
        if not part or len(line) > _LONGEST_MESSAGE:
            raise ValueError("The connection ended before the line did.")
        line += part
    return line
