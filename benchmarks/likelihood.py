"""Speed and memory of `kvae.evaluation.log_likelihood`, against pythae's `get_nll` and the matrix products alone.

Run `python benchmarks/likelihood.py`. One network, 784-300-300-40 and back, with the same weights in both packages. The
contestants are interleaved, so that a machine whose speed drifts treats them alike; each round gives one ratio, and the
median of the ratios is the figure. "matrix products" are the three of the decoder on as many rows as kvae decodes at
once, which no importance sampler in float32 can go below. pythae (`pip install -e ".[bench]"`) runs three times: as it
comes, which records gradients that nobody asked for; with gradients switched off by the caller; and then with all
samples in one batch. Its threads wait for each other busily, so next to other work it falls far behind: then compare with `--threads 1`.

Its `get_nll` returns the mean of log p(x), larger being better: not the negative that the name promises.

Needs MNIST (see `kvae.data.load`), and Linux for the figures of memory.
"""

import argparse
import functools
import os
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import kvae

if "--peak" not in sys.argv:  # it would be counted as memory of kvae
    try:
        import torch
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
    except ImportError as error:
        torch, MISSING = None, error

SHAPE, LATENT_DIM, HIDDEN = (784,), 40, (300, 300)
# What is asked of memory, images x samples: many of the one, and many of the other.
MEMORY_CASES = ((10_000, 5), (20, 5_000))


def make_vae():
    keras.utils.set_random_seed(0)
    encoder = kvae.networks.dense_encoder(SHAPE, LATENT_DIM, hidden=HIDDEN)
    vae = kvae.VAE(encoder, kvae.networks.dense_decoder(LATENT_DIM, SHAPE, hidden=HIDDEN), seed=0)
    vae.compile(keras.optimizers.Adam(1e-3))
    return vae


def as_pythae(vae):
    """The same model in pythae."""

    def layers(network):
        pairs = zip(network.get_weights()[::2], network.get_weights()[1::2], strict=True)
        modules = []
        for kernel, bias in pairs:
            linear = torch.nn.Linear(*kernel.shape)
            linear.weight.data, linear.bias.data = torch.tensor(kernel.T.copy()), torch.tensor(bias)
            modules += [linear, torch.nn.ReLU()]
        return torch.nn.Sequential(*modules[:-1])

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.network = layers(vae.encoder)

        def forward(self, x):
            mean, log_var = self.network(x).split(LATENT_DIM, dim=-1)
            return ModelOutput(embedding=mean, log_covariance=log_var)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.network = layers(vae.decoder)

        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

    config = VAEConfig(input_dim=SHAPE, latent_dim=LATENT_DIM, reconstruction_loss="bce")
    return VAE(config, Encoder(), Decoder()).eval()


def matrix_products(vae, rows, total):
    """A function that does the matrix products of the decoder for `total` rows, `rows` at a time."""
    kernels = [tf.constant(each) for each in vae.decoder.get_weights()[::2]]
    z = tf.random.normal([rows, LATENT_DIM], seed=0)

    @tf.function
    def product():
        values = z
        for kernel in kernels:
            values = values @ kernel
        return values

    return lambda: [product().numpy() for _ in range(total // rows)]


def pythae_nll(model, x, num_samples, batch_size, gradients=False):
    with torch.set_grad_enabled(gradients):
        return float(model.get_nll(torch.tensor(x), n_samples=num_samples, batch_size=batch_size))


def compare(options):
    vae, data = make_vae(), kvae.data.mnist()
    vae.fit(kvae.data.binarize(data.x_train).reshape(-1, *SHAPE), epochs=1, batch_size=128, verbose=0)
    x = kvae.data.binarize(data.x_test, seed=1).reshape(-1, *SHAPE)[: options.examples]
    samples, total = options.samples, len(x) * options.samples
    rows = kvae.evaluation.importance._rows_at_once(vae)
    rows = rows // len(x) * len(x) or len(x)

    contestants = {
        "kvae": (lambda: kvae.evaluation.log_likelihood(vae, x, samples, verbose=0).mean(), total),
        "matrix products": (matrix_products(vae, rows, total), total // rows * rows),
    }
    if torch is None:
        print(f"pythae is not compared: {MISSING}")
    else:
        model, few = as_pythae(vae), x[: max(1, len(x) // 5)]
        for name, batch_size, gradients in (
            ("pythae as it comes", 100, True),
            ("pythae, no gradients", 100, False),
            (f"pythae, batches of {samples}", samples, False),
        ):
            run = functools.partial(pythae_nll, model, few, samples, batch_size, gradients)
            contestants[name] = (run, len(few) * (samples // batch_size) * batch_size)
        ours = kvae.evaluation.estimate(kvae.evaluation.log_likelihood(vae, few, samples, verbose=0))
        theirs = pythae_nll(model, few, samples, 100)
        print(f"log p(x) of {len(few)} images: kvae {ours.mean:.2f}, pythae's get_nll {theirs:.2f} nats")

    speeds = {name: [] for name in contestants}
    for run, _ in contestants.values():
        run()  # traces and compiles
    for _ in range(options.rounds):
        for name, (run, count) in contestants.items():
            start = time.perf_counter()
            run()
            speeds[name].append(count / (time.perf_counter() - start))
    for name, values in speeds.items():
        print(f"{name:24} {np.median(values):9,.0f} samples/s   (from {min(values):,.0f} to {max(values):,.0f})")
    for name, values in speeds.items():
        if name != "kvae":
            ratios = np.divide(speeds["kvae"], values)
            print(f"kvae / {name:24} {np.median(ratios):5.2f}   (from {ratios.min():.2f} to {ratios.max():.2f})")


def peak_memory(examples, samples):
    """Prints the largest resident memory of this process after one evaluation."""
    vae = make_vae()
    x = (np.random.default_rng(0).random((examples, *SHAPE), dtype="float32") < 0.5).astype("float32")
    before = _peak()
    kvae.evaluation.log_likelihood(vae, x, samples, verbose=0)
    print(
        f"{len(x):6,} images x {samples:5,} samples: at most {_peak():,.0f} MB resident, {before:,.0f} of them before"
    )


def _peak():
    """The most memory this process has had resident, MB. `getrusage` would count that of its parent too."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--threads", type=int, help="of every package; 1 on a machine that others use too")
    parser.add_argument("--peak", type=int, nargs=2, metavar=("EXAMPLES", "SAMPLES"), help="measure memory alone, once")
    options = parser.parse_args()
    if options.peak:
        peak_memory(*options.peak)
        return
    if options.threads:
        tf.config.threading.set_intra_op_parallelism_threads(options.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        if torch is not None:
            torch.set_num_threads(options.threads)
    compare(options)
    sys.stdout.flush()
    for case in MEMORY_CASES:  # each in a process of its own, whose memory nothing else has raised
        subprocess.run([sys.executable, __file__, "--peak", *map(str, case)], check=True)


if __name__ == "__main__":
    main()
