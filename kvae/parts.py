"""What the four kinds of parts share: posteriors, priors, likelihoods and objectives are all `Part`s."""

import difflib
import inspect
import re

import keras


class Part(keras.layers.Layer):
    """A piece of a VAE: a float32 Keras layer, named by a string or given as an object.

    A subclass stores each constructor argument under its own name; `get_config` then needs no code. Variables are made
    in `build`, which `VAE` calls once; `super().build(...)` keeps `data_shape` and `latent_dim` as attributes.
    """

    def __init__(self, **kwargs):
        # Log-densities lose all meaning in 16 bits, so parts ignore the global policy.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.data_shape = None
        self.latent_dim = None

    def build(self, data_shape=None, latent_dim=None):
        self.data_shape = None if data_shape is None else tuple(data_shape)
        self.latent_dim = latent_dim
        self.built = True

    @property
    def output_shape(self):
        """For `summary()`: what the part is about has the shape of z unless a kind says otherwise."""
        return (None, self.latent_dim)

    def __call__(self, *args, **kwargs):
        if not self.built:  # used outside a VAE: Keras would build with the shape of the input, which is neither shape
            self.build()
        return super().__call__(*args, **kwargs)

    def get_config(self):
        config = super().get_config()
        for name, parameter in inspect.signature(type(self).__init__).parameters.items():
            if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
                config[name] = _serialize(getattr(self, name))
        return config

    @classmethod
    def from_config(cls, config):
        return cls(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})


def _serialize(value):
    if isinstance(value, keras.Variable):  # a live setting such as `beta`
        return keras.ops.convert_to_numpy(value).tolist()
    return keras.saving.serialize_keras_object(value)


def get(identifier, kind, known):
    """The part that `identifier` means.

    Args:
        identifier: an instance or subclass of `kind`, or the snake_case name of a class in `known`.
        kind: the base class, for instance `Likelihood`.
        known: iterable of classes that have names.

    Returns:
        An instance of `kind`.

    Raises:
        ValueError: for an unknown name; the message lists the known ones and the nearest.
        TypeError: for anything else.
    """
    if isinstance(identifier, kind):
        return identifier
    if inspect.isclass(identifier) and issubclass(identifier, kind):
        return identifier()
    what, names = kind.__name__.lower(), {snake_case(each.__name__): each for each in known}
    if not isinstance(identifier, str):
        raise TypeError(
            f"`{what}` must be a name or a kvae {kind.__name__}. Received: {identifier!r} "
            f"(of type {type(identifier).__name__}). Known names: {', '.join(names)}."
        )
    if identifier not in names:
        near = difflib.get_close_matches(identifier.lower(), names, n=1, cutoff=0.4)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"Unknown {what} '{identifier}'.{hint} Known names: {', '.join(names)}.")
    return names[identifier]()


def snake_case(name):
    """`DiagonalNormal` -> `diagonal_normal`, `BetaTC` -> `beta_tc`, `ELBO` -> `elbo`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
