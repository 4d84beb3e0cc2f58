"""Training on a file several times larger than the memory it may take.

Run `python benchmarks/streaming.py`. It writes 12 GB of 64x64x3 images into `--folder`, then, in a process of its own
that may take 3 GB (a memory cgroup where one can be made, else RLIMIT_DATA), trains one epoch through all of them by
`kvae.data.stream` and prints the peak of the resident memory, and examples per second beside those of the stream alone.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SHAPE = (64, 64, 3)


def write_images(path, gigabytes):
    """Discs of random place, size and colour on random grounds, as one `.npy` file; returns how many."""
    import numpy as np

    rng, count, at_once = np.random.default_rng(0), int(gigabytes * 1e9 / np.prod(SHAPE)), 4096
    images = np.lib.format.open_memmap(path, mode="w+", dtype="uint8", shape=(count, *SHAPE))
    y, x = np.mgrid[:64, :64]
    for start in range(0, count, at_once):
        rows = min(at_once, count - start)
        centre, radius = rng.uniform(12, 52, (2, rows, 1, 1)), rng.uniform(6, 20, (rows, 1, 1))
        inside = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2)[..., None]
        disc, ground = rng.integers(0, 256, (2, rows, 1, 1, 3), dtype="uint8")
        images[start : start + rows] = np.where(inside, disc, ground)
        print(f"\rwriting {path}: {(start + rows) / count:.0%}", end="", flush=True)
    images.flush()
    print()
    return count


def limit_memory(gigabytes):
    """Limits this process, and says how."""
    limit, group = int(gigabytes * 1e9), pathlib.Path(f"/sys/fs/cgroup/memory/kvae-{os.getpid()}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit))
        (group / "cgroup.procs").write_text(str(os.getpid()))
        return "memory cgroup"
    except OSError:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        return "RLIMIT_DATA"


def train(path, limit, batch_size):
    """Prints, as JSON, what one epoch under the limit took."""
    how = limit_memory(limit)
    import keras

    import kvae

    def resident():
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e9

    keras.utils.set_random_seed(0)
    encoder = kvae.networks.dense_encoder(SHAPE, latent_dim=16, hidden=(64,))
    decoder = kvae.networks.dense_decoder(16, SHAPE, hidden=(64,))
    vae = kvae.VAE(encoder, decoder, likelihood="normal", seed=0)
    vae.compile("adam")
    vae.fit(kvae.data.stream(path, batch_size), steps_per_epoch=50, verbose=0)
    started_with = resident()

    data = kvae.data.stream(path, batch_size)
    start = time.perf_counter()
    rows = sum(int(batch.shape[0]) for batch in data.take(2000))
    alone = rows / (time.perf_counter() - start)
    start = time.perf_counter()
    history = vae.fit(data, verbose=0).history
    trained = data.feed.rows / (time.perf_counter() - start)
    # Not ru_maxrss, which a process takes over from the one that started it.
    status = pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1]
    peak = int(status.split()[0]) * 1024 / 1e9
    figures = {"limit": how, "after 50 steps": started_with, "peak": peak, "at the end": resident()}
    print(json.dumps(figures | {"stream": alone, "fit": trained, "elbo": history["elbo"][-1]}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=12.0, help="size of the file")
    parser.add_argument("--limit", type=float, default=3.0, help="gigabytes the training may take")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--train", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        return train(options.train, options.limit, options.batch_size)

    path = options.folder / "kvae-streaming.npy"
    try:
        count = write_images(path, options.gigabytes)
        print(f"{count:,} images of 64x64x3, {path.stat().st_size / 1e9:.1f} GB; limit {options.limit:g} GB")
        command = [sys.executable, __file__, "--train", str(path), "--limit", str(options.limit)]
        command += ["--batch-size", str(options.batch_size)]
        done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    finally:
        path.unlink(missing_ok=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    print(f"limited by a {figures['limit']}")
    for name in ("after 50 steps", "peak", "at the end"):
        print(f"resident memory, {name:15} {figures[name]:5.2f} GB")
    print(f"the stream alone                 {figures['stream']:8,.0f} examples/s")
    print(f"one epoch of fit                 {figures['fit']:8,.0f} examples/s, ELBO {figures['elbo']:.1f}")
    return None


if __name__ == "__main__":
    main()
