"""Objectives that ask for independent latent dimensions.

All of them look at the batch as a whole, so the batch size matters. Under several replicas each sees its own batch.
"""

import keras
import tensorflow as tf

from kvae import checks
from kvae.objectives.base import Objective, check_number


@keras.saving.register_keras_serializable(package="kvae")
class BetaTC(Objective):
    """The beta-TCVAE: the KL taken apart, with a weight on each part.

    -E_q[log p(x|z)] + alpha I(x; z) + beta KL(q(z) || prod_d q(z_d)) + gamma sum_d KL(q(z_d) || p(z_d)),

    where q(z) = 1/N sum_n q(z|x_n): mutual information, total correlation and dimension-wise KL. Their sum is the Monte
    Carlo KL, log q(z|x) - log p(z), whatever the batch. q(z) and q(z_d) are estimated by the posteriors of the batch:

    - "stratified": the example that z came from weighs 1/N, and the others of the batch share the rest. Unbiased for
      q(z); exact when the batch is all the data. The paper gives one of the others a weight of its own; this is the
      mean of that over which one it is.
    - "weighted": every example of the batch weighs 1/(N B). These weights sum to 1/N, not to 1, which shifts the three
      terms by multiples of log N, and with unequal weights the loss, but no gradient.

    With sample weights q(z) is the mean by them, of which the batch gives an estimate; N counts the examples whose weight
    is not zero. The terms lose their meaning when the batch is small for the number of latent dimensions. Under several
    replicas each has its own batch.

    Args:
        alpha: weight of the mutual information.
        beta: weight of the total correlation. A live variable, as that of `ELBO` is.
        gamma: weight of the dimension-wise KL.
        dataset_size: number of training examples, N. Required.
        sampling: "stratified" or "weighted".

    Raises:
        ValueError: without `dataset_size`, if a weight is negative, or if there is a single latent dimension; in the
            first step, for a posterior whose dimensions are not independent.

    Reference: Chen et al. 2018, arXiv:1802.04942, equations 2 to 4; appendix C.1 (weighted) and C.2 (stratified).

    Example:
        >>> vae = kvae.VAE(encoder, decoder, objective=kvae.objectives.BetaTC(dataset_size=len(x_train)))
    """

    def __init__(self, alpha=1.0, beta=6.0, gamma=1.0, dataset_size=None, sampling="stratified", **kwargs):
        super().__init__(**kwargs)
        if dataset_size is None:
            raise ValueError(
                "BetaTC needs `dataset_size`, the number of training examples, by which it estimates q(z) from a "
                "batch. Use kvae.objectives.BetaTC(dataset_size=len(x_train)), or by name 'beta_tc:dataset_size=60000'. "
                "Received: dataset_size=None"
            )
        self.alpha, self.gamma = check_number("alpha", alpha), check_number("gamma", gamma)
        self.dataset_size = checks.check_count("dataset_size", dataset_size)
        self.sampling = checks.check_choice("sampling", sampling, ("stratified", "weighted"))
        self.beta = self.add_weight(
            (), keras.initializers.Constant(check_number("beta", beta)), trainable=False, name="beta"
        )

    def build(self, data_shape=None, latent_dim=None):
        _check_several_dimensions(self, latent_dim)
        super().build(data_shape, latent_dim)

    def loss(self, terms):
        mutual_information, total_correlation, dimension_wise_kl = self.decompose(terms)
        regulariser = self.alpha * mutual_information + self.beta * total_correlation + self.gamma * dimension_wise_kl
        return terms.reconstruction + regulariser

    def decompose(self, terms):
        """Mutual information, total correlation and dimension-wise KL, each `[B]`, nats; their batch means estimate them."""
        pairwise = terms.pairwise_log_posterior  # log q(z_d[s, i] | x[j])  [S, B, B, D]
        log_weight = tf.math.log(self._weight(terms))  # [B, B]
        log_aggregate = tf.reduce_logsumexp(log_weight + tf.reduce_sum(pairwise, axis=-1), axis=-1)  # log q(z)  [S, B]
        log_marginals = tf.reduce_sum(
            tf.reduce_logsumexp(log_weight[..., None] + pairwise, axis=-2), axis=-1
        )  # sum_d log q(z_d)  [S, B]
        parts = (
            terms.log_posterior - log_aggregate,
            log_aggregate - log_marginals,
            log_marginals - terms.log_prior,
        )
        return tuple(tf.reduce_mean(part, axis=0) for part in parts)

    def _weight(self, terms):
        """What the posterior of example j weighs in q(z[i]): `[B, B]`, or `[1, B]`."""
        share, rows = terms.share, terms.z.shape[1]
        if terms.sample_weight is None and rows is not None and rows > self.dataset_size:
            raise ValueError(
                f"The batch has more examples than the data set: `dataset_size` must be the number of training "
                f"examples. Received: dataset_size={self.dataset_size} and a batch of {rows}."
            )
        if self.sampling == "weighted":
            return share[None] / self.dataset_size
        # In the data set an example weighs 1/N, or its sample weight against N times their mean.
        own = tf.minimum(share * tf.math.count_nonzero(share, dtype=share.dtype) / self.dataset_size, 1.0)[:, None]
        diagonal = tf.eye(tf.shape(share)[0])
        others = (1 - diagonal) * share
        others = tf.math.divide_no_nan(others, tf.reduce_sum(others, axis=-1, keepdims=True))
        return diagonal * own + (1 - own) * others


@keras.saving.register_keras_serializable(package="kvae")
class FactorVAE(Objective):
    """The ELBO and a penalty on total correlation, estimated by a discriminator: a density ratio.

    -E_q[log p(x|z)] + KL(q(z|x) || p(z)) + gamma log D(z) / (1 - D(z)),

    where D(z) tells z of q(z) from z of prod_d q(z_d), that is a batch with each dimension shuffled by itself. The
    discriminator learns in the same step by the same optimizer, so it has the same learning rate; its loss is not part
    of the reported `loss`, but the metric `discriminator_loss`, which is log 2 = 0.693 when it cannot tell them apart.
    The shuffled batch is made of the same z, where the paper draws a second batch; with sample weights it is drawn by
    these. Under several replicas each shuffles its own batch.

    Args:
        gamma: weight of the total correlation.
        hidden: units of the discriminator's layers, leaky ReLU of slope 0.2. The paper has six of 1000.

    Raises:
        ValueError: if `gamma` is negative or `hidden` empty; if there is a single latent dimension.

    Reference: Kim and Mnih 2018, arXiv:1802.05983, equations 2 and 3, algorithms 1 and 2.

    Example:
        >>> vae = kvae.VAE(encoder, decoder, objective=kvae.objectives.FactorVAE(gamma=35.0))
    """

    def __init__(self, gamma=10.0, hidden=(256, 256, 256), **kwargs):
        super().__init__(**kwargs)
        self.gamma = check_number("gamma", gamma)
        if not isinstance(hidden, (list, tuple)) or not hidden:
            raise ValueError(
                f"`hidden` must be a tuple of layer widths, such as (256, 256). Received: hidden={hidden!r}"
            )
        self.hidden = [checks.check_count("hidden", units) for units in hidden]
        self.discriminator_loss = keras.metrics.Mean(name="discriminator_loss")

    def build(self, data_shape=None, latent_dim=None):
        _check_several_dimensions(self, latent_dim)
        super().build(data_shape, latent_dim)
        if latent_dim is not None:
            layers = []
            for units in self.hidden:
                layers += [keras.layers.Dense(units, dtype="float32"), keras.layers.LeakyReLU(0.2, dtype="float32")]
            output = keras.layers.Dense(1, dtype="float32")
            self.discriminator = keras.Sequential([keras.Input((latent_dim,), dtype="float32"), *layers, output])

    def loss(self, terms):
        loss = self.auxiliary_loss(terms)
        # A float16 step that overflowed is skipped, and does not count here either.
        finite, rows = tf.math.is_finite(loss), tf.cast(tf.shape(terms.z)[1], tf.float32)
        rows = rows if terms.sample_weight is None else tf.reduce_sum(terms.sample_weight)
        self.discriminator_loss.update_state(tf.where(finite, loss, 0.0), tf.where(finite, rows, 0.0))
        # The logit is log D(z) / (1 - D(z)). With stopped weights it trains the encoder and not the discriminator.
        stopped = [tf.stop_gradient(each.value) for each in self.discriminator.trainable_variables]
        logit, _ = self.discriminator.stateless_call(stopped, [], terms.z[0])
        return terms.reconstruction + terms.kl + self.gamma * logit[:, 0]

    def auxiliary_loss(self, terms):
        """-1/2 (mean log D(z) + mean log(1 - D(permuted z))), computed once for the terms."""
        if "discriminator_loss" not in terms.memo:
            z = tf.stop_gradient(terms.z[0])
            drawn, noise, counted = _draw_by_share(z, terms.noise.auxiliary(z.shape[-1]), terms.share)
            joint = tf.nn.softplus(-self.discriminator(z)[:, 0])
            product = tf.nn.softplus(self.discriminator(permute_dimensions(drawn, noise))[:, 0])
            mean_of_product = tf.math.divide_no_nan(tf.reduce_sum(counted * product), tf.reduce_sum(counted))
            terms.memo["discriminator_loss"] = 0.5 * (terms.mean(joint) + mean_of_product)
        return terms.memo["discriminator_loss"]


@keras.saving.register_keras_serializable(package="kvae")
class DIP(Objective):
    """DIP-VAE: the ELBO and a penalty on the covariance of the latent code, which shall be the identity.

    -E_q[log p(x|z)] + KL(q(z|x) || p(z)) + off_diagonal_weight sum_(i != j) C_ij^2 + diagonal_weight sum_i (C_ii - 1)^2

    - kind "i": C = Cov[E[z|x]], the covariance over the batch of the posterior means.
    - kind "ii": C = Cov[E[z|x]] + E[Cov[z|x]], that of z ~ q(z).

    Means over the batch are by sample weights. Under several replicas each takes the covariance of its own batch.

    Args:
        kind: "i" or "ii".
        diagonal_weight: weight of the variances. The paper takes ten times the other for kind "i".
        off_diagonal_weight: weight of the covariances.

    Raises:
        ValueError: if `kind` is neither or a weight negative; in the first step, for a posterior without a mean and
            covariance in closed form.

    Reference: Kumar, Sattigeri and Balakrishnan 2018, arXiv:1711.00848, equations 6 (kind i) and 7 (kind ii).

    Example:
        >>> vae = kvae.VAE(encoder, decoder, objective=kvae.objectives.DIP("i", 100.0, 10.0))
    """

    def __init__(self, kind="ii", diagonal_weight=10.0, off_diagonal_weight=10.0, **kwargs):
        super().__init__(**kwargs)
        self.kind = checks.check_choice("kind", kind, ("i", "ii"))
        self.diagonal_weight = check_number("diagonal_weight", diagonal_weight)
        self.off_diagonal_weight = check_number("off_diagonal_weight", off_diagonal_weight)

    def loss(self, terms):
        covariance = self._covariance(terms)
        variance = tf.linalg.diag_part(covariance)
        off_diagonal = tf.reduce_sum(covariance**2) - tf.reduce_sum(variance**2)
        penalty = self.off_diagonal_weight * off_diagonal + self.diagonal_weight * tf.reduce_sum((variance - 1) ** 2)
        return terms.reconstruction + terms.kl + penalty

    def _covariance(self, terms):
        try:
            # Asked of kind "i" too: what has no covariance in closed form, as a flow, may have another point for its `mean`.
            mean, within = terms.posterior.mean(), terms.posterior.covariance()  # [B, D], [B, D, D]
            centred = mean - terms.mean(mean)
            covariance = tf.matmul(terms.share[:, None] * centred, centred, transpose_a=True)
            return covariance if self.kind == "i" else covariance + terms.mean(within)
        except NotImplementedError as error:
            raise ValueError(
                "DIP needs a posterior with a mean and a covariance in closed form, such as 'diagonal_normal'. "
                f"Received: {terms.posterior.name}."
            ) from error


def permute_dimensions(z, noise):
    """z `[B, D]` with each dimension shuffled over the batch by itself, in the order of `noise` `[B, D]`."""
    order = tf.argsort(noise, axis=0)
    return tf.transpose(tf.gather(tf.transpose(z), tf.transpose(order), batch_dims=1))


def _draw_by_share(z, noise, share):
    """As many rows of z as have a share that is not zero, drawn by it: each once, where all are equal.

    By systematic resampling, whose points are 1/n apart (Douc, Cappe and Moulines 2005, arXiv:cs/0507025).

    Returns:
        The rows `[B, D]`, of which the first n count; noise `[B, D]`, in the order of which these stay the first; and what
        counts `[B]`, 1 or 0.
    """
    present = share > 0
    noise = tf.gather(noise, tf.argsort(tf.where(present, 0, 1), stable=True))  # that of the n comes first
    index = tf.range(tf.shape(z)[0])
    counted = index < tf.math.count_nonzero(present, dtype=tf.int32)
    num_drawn = tf.reduce_sum(tf.cast(counted, tf.float64))
    # Away from the ends, so that rounding of the sums below does not take a row twice.
    uniform = 0.5 + 0.5 * tf.math.erf(tf.cast(noise[:1, 0], tf.float64) / 2**0.5)
    offset = tf.clip_by_value(uniform, 0.01, 0.99)
    points = (tf.cast(index, tf.float64) + offset) / num_drawn
    drawn = tf.minimum(tf.searchsorted(tf.cumsum(tf.cast(share, tf.float64)), points), tf.shape(z)[0] - 1)
    noise = tf.where(counted[:, None], noise, float("inf"))
    return tf.gather(z, drawn), noise, tf.cast(counted, z.dtype)


def _check_several_dimensions(objective, latent_dim):
    if latent_dim == 1:
        raise ValueError(
            f"{type(objective).__name__} penalises the dependence of latent dimensions on each other, and there is only "
            "one: use kvae.objectives.ELBO, or more dimensions. Received: latent_dim=1"
        )
