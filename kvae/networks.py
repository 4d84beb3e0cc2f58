"""Encoders and decoders to start from: functions that return a `keras.Model`. Any other `keras.Model` will do as well."""

import math

import keras
from keras import layers


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
        activation: of the hidden layers.
        params_size: width of the output; by default `2 * latent_dim`, which `DiagonalNormal` takes. Otherwise
            `posterior.params_size(latent_dim)`.
        condition_shape: shape of a condition vector c, for instance `(10,)`; the network then takes `[x, c]`.
        num_classes: instead of it, for labels c = 0, 1, ...: the network takes `[x, c]` with c of shape `[B]`.

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
    for width in hidden:
        hidden_values = layers.Dense(width, activation=activation)(hidden_values)
    params = layers.Dense(params_size or 2 * _check_dim(latent_dim), name="params")(hidden_values)
    return keras.Model(inputs if condition is None else [inputs, condition], params, name="encoder")


def dense_decoder(
    latent_dim, data_shape, hidden=(300, 300), activation="relu", num_params=1, condition_shape=None, num_classes=None
):
    """A dense network from z to the parameters of the likelihood.

    Args:
        latent_dim: D.
        data_shape: shape of one example.
        hidden: widths of the hidden layers.
        activation: of the hidden layers; the output has none.
        num_params: outputs per value of x, `likelihood.num_params`.
        condition_shape, num_classes: as in `dense_encoder`; the network then takes `[z, c]`.

    Returns:
        `keras.Model`, `[B, D]` -> `[B, *data_shape]` with `num_params` times as many channels.

    Example:
        >>> kvae.networks.dense_decoder(16, (28, 28, 1)).output_shape
        (None, 28, 28, 1)
    """
    *rest, channels = _check_shape(data_shape)
    shape = (*rest, channels * num_params)
    inputs, hidden_values = _latent(latent_dim, condition_shape, num_classes)
    for width in hidden:
        hidden_values = layers.Dense(width, activation=activation)(hidden_values)
    params = layers.Dense(math.prod(shape), name="params")(hidden_values)
    return keras.Model(inputs, layers.Reshape(shape)(params) if rest else params, name="decoder")


def conv_encoder(
    data_shape, latent_dim, filters=None, activation="relu", params_size=None, condition_shape=None, num_classes=None
):
    """A convolutional network from images to the parameters of the posterior.

    Args:
        data_shape: `(height, width, channels)`, of any size.
        latent_dim: D.
        filters: channels of the convolutions, each of which halves the image; by default 32, 64, ... until the shorter
            side is 7 or less.
        activation: of the convolutions.
        params_size: width of the output, as in `dense_encoder`.
        condition_shape, num_classes: as in `dense_encoder`; the condition becomes one more channel.

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
        features = layers.Conv2D(size, 3, strides=2, padding="same", activation=activation)(features)
    params = layers.Dense(params_size or 2 * _check_dim(latent_dim), name="params")(layers.Flatten()(features))
    return keras.Model(inputs if condition is None else [inputs, condition], params, name="encoder")


def conv_decoder(
    latent_dim, data_shape, filters=None, activation="relu", num_params=1, condition_shape=None, num_classes=None
):
    """A convolutional network from z to the parameters of the likelihood: `conv_encoder` backwards.

    Args:
        latent_dim: D.
        data_shape: `(height, width, channels)`, of any size; odd sizes are cropped to fit.
        filters: as given to `conv_encoder`.
        activation: of the convolutions; the output has none.
        num_params: outputs per value of x, `likelihood.num_params`.
        condition_shape, num_classes: as in `dense_encoder`; the network then takes `[z, c]`.

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
    features = layers.Dense(start_height * start_width * filters[-1], activation=activation)(latent)
    features = layers.Reshape((start_height, start_width, filters[-1]))(features)
    for size, target in zip(reversed(filters), reversed(targets), strict=True):
        features = layers.Conv2DTranspose(size, 3, strides=2, padding="same", activation=activation)(features)
        extra = tuple((0, have - want) for have, want in zip(features.shape[1:3], target, strict=True))
        if extra != ((0, 0), (0, 0)):
            features = layers.Cropping2D(extra)(features)
    params = layers.Conv2D(channels * num_params, 3, padding="same", name="params")(features)
    return keras.Model(inputs, params, name="decoder")


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
    return condition, keras.ops.one_hot(keras.ops.cast(condition, "int32"), num_classes)


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
    return tuple(filters)


def _check_dim(latent_dim):
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
