"""Silence for the logs of C++ libraries, which are not meant for the user of this package."""

import contextlib
import logging
import os
import sys
import threading

# Two threads that redirected at once would restore each other's redirection.
_LOCK = threading.RLock()


@contextlib.contextmanager
def quiet():
    """Drops what is written to standard error while the block runs. Exceptions pass, and the stream is restored.

    The TFLite converter and interpreter log below Python, to file descriptor 2, where no logging level of theirs that
    can be set after the import of TensorFlow reaches. So the descriptor itself is pointed elsewhere, for as short a
    time as possible: only around calls into those libraries. TensorFlow's logger in Python, which a notebook shows, is
    raised to errors meanwhile.
    """
    with _LOCK, contextlib.ExitStack() as undo:
        logger = logging.getLogger("tensorflow")
        undo.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)
        try:
            original = os.dup(2)
        except OSError:  # a process without a standard error has nothing to silence
            original = None
        if original is not None:
            undo.callback(os.close, original)
            undo.callback(os.dup2, original, 2)
            undo.callback(_flush)
            _flush()
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
        yield


def _flush():
    if sys.stderr is not None:
        sys.stderr.flush()
