"""Exported decoders against the figures to reach: size, error, single-thread time and memory, each with pass or miss.

Run `python benchmarks/export.py`. Three decoders: (a) the shipped mnist_conv; (b) one of about 500,000 parameters for
64x64x3 images and (c) one for 128x128x3, trained for `--seconds` each on drawn images (soft discs of random place, size
and colour on a shaded ground). In each round every contestant has its turn of 0.4 s, of which the fastest call counts, as
others who use the machine cost a long call more than a short one; times and ratios are medians over the rounds.
TensorFlow, LiteRT and onnxruntime have one thread each.
"""

import argparse
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

import kvae

PRECISIONS = ("float32", "float16", "int8", "int8_full")
MAX_ERROR = {"float32": 1e-5, "float16": 1e-3, "int8": 2e-2, "int8_full": 5e-2}
MIN_PSNR = {"float16": 80, "int8": 50, "int8_full": 45}
MAX_SIZE = {"float16": 0.52, "int8": 0.32}  # of float32


def drawn_images(number, side, seed=0):
    """float32 `[number, side, side, 3]` in [0, 1]."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[0:side, 0:side].astype("float32") / side
    tint, slope = rng.random((number, 1, 1, 3)), rng.normal(size=(2, number, 1, 1, 1))
    images = 0.5 * tint + 0.2 * (slope[0] * down[None, ..., None] + slope[1] * across[None, ..., None])
    for _ in range(2):
        centre, radius = rng.uniform(0.2, 0.8, (2, number, 1, 1)), rng.uniform(0.08, 0.3, (number, 1, 1))
        distance = np.hypot(down - centre[0], across - centre[1])
        inside = 1 / (1 + np.exp((distance - radius) * side / 3))[..., None]
        images = images * (1 - inside) + rng.random((number, 1, 1, 3)) * inside
    return np.clip(images, 0, 1).astype("float32")


class StopAfter(keras.callbacks.Callback):
    def __init__(self, seconds):
        super().__init__()
        self.end = time.perf_counter() + seconds

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = time.perf_counter() > self.end


def trained(side, filters, seconds):
    keras.utils.set_random_seed(0)
    encoder = kvae.networks.conv_encoder((side, side, 3), 32, filters=filters)
    decoder = kvae.networks.conv_decoder(32, (side, side, 3), filters=filters)
    vae = kvae.VAE(encoder, decoder, kvae.likelihoods.Normal(scale=0.1), seed=0)
    vae.compile(keras.optimizers.Adam(1e-3), steps_per_execution=1)
    images = drawn_images(2000, side)
    history = vae.fit(images, batch_size=32, epochs=1000, callbacks=[StopAfter(seconds)], verbose=0).history
    print(f"trained for {seconds:.0f} s, {vae.optimizer.iterations.numpy()} steps, elbo {history['elbo'][-1]:.0f} nats")
    return vae


def line(what, value, target=None, passed=True):
    verdict = "" if target is None else f"   target {target:10} {'pass' if passed else 'MISS'}"
    print(f"  {what:52} {value:>12}{verdict}")


def run(name, vae, rounds):
    print(f"\n{name}: decoder of {vae.decoder.count_params():,} parameters, {vae.latent_dim} -> {vae.data_shape}")
    with tempfile.TemporaryDirectory() as folder:
        reports = {}
        for precision in PRECISIONS:
            path = pathlib.Path(folder, f"{precision}.tflite")
            try:
                reports[precision] = kvae.export.tflite(vae, path, precision=precision)
            except kvae.export.VerificationError as error:
                line(f"{precision}: export", "refused", "exported", False)
                print(f"    {error}")
        onnx = kvae.export.onnx(vae, pathlib.Path(folder, "decoder.onnx"))
        errors(vae, reports, folder)
        sizes(vae, reports)
        times(vae, reports, onnx, rounds)
        for precision, report in reports.items():
            (row,) = kvae.export.benchmark(report.path, seconds=0.05)
            print(f"  {precision}: resident memory of one decode {row.memory_bytes / 1e6:24.1f} MB")


def errors(vae, reports, folder):
    """At 64 draws from the prior, and at zero and +-3 besides, which the reports hold."""
    z = vae.prior.from_noise(kvae.random.normal(1, np.arange(64), 0, vae.prior.noise_size), vae).numpy()
    expected = np.asarray(vae.decode(z).mean())
    for precision, report in reports.items():
        difference = kvae.export.load(report.path).decode(z) - expected
        error, decibels = np.abs(difference).max(), -10 * np.log10(np.mean(np.square(difference, dtype="float64")))
        target = MAX_ERROR[precision]
        line(f"{precision}: largest error, prior draws", f"{error:.1e}", f"<= {target:g}", error <= target)
        if precision in MIN_PSNR:
            target = MIN_PSNR[precision]
            line(f"{precision}: PSNR, prior draws", f"{decibels:.1f} dB", f">= {target} dB", decibels >= target)
        print(f"    with zero and +-3 as well, in units of the report: largest error {report.max_error:.1e}")


def sizes(vae, reports):
    for precision, most in MAX_SIZE.items():
        if {precision, "float32"} <= set(reports):
            ratio = reports[precision].num_bytes / reports["float32"].num_bytes
            small = precision == "int8" and vae.decoder.count_params() < 500_000
            target = None if small else f"<= {most}"
            line(f"{precision}: bytes, of those of float32", f"{ratio:.3f}", target, ratio <= most)


def times(vae, reports, onnx, rounds):
    z = np.zeros((1, vae.latent_dim), "float32")
    decode = tf.function(lambda z: vae.likelihood(vae.likelihood_params(z)), jit_compile=False)
    decoder = keras.Sequential([vae.decoder])
    contestants = {precision: _runner(report.path, z) for precision, report in reports.items()}
    contestants["onnxruntime"] = _runner(onnx.path, z)
    contestants["tf.function"] = lambda: decode(tf.constant(z)).numpy()
    contestants["predict"] = lambda: decoder.predict(z, verbose=0)
    for call in contestants.values():
        call()
    times_of = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            taken, end = [], time.perf_counter() + 0.4
            while len(taken) < 3 or time.perf_counter() < end:
                start = time.perf_counter()
                call()
                taken.append(time.perf_counter() - start)
            times_of[name].append(min(taken))
    for name, values in times_of.items():
        print(f"  {name:52} {1000 * np.median(values):9.3f} ms")

    def ratio(first, second):
        return float(np.median(np.divide(times_of[first], times_of[second])))

    for first, second, most in (
        ("float32", "tf.function", 1.0),
        ("float32", "onnxruntime", 1.5),
        ("float16", "float32", None),
        ("int8", "float32", 0.4),
        ("int8_full", "float32", None),
    ):
        if first in times_of:
            value, target = ratio(first, second), None if most is None else f"<= {most}"
            line(f"time of {first} over {second}", f"{value:.2f}", target, most is None or value <= most)
    if "float32" in times_of:
        value = ratio("predict", "float32")
        line("time of predict, batch 1, over float32", f"{value:.0f}", ">= 10", value >= 10)


def _runner(path, z):
    exported = kvae.export.load(path)
    return lambda: exported.run("decode", z=z)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of training for (b) and (c)")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    run("(a) mnist_conv", kvae.pretrained.load("mnist_conv"), options.rounds)
    run("(b) 64x64x3", trained(64, (32, 64, 128, 144), options.seconds), options.rounds)
    run("(c) 128x128x3", trained(128, (16, 32, 64, 128, 144), options.seconds), options.rounds)


if __name__ == "__main__":
    main()
