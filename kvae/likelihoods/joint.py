"""Tables: several likelihoods side by side, each with its own columns."""

import keras
import numpy as np
import tensorflow as tf

from kvae.likelihoods import distributions
from kvae.likelihoods.base import Likelihood, check_int


@keras.saving.register_keras_serializable(package="kvae")
class Joint(Likelihood):
    """Columns of several kinds as one x: some real, some classes, some bits, some counts.

    The last axis of x holds the columns of the first part, then those of the second, and so on; that of the decoder's
    output holds `num_params` times as many of each, in the same order. log p(x|z) is the sum over the parts, in nats.
    Called, it gives the means side by side, K columns of probabilities for each `Categorical` one.

    The decoder's width is `params_shape(data_shape)[-1]`; `num_params` is what it comes to per column, rounded up.

    Reference: Nazabal et al. 2018 (HI-VAE), arXiv:1807.03653.

    Args:
        parts: list of pairs (likelihood, num_columns); likelihoods by name or as objects; must be given.

    Raises:
        ValueError: if `parts` is not such a list, or the columns do not add up to the last axis of the data.

    Example:
        >>> columns = [("normal", 3), (kvae.likelihoods.Categorical(4), 1), ("bernoulli", 2)]
        >>> likelihood = kvae.likelihoods.Joint(columns)
        >>> encoder = kvae.networks.dense_encoder((6,), latent_dim=2)
        >>> decoder = kvae.networks.dense_decoder(2, likelihood.params_shape((6,)))          # 3 + 4 + 2 = 9 wide
        >>> vae = kvae.VAE(encoder, decoder, likelihood)
    """

    # Integers are welcome in some columns; each part checks its own.
    counts = True

    def __init__(self, parts=None, **kwargs):
        super().__init__(**kwargs)
        from kvae.likelihoods import get  # which knows this class

        if (
            not isinstance(parts, (list, tuple))
            or not parts
            or not all(isinstance(each, (list, tuple)) and len(each) == 2 for each in parts)
        ):
            raise ValueError(
                "`parts` must be a list of pairs (likelihood, num_columns), such as kvae.likelihoods.Joint("
                f"[('normal', 3), (kvae.likelihoods.Categorical(4), 1)]). Received: {parts!r}"
            )
        self.likelihoods = [get(each) for each, _ in parts]
        if len(set(map(id, self.likelihoods))) < len(parts):
            raise ValueError("Each of `parts` must have a likelihood object of its own. Received: one of them twice.")
        self.num_columns = [check_int("num_columns", each, 1) for _, each in parts]

    @property
    def parts(self):
        return [list(each) for each in zip(self.likelihoods, self.num_columns, strict=True)]

    @property
    def num_params(self):
        return -(-sum(self._params_sizes()) // sum(self.num_columns))

    @property
    def link(self):
        """That of all parts, if they agree."""
        links = {each.link for each in self.likelihoods}
        return links.pop() if len(links) == 1 else None

    def params_shape(self, data_shape):
        if data_shape[-1] != sum(self.num_columns):
            raise ValueError(
                f"The columns of a Joint likelihood must add up to the last axis of the data, {data_shape[-1]}. "
                f"Received: {' + '.join(map(str, self.num_columns))} = {sum(self.num_columns)} columns of "
                f"{', '.join(type(each).__name__ for each in self.likelihoods)}."
            )
        return (*data_shape[:-1], sum(self._params_sizes()))

    def build(self, data_shape=None, latent_dim=None):
        if data_shape is not None:
            self.params_shape(data_shape)
        for likelihood, size in self.parts:
            if likelihood.data_shape is None:
                likelihood.build(None if data_shape is None else (*data_shape[:-1], size), latent_dim)
        super().build(data_shape, latent_dim)

    def distribution(self, params, mask=None):
        """The distribution p(x|z): batch `[...]`, event `data_shape`; its mean may have more columns."""
        masks = self._columns(mask)
        params = tf.split(tf.cast(params, tf.float32), self._params_sizes(), axis=-1)
        zipped = zip(self.likelihoods, params, masks, strict=True)
        return distributions.Concatenated([each.distribution(own, mask) for each, own, mask in zipped])

    def initial_params(self, x):
        x = np.asarray(x)
        if x.ndim > 1:  # else the parts refuse it
            self.params_shape(x.shape[1:])
        columns = np.split(x, np.cumsum(self.num_columns)[:-1], axis=-1)
        return np.concatenate(
            [each.initial_params(own) for each, own in zip(self.likelihoods, columns, strict=True)], axis=-1
        )

    def from_uniform(self, params, noise):
        params = tf.split(tf.cast(params, tf.float32), self._params_sizes(), axis=-1)
        zipped = zip(self.likelihoods, params, *map(self._columns, noise), strict=True)
        return tf.concat([each.from_uniform(own, pair) for each, own, *pair in zipped], axis=-1)

    def log_prob(self, params, x, mask=None, training=False, sample_weight=None):
        params = tf.split(tf.cast(params, tf.float32), self._params_sizes(), axis=-1)
        zipped = zip(self.likelihoods, params, self._columns(tf.cast(x, tf.float32)), self._columns(mask), strict=True)
        return tf.add_n([each.log_prob(own, x, mask, training, sample_weight) for each, own, x, mask in zipped])

    def check(self, values, name="x"):
        errors, start = [], 0
        for likelihood, size in self.parts:
            try:
                likelihood.check(values[..., start : start + size], f"{name}[..., {start}:{start + size}]")
            except ValueError as error:
                errors.append(str(error))
            start += size
        if errors:
            raise ValueError("\n".join(errors))

    def _params_sizes(self):
        return [likelihood.params_shape((size,))[-1] for likelihood, size in self.parts]

    def _columns(self, values):
        """What belongs to each part, of a tensor of the data's shape."""
        if values is None:
            return [None] * len(self.likelihoods)
        return tf.split(values, self.num_columns, axis=-1)
