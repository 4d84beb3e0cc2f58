"""Training speed of `vae.fit` as a user gets it, against loops written by hand and other packages.

Run `python benchmarks/training.py [--cases dense conv28 conv64 iwae] [--rounds 5] [--growth] [--parts]`. In each case every
contestant has the same networks, data, batch size and optimiser (Adam):

    fit              vae.compile(Adam); vae.fit(x, epochs=5), nothing else
    tf.function      a loop over a graph of one training step, as in the tutorials
    torch            a loop in PyTorch
    torch.compile    the same step compiled, where that works
    pythae           its trainer, with the same networks

In each round every one of them trains for five epochs, from the array in memory on, one after the other, so that a
machine whose speed drifts treats them alike; each round gives one ratio to `fit`, and the median of the ratios is the
figure. "limit" is the time the matrix products of the networks would take, forward and backward, at the best rate of
float32 products seen in the same round. PyTorch and pythae come with the extra `bench`; absent ones are skipped by name.
`--growth` prints seconds per epoch against data size, batch, latent size and samples; `--parts` the milliseconds of a
dense step and of what it is made of, and of the matrix products in PyTorch.
MNIST is needed (see `kvae.data.load`).
"""

import argparse
import contextlib
import io
import logging
import os
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import kvae

try:
    import torch
except ImportError:
    torch = None

LEARNING_RATE, BATCH_SIZE, EPOCHS = 1e-3, 128, 5
ROWS = {"dense": 60_000, "iwae": 12_800, "conv28": 6_400, "conv64": 1_280}
LATENT_DIM = {"dense": 40, "iwae": 40, "conv28": 16, "conv64": 32}
SAMPLES = {"iwae": 8}


def data(case):
    if case == "conv64":
        return (np.random.default_rng(0).random((ROWS[case], 64, 64, 3)) < 0.5).astype("float32")
    x = kvae.data.binarize(kvae.data.mnist().x_train[: ROWS[case]])
    return x if case == "conv28" else x.reshape(-1, 784)


def networks(case, latent_dim=None):
    keras.utils.set_random_seed(0)
    latent_dim = latent_dim or LATENT_DIM[case]
    if case.startswith("conv"):
        shape = (28, 28, 1) if case == "conv28" else (64, 64, 3)
        return kvae.networks.conv_encoder(shape, latent_dim), kvae.networks.conv_decoder(latent_dim, shape)
    return (
        kvae.networks.dense_encoder((784,), latent_dim, hidden=(300, 300)),
        kvae.networks.dense_decoder(latent_dim, (784,), hidden=(300, 300)),
    )


def fit(case, x, batch_size=BATCH_SIZE, latent_dim=None, samples=None, epochs=EPOCHS):
    """As a user would train it by default."""
    samples = samples or SAMPLES.get(case, 1)
    objective = kvae.objectives.IWAE(num_samples=samples) if samples > 1 else "elbo"
    vae = kvae.VAE(*networks(case, latent_dim), objective=objective, seed=0)
    vae.compile(keras.optimizers.Adam(LEARNING_RATE))
    return lambda: vae.fit(x, batch_size=batch_size, epochs=epochs, verbose=0)


def tf_function(case, x):
    """A plain loop: the tutorial VAE, its step as one `tf.function`."""
    (encoder, decoder), samples = networks(case), SAMPLES.get(case, 1)
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    variables = encoder.trainable_variables + decoder.trainable_variables
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)
    def step(batch):
        with tf.GradientTape() as tape:
            mean, log_var = tf.split(encoder(batch, training=True), 2, axis=-1)
            noise = tf.random.normal(tf.concat([[samples], tf.shape(mean)], axis=0))
            z = mean + tf.exp(0.5 * log_var) * noise
            logits = decoder(tf.reshape(z, [-1, z.shape[-1]]), training=True)
            logits = tf.reshape(logits, tf.concat([[samples], tf.shape(batch)], axis=0))
            targets = tf.broadcast_to(batch, tf.shape(logits))
            cost = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
            cost = tf.reduce_sum(cost, axis=list(range(2, len(logits.shape))))
            if samples == 1:
                kl = 0.5 * tf.reduce_sum(tf.exp(log_var) + mean**2 - 1.0 - log_var, axis=-1)
                loss = tf.reduce_mean(cost[0] + kl)
            else:
                log_weight = 0.5 * tf.reduce_sum(noise**2 + log_var - z**2, axis=-1) - cost
                loss = tf.reduce_mean(np.log(samples) - tf.reduce_logsumexp(log_weight, axis=0))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    def train():
        batches = tf.data.Dataset.from_tensor_slices(x).shuffle(len(x)).batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)
        for _ in range(EPOCHS):
            for batch in batches:
                step(batch).numpy()

    return train


def as_torch(network):
    """The layers of a Keras network in PyTorch, channels first."""
    modules = []
    for layer in network.layers:
        kind = type(layer).__name__
        if kind == "Dense":
            modules.append(torch.nn.Linear(*layer.kernel.shape))
        elif kind == "Conv2D":
            *_, before, after = layer.kernel.shape
            modules.append(torch.nn.Conv2d(before, after, 3, stride=layer.strides[0], padding=1))
        elif kind == "Conv2DTranspose":
            *_, after, before = layer.kernel.shape
            modules.append(torch.nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1))
        elif kind == "Flatten":
            modules.append(torch.nn.Flatten())
        elif kind == "Reshape":
            *sides, channels = layer.target_shape
            modules.append(torch.nn.Unflatten(1, (channels, *sides)))
        elif kind == "Cropping2D":
            raise ValueError("no cropping is needed for sides of 28 and 64")
        if getattr(layer, "activation", None) is keras.activations.relu:
            modules.append(torch.nn.ReLU())
    return torch.nn.Sequential(*modules)


def torch_data(x):
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy() if x.ndim == 4 else x)


def torch_loop(case, x, compiled=False):
    """A plain PyTorch loop."""
    encoder, decoder = map(as_torch, networks(case))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer, samples = torch.optim.Adam(parameters, LEARNING_RATE), SAMPLES.get(case, 1)
    x = torch_data(x)

    def loss_of(batch):
        mean, log_var = encoder(batch).chunk(2, dim=-1)
        noise = torch.randn(samples, *mean.shape)
        z = mean + torch.exp(0.5 * log_var) * noise
        logits = decoder(z.reshape(-1, z.shape[-1])).reshape(samples, len(batch), -1)
        targets = batch.reshape(1, len(batch), -1).expand_as(logits)
        cost = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1)
        if samples == 1:
            return (cost[0] + 0.5 * (log_var.exp() + mean**2 - 1 - log_var).sum(-1)).mean()
        log_weight = 0.5 * (noise**2 + log_var - z**2).sum(-1) - cost
        return (np.log(samples) - torch.logsumexp(log_weight, dim=0)).mean()

    loss_of = torch.compile(loss_of, dynamic=False) if compiled else loss_of

    def train():
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(x)).split(BATCH_SIZE):
                optimizer.zero_grad(set_to_none=True)
                loss_of(x[rows]).backward()
                optimizer.step()

    return train


def torch_compile(case, x):
    return torch_loop(case, x, compiled=True)


def pythae_trainer(case, x):
    """pythae's trainer."""
    from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    logging.disable(logging.WARNING)
    keras_encoder, keras_decoder = networks(case)

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.network = as_torch(keras_encoder)

        def forward(self, x):
            mean, log_var = self.network(x).chunk(2, dim=-1)
            return ModelOutput(embedding=mean, log_covariance=log_var)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.network = as_torch(keras_decoder)

        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

    x, arguments = torch_data(x), {}
    if case in SAMPLES:
        arguments["number_samples"] = SAMPLES[case]
    model_class, config_class = (IWAE, IWAEConfig) if case in SAMPLES else (VAE, VAEConfig)
    config = config_class(
        input_dim=tuple(x.shape[1:]), latent_dim=LATENT_DIM[case], reconstruction_loss="bce", **arguments
    )
    model = model_class(config, Encoder(), Decoder())
    folder = tempfile.mkdtemp()
    settings = BaseTrainerConfig(
        output_dir=folder,
        num_epochs=EPOCHS,
        per_device_train_batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        steps_saving=None,
        no_cuda=True,
    )
    from pythae.data.datasets import BaseDataset

    examples = BaseDataset(x, torch.zeros(len(x)))

    def train():
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer = BaseTrainer(model, train_dataset=examples, training_config=settings)
            trainer.prepare_training()
            for epoch in range(EPOCHS):
                trainer.train_step(epoch=epoch + 1)

    return train


def flops_per_example(case):
    """Of the matrix products of both networks, forward and backward: three products of each size."""
    total = 0
    for network, repeats in zip(networks(case), (1, SAMPLES.get(case, 1)), strict=True):
        for layer in network.layers:
            if hasattr(layer, "kernel"):
                out = layer.output.shape if type(layer).__name__ != "Conv2DTranspose" else layer.input.shape
                places = int(np.prod(out[1:-1])) if len(out) > 2 else 1
                total += 3 * 2 * int(np.prod(layer.kernel.shape)) * places * repeats
    return total


def sgemm_rate(size=1024, seconds=0.3):
    """Floating-point operations per second of float32 matrix products, the best of many."""
    a = tf.random.stateless_normal([size, size], seed=[0, 0])
    product = tf.function(lambda: tf.reduce_sum(a @ a))
    product().numpy()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        product().numpy()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def contestants(case, x):
    """Name -> function that trains, warmed up; those that cannot run are named."""
    made = {"fit": fit, "tf.function": tf_function}
    if torch is None:
        print("not compared: torch, torch.compile and pythae, which come with the extra `bench`")
    else:
        made |= {"torch": torch_loop, "torch.compile": torch_compile, "pythae": pythae_trainer}
    ready = {}
    for name, make in made.items():
        try:
            ready[name] = make(case, x)
            ready[name]()  # traces and compiles
        except Exception as error:  # another package's, of whatever kind
            ready.pop(name, None)
            print(f"not compared: {name}: {type(error).__name__}: {str(error).strip().splitlines()[0][:120]}")
    return ready


def compare(case, rounds):
    x = data(case)
    ready, flops = contestants(case, x), flops_per_example(case)
    speeds, limits = {name: [] for name in ready}, []
    for _ in range(rounds):
        limits.append(sgemm_rate() / flops)
        for name, train in ready.items():
            start = time.perf_counter()
            train()
            speeds[name].append(EPOCHS * len(x) / (time.perf_counter() - start))
    print(f"\n{case}: {len(x):,} examples, batch {BATCH_SIZE}, {flops / 1e6:.1f} MFLOP an example, {rounds} rounds")
    fitted = np.array(speeds["fit"])
    for name, values in speeds.items():
        ratio = fitted / values
        text = (
            ""
            if name == "fit"
            else f"   fit is {np.median(ratio):.2f} times as fast ({ratio.min():.2f} to {ratio.max():.2f})"
        )
        print(f"  {name:14} {np.median(values):9,.0f} examples/s{text}")
    print(f"  {'limit':14} {np.median(limits):9,.0f} examples/s   fit reaches {np.median(fitted / limits):.2f} of it")


def growth(rounds=3):
    """Seconds per epoch against what should make them grow, with the exponent of the best power law."""
    x = data("dense")[:12_800]
    tables = {
        "examples": [(rows, {"x": np.tile(x, (4, 1))[:rows]}) for rows in (6_400, 12_800, 25_600, 51_200)],
        "batch size": [(size, {"batch_size": size}) for size in (32, 64, 128, 256, 512)],
        "latent size": [(size, {"latent_dim": size}) for size in (10, 40, 160, 640)],
        "samples": [(size, {"samples": size}) for size in (2, 4, 8, 16, 32)],
    }
    for name, cases in tables.items():
        seconds = []
        for _, arguments in cases:
            train = fit("dense", **{"x": x, "epochs": 1, **arguments})
            train()
            times = []
            for _ in range(rounds):
                start = time.perf_counter()
                train()
                times.append(time.perf_counter() - start)
            seconds.append(min(times))
        exponent = np.polyfit(np.log([value for value, _ in cases]), np.log(seconds), 1)[0]
        row = ", ".join(f"{value:,}: {each:.2f}" for (value, _), each in zip(cases, seconds, strict=True))
        print(f"seconds an epoch by {name:12} {row}   exponent {exponent:.2f}")


def repeated(step, count):
    """A function that takes so many compiled steps in one graph."""
    compiled = tf.function(step, jit_compile=True)

    @tf.function
    def run():
        for _ in tf.range(count):
            compiled()

    def wait():
        run()
        tf.test.experimental.sync_devices()

    return wait


def parts(rounds, steps=200):
    """Milliseconds of one step of the dense case, and of what it is made of, each by itself."""
    x = data("dense")[: steps * BATCH_SIZE]
    vae = kvae.VAE(*networks("dense"), seed=0)
    vae.compile(keras.optimizers.Adam(LEARNING_RATE))
    batch, weights = tf.constant(x[:BATCH_SIZE]), vae.trainable_variables
    gradients = [tf.Variable(tf.zeros_like(each)) for each in weights]
    kernels = [each for each in weights if len(each.shape) == 2]
    shapes = [tuple(each.shape) for each in kernels]
    sides = {width: tf.Variable(tf.random.normal([BATCH_SIZE, width])) for each in kernels for width in each.shape}
    products = {shape: tf.Variable(tf.zeros(shape)) for shape in shapes}

    def multiply():  # forward, and back to both factors
        for kernel in kernels:
            before, after = (sides[width] for width in kernel.shape)
            after.assign_add(1e-9 * before @ kernel.value)
            before.assign_add(1e-9 * tf.matmul(after, kernel.value, transpose_b=True))
            products[tuple(kernel.shape)].assign(tf.matmul(before, after, transpose_a=True))

    def differentiate():
        with tf.GradientTape() as tape:
            terms = vae.terms(batch, training=True)
            loss = tf.reduce_mean(vae.objective.loss(terms))
        for variable, gradient in zip(gradients, tape.gradient(loss, weights), strict=True):
            variable.assign(gradient)

    def update():
        vae.optimizer.apply_gradients(
            [(each.read_value(), weight) for each, weight in zip(gradients, weights, strict=True)]
        )

    def multiply_in_torch():
        factors = [(torch.ones(BATCH_SIZE, a), torch.ones(a, b), torch.ones(BATCH_SIZE, b)) for a, b in shapes]
        for _ in range(steps):
            for before, kernel, after in factors:
                before @ kernel, after @ kernel.T, before.T @ after

    @tf.function
    def feed():
        total = 0.0
        for each in kvae.feeding.epoch(kvae.feeding.ArrayFeed(x, BATCH_SIZE, 0), lambda: tf.constant(0, tf.int64)):
            total += each[0, 0]
        return total

    made = {
        "matrix products alone": repeated(multiply, steps),
        "loss and gradients": repeated(differentiate, steps),
        "update of the weights": repeated(update, steps),
        "train_step, always the same batch": repeated(lambda: vae.train_step(batch), steps),
        "feeding alone": lambda: feed().numpy(),
        "fit": lambda: vae.fit(x, batch_size=BATCH_SIZE, epochs=1, verbose=0),
    }
    if torch is not None:
        made["matrix products alone, in PyTorch"] = multiply_in_torch
    times = {name: [] for name in made}
    for each in made.values():
        each()
    for _ in range(rounds):
        for name, run in made.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start) / steps)
    print(
        f"\ndense, milliseconds of a step of {BATCH_SIZE} examples, median (least) of {rounds} rounds of {steps} steps"
    )
    for name, values in times.items():
        print(f"  {name:34} {np.median(values):.2f} ({min(values):.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--parts", action="store_true")
    options = parser.parse_args()
    if torch is not None:
        torch.set_num_threads(os.cpu_count())
    for case in options.cases:
        compare(case, options.rounds)
    if options.growth:
        growth()
    if options.parts:
        parts(3 * options.rounds)


if __name__ == "__main__":
    main()
