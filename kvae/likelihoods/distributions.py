"""The few distributions that TFP does not have, or not in a form that trains in float32."""

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


class ScalarDistribution(tfd.Distribution):
    """What distributions of single float32 values share: their batch shape is that of one of their parameters."""

    def __init__(self, like, **parameters):
        self._like = like  # tensor or distribution
        super().__init__(
            dtype=tf.float32,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=type(self).__name__,
        )

    def _batch_shape(self):
        return self._like.shape if tf.is_tensor(self._like) else self._like.batch_shape

    def _batch_shape_tensor(self):
        return tf.shape(self._like) if tf.is_tensor(self._like) else self._like.batch_shape_tensor()

    def _event_shape(self):
        return tf.TensorShape([])

    def _event_shape_tensor(self):
        return tf.constant([], tf.int32)


class Wrapped(ScalarDistribution):
    """A distribution of which a subclass changes the density alone."""

    def __init__(self, distribution, **parameters):
        self._distribution = distribution
        super().__init__(distribution, distribution=distribution, **parameters)

    def _mean(self):
        return self._distribution.mean()

    def _stddev(self):
        return self._distribution.stddev()

    def _sample_n(self, n, seed=None):
        return self._distribution.sample(n, seed=seed)


class Bernoulli(tfd.Bernoulli):
    """`tfd.Bernoulli` of logits, whose density takes one exponential and one logarithm where that of TFP takes two each."""

    def _log_prob(self, x):
        logits = self.logits
        shape = tf.broadcast_dynamic_shape(tf.shape(x), tf.shape(logits))
        x, logits = tf.broadcast_to(tf.cast(x, logits.dtype), shape), tf.broadcast_to(logits, shape)
        return -tf.nn.sigmoid_cross_entropy_with_logits(x, logits)


class Masked(Wrapped):
    """A distribution some of whose values were not observed: their log_prob is zero, whatever is in their place.

    `tfd.Masked` does the same to mean and sample too, and takes them to be of the shape of the mask, which the
    probabilities of a `Categorical` are not; here they are those of the distribution.
    """

    def __init__(self, distribution, mask):
        self._mask = tf.convert_to_tensor(mask)
        super().__init__(distribution, mask=mask)

    def _log_prob(self, x):
        # Zero lies in the support of every likelihood, so that no NaN reaches the density or its gradient.
        log_prob = self._distribution.log_prob(tf.where(self._mask, x, 0.0))
        return tf.where(self._mask, log_prob, 0.0)


class Clipped(Wrapped):
    """A distribution over [0, 1] whose density is taken no nearer to the ends than epsilon."""

    def __init__(self, distribution, epsilon):
        self._epsilon = epsilon
        super().__init__(distribution, epsilon=epsilon)

    def _log_prob(self, x):
        return self._distribution.log_prob(tf.clip_by_value(x, self._epsilon, 1.0 - self._epsilon))


class CategoricalProbabilities(tfd.Categorical):
    """`tfd.Categorical` whose mean is that of the one-hot code: the probabilities `[..., K]`."""

    def _mean(self):
        return tf.nn.softmax(self.logits)


class DiscretizedLogistic(ScalarDistribution):
    """A logistic distribution whose draws are rounded to the nearest of the levels 0, 1/(L-1), ..., 1.

    With F the cumulative distribution and h half the distance of two levels, the mass of level x is
    F(x + h) - F(x - h); the first and the last level also take what lies beyond them.
    """

    def __init__(self, location, scale, num_levels):
        self._location, self._scale, self._steps = location, scale, num_levels - 1
        super().__init__(location + tf.zeros_like(scale), location=location, scale=scale, num_levels=num_levels)

    def _log_prob(self, x):
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)): no difference of nearly equal numbers
        centred, half = x - self._location, 0.5 / self._steps
        first, last = x < half, x > 1.0 - half
        log_below_upper = tf.where(last, 0.0, tf.math.log_sigmoid((centred + half) / self._scale))
        log_above_lower = tf.where(first, 0.0, tf.math.log_sigmoid((half - centred) / self._scale))
        log_between = tf.where(first | last, 0.0, tf.math.log(-tf.math.expm1(-2.0 * half / self._scale)))
        return log_below_upper + log_above_lower + log_between

    def _mean(self):
        """The mean of the logistic distribution clipped to [0, 1], of which that of the levels is the midpoint rule.

        The integral of 1 - F over [0, 1] is s softplus(m / s) - s softplus((m - 1) / s). That of the levels is its sum
        over L - 1 midpoints, which costs L - 1 sigmoids per value of x and differs by less than half a level; with a
        scale of one level or more, by less than 1/50 of one.
        """
        location, scale = self._location, self._scale
        tails = tf.math.log1p(tf.exp(-tf.abs(location) / scale)) - tf.math.log1p(
            tf.exp(-tf.abs(location - 1.0) / scale)
        )
        return tf.clip_by_value(location, 0.0, 1.0) + scale * tails

    def _sample_n(self, n, seed=None):
        return self._level(tfd.Logistic(self._location, self._scale).sample(n, seed=seed))

    def _quantile(self, probability):
        return self._level(tfd.Logistic(self._location, self._scale).quantile(probability))

    def _level(self, values):
        return tf.round(tf.clip_by_value(values, 0.0, 1.0) * self._steps) / self._steps


class ZeroInflated(ScalarDistribution):
    """Zero with probability sigmoid(logits), and otherwise a draw from a distribution over counts."""

    def __init__(self, distribution, logits):
        self._distribution, self._logits = distribution, logits
        super().__init__(logits, distribution=distribution, logits=logits)

    def _log_prob(self, x):
        log_count = tf.math.log_sigmoid(-self._logits) + self._distribution.log_prob(x)
        log_extra = tf.math.log_sigmoid(self._logits) + tf.zeros_like(log_count)
        return tf.where(x == 0.0, tf.reduce_logsumexp(tf.stack([log_extra, log_count]), axis=0), log_count)

    def _mean(self):
        return tf.sigmoid(-self._logits) * self._distribution.mean()

    def _variance(self):
        extra, mean = tf.sigmoid(self._logits), self._distribution.mean()
        return (1.0 - extra) * (self._distribution.variance() + extra * mean**2)

    def _sample_n(self, n, seed=None):
        extra_seed, count_seed = tfp.random.split_seed(seed)
        extra = tfd.Bernoulli(logits=self._logits, dtype=tf.float32).sample(n, seed=extra_seed)
        return (1.0 - extra) * self._distribution.sample(n, seed=count_seed)


class Concatenated(tfd.Distribution):
    """Independent distributions of one batch shape as one, of their events side by side on the last axis."""

    def __init__(self, distributions):
        self._distributions = tuple(distributions)
        self._sizes = [each.event_shape[-1] for each in self._distributions]
        super().__init__(
            dtype=tf.float32,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"distributions": distributions},
            name="Concatenated",
        )

    def _batch_shape(self):
        return self._distributions[0].batch_shape

    def _batch_shape_tensor(self):
        return self._distributions[0].batch_shape_tensor()

    def _event_shape(self):
        return tf.TensorShape([*self._distributions[0].event_shape[:-1], sum(self._sizes)])

    def _event_shape_tensor(self):
        return tf.constant(self._event_shape().as_list(), tf.int32)

    def _log_prob(self, x):
        columns = tf.split(x, self._sizes, axis=-1)
        return tf.add_n([each.log_prob(part) for each, part in zip(self._distributions, columns, strict=True)])

    def _mean(self):
        return self._side_by_side([each.mean() for each in self._distributions])

    def _stddev(self):
        return self._side_by_side([each.stddev() for each in self._distributions])

    def _sample_n(self, n, seed=None):
        seeds = tfp.random.split_seed(seed, n=len(self._distributions))
        return tf.concat(
            [each.sample(n, seed=own) for each, own in zip(self._distributions, tf.unstack(seeds), strict=True)],
            axis=-1,
        )

    def _side_by_side(self, values):
        """A value of K numbers per feature, such as the probabilities of classes, becomes K columns per feature."""
        rank = len(self.batch_shape) + len(self.event_shape)
        flat = [
            each if len(each.shape) == rank else tf.reshape(each, tf.concat([tf.shape(each)[: rank - 1], [-1]], axis=0))
            for each in values
        ]
        return tf.concat(flat, axis=-1)
