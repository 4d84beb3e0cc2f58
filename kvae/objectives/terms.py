"""The log-densities of one batch: every formula that an objective needs stands here, once."""

import dataclasses
import functools
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from kvae import random

tfd = tfp.distributions


@dataclasses.dataclass
class Terms:
    """Everything an objective may need of one batch. S samples, B examples, D latent dimensions; all in nats.

    Attributes:
        posterior: tfd q(z|x), batch `[B]`, event `[D]`.
        prior: tfd p(z), batch `[]`, event `[D]`.
        z: `[S, B, D]`, drawn from the posterior.
        log_likelihood: `[S, B]`, log p(x|z).
        posterior_head: the `Posterior` that made `posterior` out of `posterior_params` `[B, P]`.
        noise: `kvae.random.Noise` of this batch; `noise.auxiliary(dim)` gives values that z did not use.
        memo: dict that the objective's `gate` was given; what it left there for `loss` or for the backward pass.
        draw_prior: function of nothing that gives z `[B, D]` drawn from the prior; see `prior_z`.
        sample_weight: `[B]`, or None where all examples count the same; see `share`.
    """

    posterior: Any
    prior: Any
    z: tf.Tensor
    log_likelihood: tf.Tensor
    posterior_head: Any = None
    posterior_params: tf.Tensor = None
    noise: random.Noise = None
    memo: dict = dataclasses.field(default_factory=dict)
    draw_prior: Any = None
    sample_weight: tf.Tensor = None

    @functools.cached_property
    def log_prior(self):
        """log p(z) `[S, B]`."""
        return self.prior.log_prob(self.z)

    @functools.cached_property
    def log_posterior(self):
        """log q(z|x) `[S, B]`."""
        return self.posterior.log_prob(self.z)

    @functools.cached_property
    def kl(self):
        """KL(q(z|x) || p(z)) `[B]`: closed form where TFP has one, else the mean of log q - log p over the samples."""
        try:
            return self.posterior.kl_divergence(self.prior)
        except NotImplementedError:
            return tf.reduce_mean(self.log_posterior - self.log_prior, axis=0)

    @property
    def reconstruction(self):
        """-E_q[log p(x|z)] `[B]`, a cost."""
        return -tf.reduce_mean(self.log_likelihood, axis=0)

    @property
    def elbo(self):
        """E_q[log p(x|z)] - KL(q(z|x) || p(z)) `[B]`, a lower bound on log p(x) whatever the objective."""
        return -self.reconstruction - self.kl

    @property
    def log_weight(self):
        """log p(x|z) + log p(z) - log q(z|x) `[S, B]`: the log importance weight."""
        return self.log_likelihood + self.log_prior - self.log_posterior

    # What single objectives ask for

    @functools.cached_property
    def share(self):
        """What each example counts where the batch is looked at as a whole `[B]`: its sample weight, over their sum.

        It is the batch of this replica. Where all weights are zero, and the loss counts for nothing, it is 1/B.
        """
        ones = tf.ones(tf.shape(self.z)[1:2])
        weight = ones if self.sample_weight is None else self.sample_weight
        weight = tf.where(tf.reduce_sum(weight) > 0, weight, ones)
        return weight / tf.reduce_sum(weight)

    def mean(self, values):
        """The mean of `values` `[B, ...]` over the batch of this replica, by the share of each example."""
        return weighted_sum(self.share, values)

    def posterior_with_stopped_params(self):
        """q(z|x) whose parameters pass no gradient: for estimators that drop the score (STL, DReG)."""
        return self.posterior_head.distribution(tf.stop_gradient(self.posterior_params))

    @functools.cached_property
    def path_log_weight(self):
        """`log_weight` `[S, B]` of the same value, whose gradient reaches the posterior through z alone.

        The score, d log q(z|x) at a fixed z, has the mean zero and is left out, be it that of the encoder or that of
        variables which the posterior's head has itself.
        """
        stopped = [(each, tf.stop_gradient(each.value)) for each in self.posterior_head.trainable_variables]
        with keras.StatelessScope(stopped):
            log_posterior = self.posterior_with_stopped_params().log_prob(self.z)
        return self.log_likelihood + self.log_prior - log_posterior

    @functools.cached_property
    def kl_per_dimension(self):
        """KL(q(z_d|x) || p(z_d)) `[B, D]`, in closed form.

        Raises:
            ValueError: if the dimensions of the posterior or of the prior are not independent.
        """
        posterior, prior = _factors(self.posterior), _factors(self.prior)
        if posterior is not None and prior is not None:
            try:
                return posterior.kl_divergence(prior)
            except NotImplementedError:
                pass
        raise ValueError(
            "A KL for each latent dimension needs a posterior and a prior of independent dimensions with a KL in "
            "closed form, such as posterior='diagonal_normal' with prior='standard_normal'. "
            f"Received: the posterior {self._posterior_name} and the prior {self.prior.name}."
        )

    @functools.cached_property
    def pairwise_log_posterior(self):
        """log q(z_d[s, i] | x[j]) `[S, B, B, D]`: each draw under the posterior of each example j of the batch.

        Raises:
            ValueError: if the dimensions of the posterior are not independent.
        """
        posterior = _factors(self.posterior)
        if posterior is None:
            raise ValueError(
                "The marginals of the aggregate posterior need a posterior of independent dimensions, such as "
                f"posterior='diagonal_normal'. Received: {self._posterior_name}."
            )
        return posterior.log_prob(self.z[:, :, None, :])

    @functools.cached_property
    def prior_z(self):
        """z `[B, D]` drawn from the prior, by noise that the posterior did not use.

        Raises:
            ValueError: if these terms were made without `draw_prior`.
        """
        if self.draw_prior is None:
            raise ValueError(
                "This objective compares z with draws from the prior, and these terms cannot give any: "
                "`kvae.VAE.terms` makes them with `draw_prior`. Received: draw_prior=None"
            )
        return self.draw_prior()

    @property
    def _posterior_name(self):
        return self.posterior.name if self.posterior_head is None else type(self.posterior_head).__name__


def weighted_sum(weight, values):
    """sum_i weight_i values_i of `[B]` and `[B, ...]`."""
    weight = tf.reshape(weight, tf.concat([tf.shape(weight), tf.ones([len(values.shape) - 1], tf.int32)], axis=0))
    return tf.reduce_sum(weight * values, axis=0)


def _factors(distribution):
    """The D scalar distributions that a distribution of independent dimensions is made of, or None."""
    if isinstance(distribution, tfd.MultivariateNormalDiag):
        return tfd.Normal(distribution.mean(), distribution.stddev())
    if isinstance(distribution, tfd.Independent) and distribution.distribution.event_shape.rank == 0:
        return distribution.distribution
    return None
