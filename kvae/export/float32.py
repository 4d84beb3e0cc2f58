"""The model that is exported: one that is ready for it, computing in float32 whatever it was trained in."""

import keras

from kvae.vae import VAE

_OTHER_FLOATS = ("float16", "bfloat16", "float64")


def exportable(vae):
    """The VAE itself if it computes in float32 throughout; else a clone that does, with the same weights.

    16-bit convolutions and products are not among TFLite's operations, and most CPUs emulate them slowly.

    Raises:
        TypeError: if it is no `kvae.VAE`.
        ValueError: if it has no variables yet, or cannot be cloned.
    """
    if not isinstance(vae, VAE):
        raise TypeError(f"`vae` must be a kvae.VAE. Received: {vae!r} (of type {type(vae).__name__}).")
    if not vae.built:
        raise ValueError(
            "The VAE is not built: the shape of x is not known yet, so there are no weights to export. Fit it, or call "
            "it on a batch: vae(x[:1])."
        )
    return _clone(vae) if _layers_in_other_floats(vae) else vae


def _clone(vae):
    policy = keras.config.dtype_policy()
    try:
        # The policy of layers that others make in their constructors, which no configuration tells of.
        keras.config.set_dtype_policy("float32")
        config = _with_float32(keras.saving.serialize_keras_object(vae))
        config.pop("compile_config", None)
        # Nothing comes from a file here, so a Lambda layer is as safe as it was in the model.
        clone = keras.saving.deserialize_keras_object(config, custom_objects=_own_classes(vae), safe_mode=False)
        clone.set_weights(vae.get_weights())
        if _layers_in_other_floats(clone):
            raise ValueError(f"these layers fix their own dtype: {', '.join(_layers_in_other_floats(clone))}.")
    except Exception as error:
        raise ValueError(
            f"The VAE computes in {vae.compute_dtype}, so a float32 clone of it is exported; but it cannot be cloned: "
            f"{error} Its layers need a `get_config` that gives all arguments of their constructors; or make the same "
            "VAE under keras.config.set_dtype_policy('float32') and give it the weights: new.set_weights(vae.get_weights())."
        ) from error
    finally:
        keras.config.set_dtype_policy(policy)
    return clone


def _layers_in_other_floats(vae):
    return sorted(layer.name for layer in vae._flatten_layers() if layer.compute_dtype in _OTHER_FLOATS)


def _own_classes(vae):
    """Layers of the user by name, so that they need not be registered."""
    classes = {type(layer) for layer in vae._flatten_layers()}
    return {each.__name__: each for each in classes if not each.__module__.startswith(("keras.", "kvae."))}


def _with_float32(config):
    """A serialised object in which every policy, and every type given by name, computes in float32."""
    if isinstance(config, (list, tuple)):
        return type(config)(_with_float32(each) for each in config)
    if not isinstance(config, dict):
        return config
    if config.get("class_name") in ("DTypePolicy", "DTypePolicyMap"):
        return keras.saving.serialize_keras_object(keras.DTypePolicy("float32"))
    return {
        key: "float32"
        if key == "dtype" and isinstance(value, str) and value.endswith(_OTHER_FLOATS)
        else _with_float32(value)
        for key, value in config.items()
    }
