"""A progress bar that appears where somebody may be waiting for it."""

import sys
import time

import keras

from kvae import checks

# Seconds after which "auto" begins to show a bar: what is done by then needs none.
_PATIENCE = 2.0


class Progress:
    """Counts work done, and shows it: with "auto" after two seconds, on a terminal or in a notebook.

    Args:
        total: units of work, or None if that is not known.
        verbose: "auto", 0 (never) or 1 (always).
        unit_name: what a unit is called.

    Raises:
        ValueError: for any other `verbose`.
    """

    def __init__(self, total, verbose="auto", unit_name="sample"):
        checks.check_choice("verbose", verbose, ("auto", 0, 1))
        watched = sys.stdout.isatty() or "ipykernel" in sys.modules
        self.shown_after = {"auto": _PATIENCE if watched else float("inf"), 0: float("inf"), 1: 0.0}[verbose]
        self.bar = keras.utils.Progbar(total, unit_name=unit_name)
        self.start, self.done = time.monotonic(), 0

    def add(self, amount):
        """Counts `amount` more units as done."""
        self.done += amount
        if time.monotonic() - self.start >= self.shown_after:
            self.bar.update(self.done)
