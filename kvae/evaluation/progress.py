"""A progress bar that appears where somebody may be waiting for it, or lines that tell a log that it goes on."""

import math
import sys
import time

import keras

from kvae import checks

# Seconds after which "auto" begins to show a bar: what is done by then needs none.
_PATIENCE = 2.0
# Seconds between the lines that it writes where nobody sees a bar.
_SILENCE = 30.0


class Progress:
    """Counts work done, and shows it: with "auto" as a bar after two seconds, on a terminal or in a notebook, and elsewhere
    by a line on standard error every half minute.

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
        self.bar = keras.utils.Progbar(total, unit_name=unit_name) if watched or verbose == 1 else None
        wait = {"auto": _PATIENCE if watched else _SILENCE, 0: math.inf, 1: 0.0}[verbose]
        self.total, self.unit_name, self.done, self.due = total, unit_name, 0, time.monotonic() + wait

    def add(self, amount):
        """Counts `amount` more units as done."""
        self.done += amount
        if time.monotonic() < self.due:
            return
        if self.bar is not None:
            self.bar.update(self.done)
        else:
            total = "" if self.total is None else f" of {self.total:,}"
            sys.stderr.write(f"kvae: {self.done:,}{total} {self.unit_name}s\n")
            self.due = time.monotonic() + _SILENCE
