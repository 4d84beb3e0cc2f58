"""What users pass to a VAE, in all its forms, brought to one: checked, float32, in an order that the seed decides."""

import inspect
import operator

import keras
import numpy as np
import tensorflow as tf

from kvae import checks, feeding, networks

# Inside the model: one example of a batch is x, or (x, c) with a condition


def split_condition(vae, x):
    """(x, condition or None) as float32 tensors of the right shape, from what went into a network."""
    if vae.condition_shape is None:
        if isinstance(x, (list, tuple)) and len(x) == 1:
            (x,) = x
        if isinstance(x, (list, tuple)) and isinstance(getattr(x[0], "shape", None), (tuple, tf.TensorShape)):
            raise ValueError(
                f"`x` must be one array: the encoder takes no condition. Received: {len(x)} arrays. "
                "A conditional VAE has an encoder of two inputs, x and c."
            )
        return cast(vae, x), None
    if not isinstance(x, (list, tuple)) or len(x) != 2:
        raise ValueError(f"A conditional VAE takes the pair (x, c) in place of x. Received: {type(x).__name__}.")
    condition = tf.cast(tf.convert_to_tensor(x[1]), tf.float32)
    checks.check_shape(condition.shape, vae.condition_shape, "c")
    return cast(vae, x[0]), condition


def cast(vae, x, name="x"):
    """x as a float32 tensor of the data's shape."""
    x = tf.cast(tf.convert_to_tensor(x), tf.float32)
    checks.check_shape(x.shape, vae.data_shape, name)
    return x


def target(vae, y, x):
    """y as a float32 tensor of exactly the shape of x, so that it can never broadcast."""
    y = cast(vae, y, "y")
    if not y.shape[:1].is_compatible_with(x.shape[:1]):
        raise ValueError(f"`y` must have as many rows as x. Received: {y.shape[0]} rows, and {x.shape[0]} of x.")
    return tf.reshape(y, tf.shape(x))  # fails where the numbers of rows are known only when it runs


def fill_missing(x):
    """(x with zero in place of NaN, bool mask of what was observed)."""
    mask = tf.logical_not(tf.math.is_nan(x))
    return tf.where(mask, x, 0.0), mask


def unpack(vae, data):
    """(x, y or None, weight `[B]` or None) of a batch as `fit` hands it to `train_step`.

    Rows of weight zero are zero: what stands there, be it NaN, reaches neither loss nor gradient.
    """
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    if weight is None:
        return x, y, None
    weight = tf.reshape(tf.cast(weight, tf.float32), [-1])

    def blank(values):
        present = tf.reshape(weight > 0, [-1] + [1] * (len(values.shape) - 1))
        return tf.where(present, values, tf.zeros((), values.dtype))

    return keras.tree.map_structure(blank, x), None if y is None else blank(y), weight


# Outside the model: arrays and data sets


def checked_x(vae, x):
    """x as given by a user: arrays are checked in shape and values; data sets, in the shape of what they yield."""
    if is_stream(x):
        _check_stream(vae, x)
        return x
    _build(vae, x)
    arrays = as_arrays(vae, x)
    values = arrays[0] if isinstance(arrays, tuple) else arrays
    if not (tf.is_tensor(values) and not hasattr(values, "numpy")):  # a symbolic tensor has no values yet
        _check_x_values(vae, values)
    return arrays


def checked_z(vae, z):
    """(z, condition or None) as float32 tensors; z is `[..., D]`, and the condition has the last of its leading axes."""
    if not vae.built:
        raise ValueError(_UNBUILT)
    condition = None
    if vae.condition_shape is not None:
        if not isinstance(z, (list, tuple)) or len(z) != 2:
            raise ValueError(f"A conditional VAE decodes the pair (z, c). Received: {type(z).__name__}.")
        z, condition = z
    elif isinstance(z, tuple):
        raise ValueError(f"`z` must be one array: the decoder takes no condition. Received: a tuple of {len(z)}.")
    z = tf.cast(tf.convert_to_tensor(z), tf.float32)
    if len(z.shape) == 0 or z.shape[-1] != vae.latent_dim:
        raise ValueError(f"`z` must have shape [..., {vae.latent_dim}]. Received: {list(z.shape)}.")
    if condition is None:
        return z, None
    condition, rows = tf.cast(tf.convert_to_tensor(condition), tf.float32), z.shape[-2:-1]
    if hasattr(condition, "numpy"):  # a symbolic tensor has no values yet
        _check_labels(vae, condition)
    if len(condition.shape) == len(vae.condition_shape):  # one condition for all z
        condition = tf.broadcast_to(condition, tf.concat([tf.shape(z)[-2:-1], tf.shape(condition)], axis=0))
    checks.check_shape(condition.shape, vae.condition_shape, "c")
    if not condition.shape[:1].is_compatible_with(rows):
        raise ValueError(
            f"`c` must be one condition, or one for each z: {rows[0]}. Received: {condition.shape[0]} rows."
        )
    return z, condition


def check_condition(vae, condition):
    """Raises unless a condition is given exactly where the VAE, which must be built, takes one."""
    if not vae.built:
        raise ValueError(_UNBUILT)
    if (condition is None) != (vae.condition_shape is None):
        needed = (
            "takes no `condition`"
            if vae.condition_shape is None
            else f"needs a `condition`, {f'of shape {vae.condition_shape}' if vae.condition_shape else 'a number'},"
        )
        raise ValueError(f"This VAE {needed} to sample. Received: condition={condition!r}")


_UNBUILT = "The VAE does not know its shapes yet: its networks were made without an Input. Call fit or encode first."


def is_stream(x):
    """Whether x yields batches by itself: a tf.data.Dataset, a PyDataset, a generator or a torch DataLoader."""
    return (
        isinstance(x, (tf.data.Dataset, tf.distribute.DistributedDataset, keras.utils.PyDataset))
        or inspect.isgenerator(x)
        or type(x).__name__ == "DataLoader"
    )


def as_arrays(vae, x, name="x"):
    """x as one array, or as a pair (x, c) of arrays, of equal lengths and the right shapes."""
    if isinstance(x, (list, tuple)) and len(x) == 1 and np.ndim(x[0]) > 0 and np.ndim(x[0]) != len(vae.data_shape):
        (x,) = x
    if vae.condition_shape is None:
        if isinstance(x, tuple):
            raise ValueError(
                f"`{name}` must be one array. Received: a tuple of {len(x)}. The pair (x, c) is for conditional models, "
                "whose networks have two inputs."
            )
        x = _as_array(x)
        checks.check_shape(x.shape, vae.data_shape, name)
        return x
    if not isinstance(x, (list, tuple)) or len(x) != 2:
        wanted = "validation_data=((x, c),)" if name == "validation_data" else f"the pair (x, c) in place of {name}"
        raise ValueError(f"A conditional VAE takes {wanted}. Received: {type(x).__name__}.")
    x, condition = map(_as_array, x)
    checks.check_shape(x.shape, vae.data_shape, name)
    checks.check_shape(condition.shape, vae.condition_shape, "c")
    checks.check_values(condition, "c")
    _check_labels(vae, condition)
    checks.check_length(condition, x, "c")
    return x, condition


def _as_array(x):
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return x
    try:
        array = np.asarray(x)
    except ValueError:  # rows of unequal lengths
        array = None
    if array is None or array.dtype.kind not in "biuf":
        raise ValueError(
            f"Examples must be arrays of numbers, all of one shape. Received: {type(x).__name__}. To read files, see "
            "kvae.data.load; the pair (x, c) is a tuple, and for conditional models."
        )
    return array


def _check_labels(vae, condition):
    """Raises for labels that the networks have no place for."""
    num_classes = networks.num_classes(vae.encoder, vae.decoder)
    if num_classes is None:
        return
    labels = np.asarray(condition)
    wrong = labels[(labels < 0) | (labels >= num_classes) | (labels != np.floor(labels))]
    if wrong.size:
        raise ValueError(
            f"`c` must hold labels 0, 1, ..., {num_classes - 1}, as the networks were made with num_classes={num_classes}. "
            f"Received: {wrong.size} other(s), the first {wrong[0]:g}. Number the labels from 0, or make the networks with more "
            "classes."
        )


def _check_x_values(vae, x, name="x"):
    values = np.asarray(x)
    checks.check_values(values, name, missing=vae.missing is not None)
    vae.likelihood.check(values, name)


def _build(vae, x):
    """A VAE of networks without known shapes is built by the first data it sees."""
    if not vae.built:
        x_shape, *rest = [(None, *np.shape(each)[1:]) for each in (x if isinstance(x, (list, tuple)) else [x])]
        if vae.missing == "fill+mask":  # what the encoder takes has a channel of the mask for each of the data
            x_shape = (*x_shape[:-1], 2 * x_shape[-1])
        with vae.distribute_strategy.scope():
            vae.build([x_shape, *rest])


def _examples(vae, x, y=None, sample_weight=None, name="x"):
    """(x, y or None, weight or None), checked arrays."""
    _build(vae, x)
    x = as_arrays(vae, x, name)
    data = x[0] if isinstance(x, tuple) else x
    _check_x_values(vae, data, name)
    if y is not None:
        y = _as_array(y)
        if tuple(y.shape[1:]) != tuple(data.shape[1:]):
            raise ValueError(
                f"`y` must be a target for the reconstruction, of the shape of x, {list(data.shape)}. "
                f"Received: {list(y.shape)}. A VAE learns from x alone: leave labels out. To condition on them, use networks "
                "of two inputs and pass the pair (x, c) as x."
            )
        checks.check_length(y, data, "y")
        _check_x_values(vae, y, "y")
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight, dtype="float32")
        if sample_weight.ndim != 1:
            raise ValueError(f"`sample_weight` must have one value per example. Received: {list(sample_weight.shape)}.")
        checks.check_length(sample_weight, data, "sample_weight")
        _check_weights(sample_weight)
        if sample_weight.max() == 0:
            raise ValueError("`sample_weight` must be larger than zero somewhere. Received: zeros.")
    return x, y, sample_weight


def _check_weights(sample_weight):
    checks.check_values(sample_weight, "sample_weight")
    if sample_weight.min() < 0:
        raise ValueError(f"`sample_weight` must be zero or larger. Received: {sample_weight.min():g} among them.")


def _check_stream(vae, stream):
    """Checks the shapes a stream yields, and the values of its first batch where it can be read twice."""
    if isinstance(stream, tf.data.Dataset):
        with feeding.reading(stream):
            first = next(iter(stream.take(1)), None)
        if first is None:
            raise ValueError("The data set is empty: it yields no batch.")
    elif isinstance(stream, keras.utils.PyDataset):
        first = stream[0]
    else:
        return
    x, y, weight = keras.utils.unpack_x_y_sample_weight(first)
    try:
        _examples(vae, x, y)
        if weight is not None:
            _check_weights(np.asarray(weight))  # all may be zero in this batch
    except ValueError as error:
        raise ValueError(f"In the first batch of the data set: {error}") from None


def _bind(method, vae, args, kwargs):
    bound = inspect.signature(method).bind(vae, *args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    arguments.pop("self")
    arguments.update(arguments.pop("kwargs", {}))
    return arguments


def evaluate_arguments(vae, args, kwargs):
    """The arguments of `keras.Model.evaluate`, checked."""
    arguments = _bind(keras.Model.evaluate, vae, args, kwargs)
    if arguments.get("_use_cached_eval_dataset"):
        return arguments
    if is_stream(arguments["x"]):
        _check_stream(vae, arguments["x"])
        return arguments
    names = ("x", "y", "sample_weight")
    arguments.update(zip(names, _for_keras(*_examples(vae, *(arguments[name] for name in names))), strict=True))
    return arguments


def fit_arguments(vae, args, kwargs):
    """The arguments of `keras.Model.fit`: checked, arrays turned into a data set whose order follows the seed."""
    arguments = _bind(keras.Model.fit, vae, args, kwargs)
    if arguments["class_weight"] is not None:
        raise ValueError("`class_weight` needs labels, which a VAE does not have. Pass `sample_weight`.")
    guard = feeding.FeedingGuard()
    callbacks = arguments["callbacks"]
    if isinstance(callbacks, keras.callbacks.CallbackList):
        # It may have served before, with the guard of that time.
        others = [each for each in callbacks.callbacks if not isinstance(each, feeding.FeedingGuard)]
        callbacks.callbacks = [guard, *others]
        guard.set_model(vae)
    else:
        arguments["callbacks"] = [guard, *keras.tree.flatten(callbacks or [])]

    if is_stream(arguments["x"]):
        if arguments["validation_split"]:
            raise ValueError("`validation_split` needs arrays: a data set cannot be cut. Pass `validation_data`.")
        _check_stream(vae, arguments["x"])
        arguments["validation_data"] = _validation(vae, arguments["validation_data"])
        if hasattr(arguments["x"], "feed"):
            _feed(arguments, arguments["x"].feed, guard)
        return {**arguments, "shuffle": False}

    examples = _examples(vae, arguments["x"], arguments["y"], arguments["sample_weight"])
    held_out = None
    if arguments["validation_data"] is None and arguments["validation_split"]:
        examples, held_out = _split(examples, arguments["validation_split"])
    arguments["validation_data"] = _validation(vae, arguments["validation_data"]) or (
        held_out and _for_keras(*held_out)
    )
    arguments["validation_split"] = 0.0

    batch_size = arguments.pop("batch_size")
    batch_size = 32 if batch_size is None else batch_size
    if arguments["validation_batch_size"] is None and not is_stream(arguments["validation_data"]):
        arguments["validation_batch_size"] = batch_size
    arrays = tuple(each for each in _for_keras(*examples) if each is not None)
    _feed(arguments, feeding.ArrayFeed(arrays, batch_size, vae.seed, arguments.pop("shuffle")), guard)
    return {**arguments, "y": None, "sample_weight": None, "shuffle": False}


def _feed(arguments, feed, guard):
    """Puts the epochs of a feed in place of x, by the step they begin at."""
    steps = arguments.pop("steps_per_epoch")
    arguments["x"] = feeding.epoch(feed, guard.first_step.read_value, steps)
    if isinstance(feed, feeding.ArrayFeed):
        arguments["x"].blocks = guard.blocks = feeding.Blocks(feed, steps)


def _validation(vae, data):
    """`validation_data` as Keras takes it: None, a data set, or (x, y, weight); `x` and `(x,)` are welcome."""
    if data is None:
        return None
    if is_stream(data):
        _check_stream(vae, data)
        return data
    if not isinstance(data, (tuple, list)):
        data = (data,)
    if len(data) > 3:
        raise ValueError(
            f"`validation_data` must be x, (x,), (x, y) or (x, y, sample_weight). Received: {len(data)} items."
        )
    return _for_keras(*_examples(vae, *data, name="validation_data"))


def _for_keras(x, y, sample_weight):
    # Keras drops weights that come without y; x is its own target.
    if sample_weight is not None and y is None:
        y = x[0] if isinstance(x, tuple) else x
    return x, y, sample_weight


def _split(examples, fraction):
    """(first part, last `fraction`) of every array, as Keras splits."""
    rows = len(keras.tree.flatten(examples)[0])
    if not 0 < fraction < 1:
        raise ValueError(f"`validation_split` must lie between 0 and 1. Received: {fraction}")
    at = int(np.floor(rows * (1 - fraction)))
    if at in (0, rows):
        raise ValueError(f"`validation_split={fraction}` leaves no examples on one side of {rows}.")
    return _rows(examples, slice(0, at)), _rows(examples, slice(at, rows))


def _rows(structure, rows):
    """Some rows of every array of a structure; None stays None."""
    return keras.tree.map_structure(operator.itemgetter(rows), structure, none_is_leaf=False)


def map_batches(function, x, batch_size):
    """numpy outputs of `function` over the batches of x (arrays or a data set), one after the other."""
    checks.check_count("batch_size", batch_size)
    if is_stream(x):
        parts = (keras.utils.unpack_x_y_sample_weight(batch)[0] for batch in x)
    else:
        rows = keras.tree.flatten(x)[0].shape[0]
        parts = (_rows(x, slice(start, start + batch_size)) for start in range(0, rows, batch_size))
    parts = (keras.tree.map_structure(feeding.as_float, part) for part in parts)
    return np.concatenate([function(part).numpy() for part in parts])
