"""What is refused, and in which words: every message says what happened, what was expected and how to mend it."""

import difflib
import math
import numbers

import keras
import numpy as np


def check_models(encoder, decoder):
    """Raises unless both are Keras models."""
    for name, network in (("encoder", encoder), ("decoder", decoder)):
        if not isinstance(network, keras.Model):
            raise TypeError(
                f"`{name}` must be a keras.Model, for instance from kvae.networks. "
                f"Received: {network!r} (of type {type(network).__name__})."
            )


def is_number(value):
    """Whether `value` is a real number, of Python or numpy, and no truth value."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_seed(seed):
    """`seed` as an int of 32 bits, else ValueError."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not -(2**31) <= seed < 2**32:
        raise ValueError(f"`seed` must be an int of at most 32 bits. Received: seed={seed!r}")
    return int(seed)


def check_count(name, value, least=1):
    """`value` as an int if it is a whole number of at least `least`, else ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}. Received: {name}={value!r}")
    return int(value)


def check_length(other, x, name):
    """Raises unless `other` has as many rows as x."""
    if other.shape[0] != x.shape[0]:
        raise ValueError(
            f"`{name}` must have as many rows as x. Received: {other.shape[0]} rows, and {x.shape[0]} of x."
        )


def check_widths(name, widths):
    """`widths` of layers as a tuple of positive ints, else ValueError."""
    if not isinstance(widths, (list, tuple)):
        raise ValueError(f"`{name}` must be the widths of layers, such as (64, 64). Received: {name}={widths!r}")
    return tuple(check_count(name, width) for width in widths)


def check_choice(name, value, choices):
    """`value` if it is one of `choices`, else ValueError."""
    if value not in choices:
        hint = nearest(str(value), map(str, choices))
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}. Received: {name}={value!r}{hint}")
    return value


# What is called otherwise in papers and other packages.
_ELSEWHERE = {
    "vae": "elbo",
    "beta_vae": "elbo:beta=4",
    "betavae": "elbo:beta=4",
    "beta_tcvae": "beta_tc",
    "mmd": "wae",
    "gaussian": "normal",
    "mse": "normal:scale=1",
    "bce": "bernoulli",
    "gmm": "normal_mixture",
    "mog": "normal_mixture",
    "iaf": "flow",
    "maf": "flow",
    "normal": "diagonal_normal",
}


def nearest(name, names):
    """What a message about an unknown name adds: the name that was probably meant, or nothing."""
    meant = _ELSEWHERE.get(name.lower())
    if meant is None or meant.partition(":")[0] not in names:
        meant = next(iter(difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)), None)
    return f" Did you mean '{meant}'?" if meant else ""


def refuse_losses(model, **arguments):
    """Raises for whatever of `compile`'s loss and metric arguments was given."""
    choices = (
        "kvae.VAE(..., objective='elbo'), or kvae.objectives.ELBO(beta=4.0), IWAE(num_samples=8), ..."
        if model.generative
        else "the `likelihood`, and what is asked of the code, such as `l1` or `contraction`"
    )
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"`compile({name}=...)` has no meaning for {type(model).__name__}, which brings its own loss. Choose it at "
                f"construction: {choices}; the reported metrics are {', '.join(model.reported)}. Received: {name}={value!r}"
            )


def known_input_shape(network):
    """Shapes of the network's inputs with the batch axis, as Keras gives them; None before it is built."""
    return network.input_shape if getattr(network, "inputs", None) else None


def wire(vae, input_shape):
    """Checks that the networks of a VAE fit together.

    Args:
        vae: the `VAE`.
        input_shape: shape of x with the batch axis, or a list of those of x and c.

    Returns:
        (data_shape, condition_shape or None, latent_dim).

    Raises:
        ValueError: with the width or shape that is needed.
    """
    input_shapes = [
        tuple(each) for each in (input_shape if isinstance(input_shape[0], (list, tuple)) else [input_shape])
    ]
    x_shape, *condition_shapes = input_shapes
    if len(condition_shapes) > 1:
        raise ValueError(
            f"`encoder` must have one input x, or two: x and a condition c. Received: {1 + len(condition_shapes)} inputs."
        )
    data_shape = tuple(x_shape[1:])
    if not data_shape or None in data_shape:
        raise ValueError(
            f"`encoder` must take inputs of a fixed shape, [batch, ...] with known sizes. Received: {tuple(x_shape)}."
        )
    if vae.missing == "fill+mask":
        if data_shape[-1] % 2:
            raise ValueError(
                "With missing='fill+mask' the encoder takes the data and, as many channels again, what was observed. "
                f"Received: an encoder with an odd last axis, {data_shape}."
            )
        data_shape = (*data_shape[:-1], data_shape[-1] // 2)
    condition_shape = tuple(condition_shapes[0][1:]) if condition_shapes else None

    width = _encoder_width(vae.encoder, input_shapes)
    latent_dim = _latent_dim(vae, width)
    needed = vae.posterior.params_size(latent_dim)
    if width != needed:
        raise ValueError(
            f"The encoder's output must be {needed} wide: the decoder takes {latent_dim} latent dimensions, and the "
            f"posterior {type(vae.posterior).__name__} needs {needed} parameters for them. Received: width {width}. "
            f"End the encoder in Dense({needed}), which `params_size={needed}` of kvae.networks does, or give the decoder "
            "another input."
        )
    _check_conditions(vae.decoder, condition_shapes)
    _check_decoder(vae, data_shape, [(None, latent_dim), *input_shapes[1:]])
    return data_shape, condition_shape, latent_dim


def _check_conditions(decoder, condition_shapes):
    """Raises where the decoder, as far as its shapes are known, takes another condition than the encoder."""
    shapes = known_input_shape(decoder)
    if shapes is None:
        return
    received = [tuple(each[1:]) for each in shapes[1:]] if isinstance(shapes[0], (list, tuple)) else []
    needed = [tuple(each[1:]) for each in condition_shapes]
    if received != needed:
        words = [f"a condition of shape {each[0]}" if each else "no condition" for each in (needed, received)]
        raise ValueError(
            f"The encoder takes {words[0]} and the decoder {words[1]}: both of a conditional VAE must take the same. Make both "
            "with the same `condition_shape` or `num_classes`."
        )


def _output_shape(network, input_shapes):
    """Shape, or structure of shapes, of what a network makes of inputs of some shapes."""
    if getattr(network, "inputs", None):
        return network.output_shape
    symbols = [keras.KerasTensor(shape) for shape in input_shapes]
    outputs = network(symbols if len(symbols) > 1 else symbols[0])
    return keras.tree.map_structure(lambda each: tuple(each.shape), outputs)


def _encoder_width(encoder, input_shapes):
    shape = _output_shape(encoder, input_shapes)
    if isinstance(shape, dict):
        raise ValueError(
            "The encoder must output one tensor of posterior parameters, or a list [z_mean, z_log_var]. "
            f"Received: a dictionary with keys {sorted(shape)}."
        )
    shapes = list(shape[:2]) if isinstance(shape[0], (list, tuple)) else [shape]
    if any(len(each) != 2 for each in shapes):
        raise ValueError(
            f"The encoder's output must be [batch, parameters]. Received: {shapes}. End the encoder in Flatten() and Dense()."
        )
    return sum(each[-1] for each in shapes)


def _latent_dim(vae, encoder_width):
    shapes = known_input_shape(vae.decoder)
    if shapes is not None:
        shape = shapes[0] if isinstance(shapes[0], (list, tuple)) else shapes
        if len(shape) != 2 or shape[-1] is None:
            raise ValueError(f"`decoder` must take z of shape [batch, latent_dim]. Received: {tuple(shape)}.")
        return shape[-1]
    sizes = {vae.posterior.params_size(dim): dim for dim in range(1, encoder_width + 1)}
    if encoder_width not in sizes:
        raise ValueError(
            f"The encoder's output is {encoder_width} wide, which no number of latent dimensions needs for the posterior "
            f"{type(vae.posterior).__name__}."
        )
    return sizes[encoder_width]


def _check_decoder(vae, data_shape, input_shapes):
    likelihood = vae.likelihood
    needed = likelihood.params_shape(data_shape)
    shape = _output_shape(vae.decoder, input_shapes)
    if isinstance(shape, (list, dict)) or tuple(shape[1:]) != needed:
        received = shape if isinstance(shape, (list, dict)) else tuple(shape[1:])
        masked = ", half of what the encoder takes, as missing='fill+mask'" if vae.missing == "fill+mask" else ""
        hint = f"End the decoder in an output of that shape; kvae.networks takes `num_params={likelihood.num_params}`."
        if not isinstance(shape, (list, dict)) and received == needed[:-1] and needed[-1] == 1:
            hint = f"The channel axis is missing: end the decoder in Reshape({needed})."
        raise ValueError(
            f"The decoder's output must be {needed} per example: the data is {data_shape}{masked} and the likelihood "
            f"{type(likelihood).__name__} takes {likelihood.num_params} value(s) for each of its channels. "
            f"Received: {received}. {hint}"
        )
    last = _last_operation(vae.decoder)
    has_activation = getattr(last, "activation", None) is not None
    ending = last.activation.__name__ if has_activation else type(last).__name__.lower()
    if likelihood.link is not None and ending == likelihood.link:
        where = "layers[-1]" if last is vae.decoder.layers[-1] else f"get_layer('{last.name}')"
        mend = (
            f"Drop it, with this line before the VAE is made:\n    decoder.{where}.activation = keras.activations.linear"
            if has_activation
            else f"Make the decoder without its last operation, '{last.name}'."
        )
        raise ValueError(
            f"The decoder ends in a {likelihood.link}, but the likelihood {type(likelihood).__name__} takes "
            f"{'log-rates' if likelihood.link == 'exponential' else 'logits'} and applies the {likelihood.link} itself. {mend}"
        )


def _last_operation(network):
    """What makes the network's output, leaving out what only rearranges values; None if Keras does not know."""
    for operation in reversed(getattr(network, "operations", None) or getattr(network, "layers", [])):
        if isinstance(operation, keras.Model):
            return _last_operation(operation)
        if (
            type(operation).__name__ not in ("Reshape", "Flatten", "Permute")
            and "Cropping" not in type(operation).__name__
        ):
            return operation
    return None


def check_prior(prior, latent_dim):
    """`prior` if it is a built one of `latent_dim` dimensions, else ValueError or TypeError."""
    if not hasattr(type(prior), "from_noise") or not hasattr(type(prior), "noise_size"):
        raise TypeError(
            "`prior` must be a built kvae prior, such as kvae.priors.fit_mixture(vae, x) gives. "
            f"Received: {prior!r} (of type {type(prior).__name__})."
        )
    if prior.latent_dim != latent_dim:
        received = "one that is not built yet" if prior.latent_dim is None else f"one of {prior.latent_dim}"
        raise ValueError(
            f"`prior` must have the {latent_dim} latent dimensions of the model. Received: {received}. "
            "Fit it to codes of this model: kvae.priors.fit_mixture(vae, x)."
        )
    return prior


def check_shape(shape, expected, name="x"):
    """Raises unless `shape`, with a batch axis, is that of a batch of `expected`."""
    shape, expected = tuple(shape), tuple(expected)
    if len(shape) == len(expected) + 1 and all(a is None or a == b for a, b in zip(shape[1:], expected, strict=True)):
        return
    wanted = "[" + ", ".join(["batch", *map(str, expected)]) + "]"
    if shape == expected:
        hint = f" It looks like a single example: pass {name}[None]; of a data set, batches: .batch(128)."
    elif not expected and len(shape) == 2:
        hint = f" Labels are numbers, not one-hot vectors: pass {name}.argmax(-1)."
    elif shape[1:] == expected[:-1] and expected[-1] == 1:
        hint = f" The channel axis is missing: pass {name}[..., None]."
    elif None not in shape[1:] and len(shape) > 1 and math.prod(shape[1:]) == math.prod(expected):
        hint = f" The number of values is right: pass {name}.reshape(-1, {', '.join(map(str, expected))})."
    else:
        hint = " The encoder's input decides the shape of the data."
    raise ValueError(f"`{name}` must have shape {wanted}. Received: {list(shape)}.{hint}")


def check_values(values, name="x", missing=False):
    """Raises for an empty array, and for NaN (unless they mean missing values) and infinities in it."""
    values = np.asarray(values)
    if values.size == 0:
        raise ValueError(f"`{name}` is empty: its shape is {list(values.shape)}. Pass at least one example.")
    if values.dtype.kind in "iub":
        return
    if values.dtype.kind != "f":
        raise ValueError(f"`{name}` must hold numbers. Received: an array of dtype {values.dtype}.")
    # The minimum and the maximum are not finite if any value is not, and take no memory.
    if math.isfinite(values.min()) and math.isfinite(values.max()):
        return
    bad = np.isinf(values) if missing else ~np.isfinite(values)
    if bad.any():
        first = tuple(int(axis[0]) for axis in np.nonzero(bad))
        hint = (
            "Remove them." if missing else "Remove them, or let NaN mean `not observed` with VAE(..., missing='fill')."
        )
        raise ValueError(
            f"`{name}` must be finite. Received: {int(bad.sum())} NaN or infinite values, the first at {name}{list(first)}. "
            f"{hint}"
        )


class NonFiniteGuard(keras.callbacks.Callback):
    """Stops training at the first loss that is not finite, before any later callback can overwrite a checkpoint."""

    watches_batches = False
    async_safe = True  # Keras may look at the logs while the next batch trains; it waits before the epoch ends

    def __init__(self):
        super().__init__()
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if logs and not math.isfinite(logs.get("loss", 0.0)):
            names = [name for name in ("reconstruction", "kl") if not math.isfinite(logs.get(name, 0.0))]
            raise FloatingPointError(
                f"The loss is not finite at epoch {self.epoch + 1}, batch {batch + 1}"
                f"{' (' + ' and '.join(names) + ')' if names else ''}. Training stopped; checkpoints on disk are as they "
                "were. Try a lower learning rate or `clipnorm=1.0` in the optimizer, and look at the scale of the data."
            )

    def on_epoch_end(self, epoch, logs=None):
        if float(self.model.trackers["loss"].count.numpy()) == 0.0:
            raise FloatingPointError(
                f"Every step of epoch {epoch + 1} overflowed in 16 bits and was skipped: nothing was learned. "
                "Train with keras.config.set_dtype_policy('float32') or 'mixed_bfloat16'."
            )
