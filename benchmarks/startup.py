"""What it takes until something happens: imports, `kvae --help`, and the first step of `kvae train digits`.

Run `python benchmarks/startup.py`. Each command is a process of its own; the two imports are interleaved, and the ratio
is that of their medians.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
ROUNDS = 7


def seconds(*command):
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, env=ENVIRONMENT, capture_output=True)
    return time.perf_counter() - start


def main():
    commands = {
        "import tensorflow, tensorflow_probability": ("-c", "import tensorflow, tensorflow_probability"),
        "import kvae": ("-c", "import kvae"),
        "kvae --help": ("-m", "kvae_cli", "--help"),
    }
    times = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            times[name].append(seconds(*command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:42} {value:6.2f} s   ({min(times[name]):.2f} to {max(times[name]):.2f})")
    both = [medians[name] for name in list(commands)[:2]]
    print(f"{'import kvae, times as long':42} {both[1] / both[0]:6.2f}")

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "kvae_cli", "train", "digits", "--epochs", "1", "--samples", "1"]
        done = subprocess.run(command, check=True, env=ENVIRONMENT, cwd=folder, capture_output=True, text=True)
    print(f"{'kvae train digits, to the first step':42} {re.search(r'first step after (.+) s', done.stdout)[1]:>6} s")


if __name__ == "__main__":
    main()
