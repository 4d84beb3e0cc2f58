"""Encoders and decoders to start from: functions that return a `keras.Model`. Any other `keras.Model` will do as well."""

import math

import keras
import numpy as np
from keras import layers

from kvae import checks


def dense_encoder(
    data_shape,
    latent_dim,
    hidden=(300, 300),
    activation="relu",
    params_size=None,
    condition_shape=None,
    num_classes=None,
):
    """A dense network from x to the parameters of the posterior.

    Args:
        data_shape: shape of one example, for instance `(28, 28, 1)` or `(40,)`.
        latent_dim: D.
        hidden: widths of the hidden layers.
        activation: of the hidden layers. "glu" makes them gated, (W h + b) * sigmoid(V h + c): each is a dense layer of
            twice its width and `keras.activations.glu` (Dauphin et al. 2017, arXiv:1612.08083; in VAEs, Tomczak and
            Welling 2018, arXiv:1705.07120).
        params_size: width of the output; by default `2 * latent_dim`, which `DiagonalNormal` takes. Otherwise
            `posterior.params_size(latent_dim)`.
        condition_shape: shape of a condition vector c, for instance `(10,)`; the network then takes `[x, c]`.
        num_classes: instead of it, for labels c = 0, 1, ..., num_classes - 1: the network takes `[x, c]` with c of shape
            `[B]`. A `kvae.VAE` refuses other labels.

    Returns:
        `keras.Model`, `[B, *data_shape]` -> `[B, params_size]`.

    Example:
        >>> kvae.networks.dense_encoder((28, 28, 1), latent_dim=16).output_shape
        (None, 32)
    """
    inputs = keras.Input(_check_shape(data_shape), name="x")
    hidden_values = layers.Flatten()(inputs) if len(inputs.shape) > 2 else inputs
    condition, vector = _condition(condition_shape, num_classes)
    if condition is not None:
        hidden_values = layers.Concatenate()([hidden_values, vector])
    for width in checks.check_widths("hidden", hidden):
        hidden_values = _hidden(hidden_values, activation, layers.Dense, width)
    params = layers.Dense(params_size or 2 * _check_dim(latent_dim), name="params")(hidden_values)
    return keras.Model(inputs if condition is None else [inputs, condition], params, name="encoder")


def dense_decoder(
    latent_dim,
    data_shape,
    hidden=(300, 300),
    activation="relu",
    num_params=1,
    condition_shape=None,
    num_classes=None,
    output_bias=0.0,
):
    """A dense network from z to the parameters of the likelihood.

    Args:
        latent_dim: D.
        data_shape: shape of one example.
        hidden: widths of the hidden layers.
        activation: of the hidden layers, as in `dense_encoder`; the output has none.
        num_params: outputs per value of x, `likelihood.num_params`.
        condition_shape, num_classes: as in `dense_encoder`; the network then takes `[z, c]`.
        output_bias: what the bias of the output starts from, a number or an array that broadcasts to the output of one
            example; `likelihood.initial_params(x_train)` starts the decoder at the mean of the data.

    Returns:
        `keras.Model`, `[B, D]` -> `[B, *data_shape]` with `num_params` times as many channels.

    Example:
        >>> kvae.networks.dense_decoder(16, (28, 28, 1)).output_shape
        (None, 28, 28, 1)
    """
    *rest, channels = _check_shape(data_shape)
    shape = (*rest, channels * num_params)
    inputs, hidden_values = _latent(latent_dim, condition_shape, num_classes)
    for width in checks.check_widths("hidden", hidden):
        hidden_values = _hidden(hidden_values, activation, layers.Dense, width)
    params = layers.Dense(math.prod(shape), name="params")(hidden_values)
    decoder = keras.Model(inputs, layers.Reshape(shape)(params) if rest else params, name="decoder")
    return _start_at(decoder, output_bias, shape)


def conv_encoder(
    data_shape,
    latent_dim,
    filters=None,
    activation="relu",
    params_size=None,
    condition_shape=None,
    num_classes=None,
    residual_blocks=0,
):
    """A convolutional network from images to the parameters of the posterior.

    Args:
        data_shape: `(height, width, channels)`, of any size.
        latent_dim: D.
        filters: channels of the convolutions, each of which halves the image; by default 32, 64, ... until the shorter
            side is 7 or less.
        activation: of the convolutions; "glu" gates their channels, as in `dense_encoder`.
        params_size: width of the output, as in `dense_encoder`.
        condition_shape, num_classes: as in `dense_encoder`; the condition becomes one more channel.
        residual_blocks: how many follow each convolution, x + conv(activation(conv(x))). They have no normalisation (Lim
            et al. 2017, arXiv:1707.02921), whose statistics would couple the examples of a batch, but begin at x, as
            their last kernels are zero at first (Zhang, Dauphin and Ma 2019, arXiv:1901.09321): a network with them is
            deeper and starts as the one without.

    Returns:
        `keras.Model`, `[B, height, width, channels]` -> `[B, params_size]`.

    Example:
        >>> kvae.networks.conv_encoder((28, 28, 1), latent_dim=16).output_shape
        (None, 32)
    """
    height, width, channels = _check_image(data_shape)
    inputs = keras.Input((height, width, channels), name="x")
    features = inputs
    condition, vector = _condition(condition_shape, num_classes)
    if condition is not None:
        plane = layers.Reshape((height, width, 1))(layers.Dense(height * width)(vector))
        features = layers.Concatenate()([features, plane])
    for size in _filters(filters, height, width):
        features = _hidden(features, activation, layers.Conv2D, size, 3, strides=2, padding="same")
        features = _residual(features, residual_blocks, activation)
    params = layers.Dense(params_size or 2 * _check_dim(latent_dim), name="params")(layers.Flatten()(features))
    return keras.Model(inputs if condition is None else [inputs, condition], params, name="encoder")


def conv_decoder(
    latent_dim,
    data_shape,
    filters=None,
    activation="relu",
    num_params=1,
    condition_shape=None,
    num_classes=None,
    output_bias=0.0,
    residual_blocks=0,
):
    """A convolutional network from z to the parameters of the likelihood: `conv_encoder` backwards.

    Args:
        latent_dim: D.
        data_shape: `(height, width, channels)`, of any size; odd sizes are cropped to fit.
        filters: as given to `conv_encoder`.
        activation: of the convolutions, as in `conv_encoder`; the output has none.
        num_params: outputs per value of x, `likelihood.num_params`.
        condition_shape, num_classes: as in `dense_encoder`; the network then takes `[z, c]`.
        output_bias: as in `dense_decoder`, for each channel of the output: a number, or an array such as
            `likelihood.initial_params(x_train.reshape(-1, channels))`.
        residual_blocks: how many stand before each convolution, as in `conv_encoder`.

    Returns:
        `keras.Model`, `[B, D]` -> `[B, height, width, channels * num_params]`.

    Example:
        >>> kvae.networks.conv_decoder(16, (28, 28, 1)).output_shape
        (None, 28, 28, 1)
    """
    height, width, channels = _check_image(data_shape)
    filters = _filters(filters, height, width)
    sizes = [(height, width)]
    for _ in filters:
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
    *targets, (start_height, start_width) = sizes

    inputs, latent = _latent(latent_dim, condition_shape, num_classes)
    features = _hidden(latent, activation, layers.Dense, start_height * start_width * filters[-1])
    features = layers.Reshape((start_height, start_width, filters[-1]))(features)
    for size, target in zip(reversed(filters), reversed(targets), strict=True):
        features = _residual(features, residual_blocks, activation)
        features = _hidden(features, activation, layers.Conv2DTranspose, size, 3, strides=2, padding="same")
        extra = tuple((0, have - want) for have, want in zip(features.shape[1:3], target, strict=True))
        if extra != ((0, 0), (0, 0)):
            features = layers.Cropping2D(extra)(features)
    params = layers.Conv2D(channels * num_params, 3, padding="same", name="params")(features)
    return _start_at(keras.Model(inputs, params, name="decoder"), output_bias, (channels * num_params,))


def _hidden(values, activation, layer, size, *arguments, **options):
    """A hidden layer of so many units or channels with its activation; a gated one is a layer of twice as many."""
    if keras.activations.get(activation) is not keras.activations.glu:
        return layer(size, *arguments, activation=activation, **options)(values)
    # An operation of its own: Keras takes what leaves a layer to be as wide as its kernel, whatever the activation.
    return keras.activations.glu(layer(2 * size, *arguments, **options)(values))


def _residual(features, count, activation):
    """So many residual blocks, each of which is the identity at first."""
    size = features.shape[-1]
    for _ in range(checks.check_count("residual_blocks", count, least=0)):
        branch = _hidden(features, activation, layers.Conv2D, size, 3, padding="same")
        branch = layers.Conv2D(size, 3, padding="same", kernel_initializer="zeros")(branch)
        features = layers.Add()([features, branch])
    return features


def _start_at(decoder, output_bias, shape):
    """The decoder, with the bias of its last layer set."""
    try:
        bias = np.broadcast_to(np.asarray(output_bias, "float32"), shape)
    except (TypeError, ValueError):
        raise ValueError(
            f"`output_bias` must be a number, or an array that broadcasts to {shape}, for each output of an example, or "
            "for each channel of a convolution. "
            f"Received: {f'an array of shape {np.shape(output_bias)}' if np.ndim(output_bias) else repr(output_bias)}."
        ) from None
    if not np.isfinite(bias).all():
        raise ValueError("`output_bias` must be finite. Received: NaN or infinite values among them.")
    decoder.get_layer("params").bias.assign(bias.ravel())
    return decoder


def _condition(condition_shape, num_classes):
    """(the input c, c as a vector), or (None, None) for a network without a condition."""
    if condition_shape is not None and num_classes is not None:
        raise ValueError(
            f"Give `condition_shape` for vectors or `num_classes` for labels, not both. "
            f"Received: condition_shape={condition_shape!r}, num_classes={num_classes!r}"
        )
    if condition_shape is not None:
        condition = keras.Input(_check_shape(condition_shape), name="c")
        return condition, layers.Flatten()(condition) if len(condition.shape) > 2 else condition
    if num_classes is None:
        return None, None
    if num_classes != int(num_classes) or num_classes < 2:
        raise ValueError(f"`num_classes` must be a whole number of at least 2. Received: num_classes={num_classes!r}")
    condition = keras.Input((), name="c")
    return condition, OneHot(num_classes, name="one_hot")(condition)


@keras.saving.register_keras_serializable(package="kvae")
class OneHot(layers.Layer):
    """Labels 0, 1, ..., K - 1 of shape `[B]` as vectors `[B, K]`; any other becomes zeros, so `VAE` looks at them first.

    Args:
        num_classes: K.

    Example:
        >>> kvae.networks.OneHot(3)(np.array([2.0])).numpy().tolist()
        [[0.0, 0.0, 1.0]]
    """

    def __init__(self, num_classes, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})  # 16 bits would not tell all labels apart
        self.num_classes = num_classes

    def call(self, labels):
        return keras.ops.one_hot(keras.ops.cast(labels, "int32"), self.num_classes)

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}


def num_classes(*networks):
    """How many labels the networks have a place for, the least of what their `OneHot`s know; None without any."""
    return min(
        (layer.num_classes for each in networks for layer in each.layers if isinstance(layer, OneHot)), default=None
    )


def _latent(latent_dim, condition_shape, num_classes):
    """(the input z or the inputs [z, c], both as one vector)."""
    latent = keras.Input((_check_dim(latent_dim),), name="z")
    condition, vector = _condition(condition_shape, num_classes)
    if condition is None:
        return latent, latent
    return [latent, condition], layers.Concatenate()([latent, vector])


def _filters(filters, height, width):
    if filters is None:
        stages = max(1, math.ceil(math.log2(min(height, width) / 7)))
        filters = [min(32 * 2**stage, 256) for stage in range(stages)]
    if not filters:
        raise ValueError("`filters` must name at least one convolution, for instance (32, 64).")
    return checks.check_widths("filters", filters)


def _check_dim(latent_dim):
    if isinstance(latent_dim, (list, tuple)):
        raise ValueError(
            f"`latent_dim` must be a whole number. Received: latent_dim={latent_dim!r}. Encoders take (data_shape, latent_dim), "
            "decoders (latent_dim, data_shape)."
        )
    if latent_dim != int(latent_dim) or latent_dim < 1:
        raise ValueError(f"`latent_dim` must be a whole number of at least 1. Received: latent_dim={latent_dim!r}")
    return int(latent_dim)


def _check_shape(data_shape):
    shape = tuple(data_shape) if isinstance(data_shape, (list, tuple)) else (data_shape,)
    if not shape or any(not isinstance(size, int) or size < 1 for size in shape):
        raise ValueError(
            f"`data_shape` must be the shape of one example, without the batch axis, for instance (28, 28, 1) or (40,). "
            f"Received: {data_shape!r}"
        )
    return shape


def _check_image(data_shape):
    shape = _check_shape(data_shape)
    if len(shape) != 3:
        raise ValueError(
            f"`data_shape` must be (height, width, channels) for a convolutional network. Received: {data_shape!r}. "
            "Flat vectors take dense_encoder and dense_decoder."
        )
    return shape
