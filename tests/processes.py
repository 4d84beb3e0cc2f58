"""Processes on loopback that make one cluster, and that never outlive the test."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).parent


def free_addresses(count):
    """Addresses on loopback whose ports are free at this moment."""
    with contextlib.ExitStack() as open_:
        sockets = [open_.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


def tf_config(addresses, index):
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


@contextlib.contextmanager
def workers(arguments, folder, count=2):
    """Starts `python *arguments` as the workers of one cluster; their words go to FOLDER/INDEX.log."""
    addresses, running = free_addresses(count), []
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        for index in range(count):
            with (folder / f"{index}.log").open("w") as log:
                running.append(
                    subprocess.Popen(
                        [sys.executable, *map(str, arguments)],
                        env=environment | {"TF_CONFIG": tf_config(addresses, index)},
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        yield running
    finally:
        for each in running:
            each.kill()
            each.wait()


def finish(running, folder, timeout):
    """Waits until all have ended well, within some seconds altogether."""
    deadline = time.monotonic() + timeout
    while any(each.poll() is None for each in running):
        failed = [index for index, each in enumerate(running) if each.poll() not in (None, 0)]
        if failed or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    codes = [each.poll() for each in running]
    words = "\n".join((folder / f"{index}.log").read_text()[-3000:] for index in range(len(running)))
    assert codes == [0] * len(running), f"ended with {codes}:\n{words}"


def wait_for(text, path, timeout):
    """Waits until a file holds a text."""
    deadline = time.monotonic() + timeout
    while text not in (path.read_text() if path.exists() else ""):
        assert time.monotonic() < deadline, f"no '{text}' in:\n{path.read_text()[-3000:]}"
        time.sleep(0.05)
