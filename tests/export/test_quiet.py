"""Nothing is printed that the user did not ask for, and nothing is lost that they should see."""

import os
import threading

import pytest
from exporting import run_without

from kvae.export.quiet import quiet

_SCRIPT = """
import os
import kvae, kvae.export
import numpy as np

shape = (8, 8, 1)
vae = kvae.VAE(kvae.networks.conv_encoder(shape, 3), kvae.networks.conv_decoder(3, shape))
vae.decode(np.zeros((1, 3)))
os.write(2, b"[begin]")
for path, exporter in (("saved", kvae.export.saved_model), ("decoder.tflite", kvae.export.tflite)):
    exporter(vae, path)
    kvae.export.load(path).decode(np.zeros((4, 3)))
try:
    vae.decoder.layers[1].activation = __import__("keras").ops.erf
    kvae.export.tflite(vae, "other.tflite")
except kvae.export.UnsupportedOperationError:
    os.write(2, b"[end]")
"""


def test_exporting_and_loading_print_nothing_at_any_log_level(tmp_path):
    printed = run_without((), _SCRIPT, tmp_path, log_level="0")
    assert printed[printed.index("[begin]") :] == "[begin][end]"


def test_silence_ends_with_the_block(capfd):
    with quiet():
        os.write(2, b"from a library\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_exceptions_pass_and_the_stream_is_restored(capfd):
    with pytest.raises(ZeroDivisionError), quiet():
        raise ZeroDivisionError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_threads_do_not_restore_each_others_silence(capfd):
    second_inside, first_left = threading.Event(), threading.Event()

    def second():
        with quiet():
            second_inside.set()
            first_left.wait()

    thread = threading.Thread(target=second)
    with quiet():
        thread.start()
        assert not second_inside.wait(timeout=0.2)  # or it would keep silent what it found to be silent
    first_left.set()
    thread.join()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors the way of Linux")
def test_leaves_no_descriptors_open():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with quiet():
            pass
    assert len(os.listdir("/proc/self/fd")) == before
