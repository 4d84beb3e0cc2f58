"""Annealed importance sampling: tighter bounds on log p(x) than one proposal gives, from below and from above."""

from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from kvae import checks, inputs, objectives, random
from kvae.evaluation.batching import jit_compile, num_rows, over_rows
from kvae.evaluation.estimates import Estimate, estimate
from kvae.evaluation.importance import check_generative
from kvae.evaluation.progress import Progress

# Draws from q(z|x) that tell the scale of each latent dimension.
_SCALE_DRAWS = 64


def annealed_log_likelihood(
    vae,
    x,
    num_steps=1000,
    num_chains=10,
    num_leapfrog_steps=10,
    step_size=0.5,
    seed=0,
    batch_size=20,
    verbose="auto",
):
    """A lower bound on log p(x) by annealed importance sampling from the prior to the posterior, of each example.

    Chains of Hamiltonian Monte Carlo go from p(z) to p(z|x) through p(z) p(x|z)^t, t = 1/T, 2/T, ..., 1. A bound in
    expectation, whatever the settings, which T makes tight; it owes nothing to the encoder, which decides the scale of
    the steps alone. A check of `log_likelihood` on some examples: it decodes T (L + 3) times for each chain, and takes
    gradients. The result depends on `batch_size`, within its Monte Carlo error.

    References: Neal 2001, arXiv:physics/9803008; Wu et al. 2017, arXiv:1611.04273.

    Args:
        vae: `kvae.VAE`; its likelihood must be differentiable in z.
        x: arrays or a data set.
        num_steps: T.
        num_chains: chains for each example, whose weights are averaged.
        num_leapfrog_steps: L, of each Hamiltonian trajectory.
        step_size: of the leapfrog steps, in standard deviations of q(z|x).
        seed: int.
        batch_size: examples at a time.
        verbose: as in `log_likelihood`.

    Returns:
        numpy array `[N]`, nats, larger is better.

    Raises:
        TypeError: if `vae` has no likelihood, as an autoencoder.
        ValueError: for numbers that are not positive, or if x is refused.

    Example:
        >>> kvae.evaluation.annealed_log_likelihood(vae, x_test[:100], num_steps=500).mean()
    """
    check_generative(vae)
    settings = _settings(num_steps, num_chains, num_leapfrog_steps, step_size)
    return _anneal(vae, inputs.checked_x(vae, x), None, settings, seed, batch_size, verbose)


class BidirectionalGap(NamedTuple):
    """Bounds on the mean log p(x) of data simulated from the model, where both sides can be had.

    Attributes:
        lower: `Estimate` of a lower bound, nats: what `annealed_log_likelihood` gives.
        upper: `Estimate` of an upper bound.
        gap: `Estimate` of their difference, paired by example: how far either can be from the truth.
    """

    lower: Estimate
    upper: Estimate
    gap: Estimate

    def __str__(self):
        return f"{self.lower} <= log p(x) <= {self.upper}: gap {self.gap} nats"


def bidirectional_gap(
    vae,
    num_examples=100,
    condition=None,
    num_steps=1000,
    num_chains=10,
    num_leapfrog_steps=10,
    step_size=0.5,
    seed=0,
    batch_size=20,
    verbose="auto",
):
    """How tight annealed importance sampling is for this model: bounds from both sides on data that it simulates.

    Of x ~ p(x|z), z ~ p(z), the z that made it is an exact draw from p(z|x). Chains that start there and go back to the
    prior give an upper bound on log p(x), in expectation, as those of `annealed_log_likelihood` give a lower one. A
    small gap says that these settings are enough, for data like the model's own.

    References: Grosse, Ghahramani and Adams 2015, arXiv:1511.02543; Wu et al. 2017, arXiv:1611.04273.

    Args:
        vae: `kvae.VAE`.
        num_examples: N, how many x are simulated: `vae.sample(N, mean=False, seed=seed)`.
        condition: for a conditional model, c: one for all, or one for each `[N, ...]`.
        num_steps, num_chains, num_leapfrog_steps, step_size, batch_size, verbose: as in `annealed_log_likelihood`.
        seed: int.

    Returns:
        `BidirectionalGap`.

    Raises:
        TypeError: if `vae` has no likelihood, as an autoencoder.
        ValueError: for numbers that are not positive, or a condition where none belongs or the other way round.

    Example:
        >>> print(kvae.evaluation.bidirectional_gap(vae, num_examples=100, num_steps=500))
    """
    check_generative(vae)
    settings, seed = _settings(num_steps, num_chains, num_leapfrog_steps, step_size), checks.check_seed(seed)
    x = vae.sample(num_examples, mean=False, seed=seed, condition=condition)
    # The z of `vae.sample`: sample i is made of the noise at stream i, row 0.
    z = vae.prior.from_noise(random.normal(seed, tf.range(num_examples), 0, vae.prior.noise_size), vae)
    if condition is not None:
        z, condition = inputs.checked_z(vae, (z, condition))
        x = (x, condition)
    lower = _anneal(vae, x, None, settings, seed, batch_size, verbose)
    upper = _anneal(vae, x, z, settings, seed, batch_size, verbose)
    return BidirectionalGap(estimate(lower), estimate(upper), estimate(upper - lower))


def _settings(num_steps, num_chains, num_leapfrog_steps, step_size):
    """The settings of the chains as tensors, checked."""
    return (
        tf.constant(checks.check_count("num_steps", num_steps)),
        checks.check_count("num_chains", num_chains),  # no tensor: TFP's loop needs to know its shapes
        tf.constant(checks.check_count("num_leapfrog_steps", num_leapfrog_steps)),
        tf.constant(_positive("step_size", step_size), tf.float32),
    )


def _positive(name, value):
    if objectives.check_number(name, value) == 0:
        raise ValueError(f"`{name}` must be larger than zero. Received: {name}={value!r}")
    return float(value)


def _anneal(vae, x, z, settings, seed, batch_size, verbose):
    """log p(x) `[N]` by annealing: a lower bound, or an upper one if z `[N, D]`, exact draws of p(z|x), are given."""
    progress = Progress(num_rows(x), verbose, unit_name="example")
    chains = vae.as_graph(_forward if z is None else _backward, jit_compile(vae))

    def bound(batch, noise):
        rows = noise.row.shape[0]
        values = chains(*(batch if z is not None else (batch,)), noise.seed, noise.row, rows, *settings)
        progress.add(rows)
        return values

    batch_size = checks.check_count("batch_size", batch_size)
    return over_rows(bound, vae, x if z is None else (x, z), seed, batch_size)


def _forward(vae, x, seed, row, num_rows, num_steps, num_chains, num_leapfrog_steps, step_size):
    """Lower bounds on log p(x) `[B]`, by chains from the prior to the posterior."""
    noise = random.Noise(seed, random.EVALUATION, row)
    start = vae.prior.from_noise(noise.normal(vae.prior.noise_size, num_chains), vae)
    start = tf.ensure_shape(start, [num_chains, num_rows, vae.latent_dim])
    log_prior, log_joint, scale = _densities(vae, x, noise)
    return _log_ratio(log_prior, log_joint, start, step_size * scale, num_steps, num_leapfrog_steps, noise)


def _backward(vae, x, z, seed, row, num_rows, num_steps, num_chains, num_leapfrog_steps, step_size):
    """Upper bounds on log p(x) `[B]`, by chains from the posterior, of which z `[B, D]` is a draw, to the prior."""
    noise = random.Noise(seed, random.EVALUATION, row)
    start = tf.ensure_shape(tf.tile(z[None], [num_chains, 1, 1]), [num_chains, num_rows, vae.latent_dim])
    log_prior, log_joint, scale = _densities(vae, x, noise)
    return -_log_ratio(log_joint, log_prior, start, step_size * scale, num_steps, num_leapfrog_steps, noise)


def _densities(vae, x, noise):
    """Functions of z `[K, B, D]`, log p(z) and log p(x, z) `[K, B]`, and the standard deviations of q(z|x) `[B, D]`."""
    params = vae.posterior_params(x)
    draws = vae.posterior.from_noise(params, noise.normal(vae.posterior.noise_size(params), _SCALE_DRAWS))
    x, condition = inputs.split_condition(vae, x)
    x, mask = inputs.fill_missing(x) if vae.missing else (x, None)
    prior = vae.prior.distribution(vae)

    def log_joint(z):
        log_likelihood = vae.likelihood.log_prob(vae.likelihood_params(z, condition), x, mask)
        return prior.log_prob(z) + tf.ensure_shape(log_likelihood, z.shape[:-1])

    return prior.log_prob, log_joint, tf.math.reduce_std(draws, axis=0)


def _log_ratio(log_start, log_end, z, step_size, num_steps, num_leapfrog_steps, noise):
    """log of the mean over the chains of weights whose expectation is the ratio of the constants, end to start."""
    _, log_weight, _ = tfp.mcmc.sample_annealed_importance_chain(
        num_steps=num_steps,
        proposal_log_prob_fn=log_start,
        target_log_prob_fn=log_end,
        current_state=z,
        make_kernel_fn=lambda log_prob: _Hamiltonian(log_prob, step_size, num_leapfrog_steps),
        seed=tf.stack([tf.cast(noise.seed, tf.int32), noise.row[0]]),
    )
    return objectives.log_mean_exp(log_weight)


class _Hamiltonian(tfp.mcmc.HamiltonianMonteCarlo):
    """Hamiltonian Monte Carlo for a target that is another one at each step.

    TFP keeps the log-density and the gradient of the last step, which are those of the last temperature: the steps
    would leave no distribution invariant, and the bounds would be none.
    """

    def one_step(self, current_state, previous_kernel_results, seed=None):
        return super().one_step(current_state, self.bootstrap_results(current_state), seed=seed)
