"""What the four kinds of parts share: posteriors, priors, likelihoods and objectives are all `Part`s."""

import ast
import inspect
import re

import keras

from kvae import checks


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
        return {**super().get_config(), **{name: _serialize(getattr(self, name)) for name in arguments(type(self))}}

    @classmethod
    def from_config(cls, config):
        return cls(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})


def _serialize(value):
    if isinstance(value, keras.Variable):  # a live setting such as `beta`
        return keras.ops.convert_to_numpy(value).tolist()
    return keras.saving.serialize_keras_object(value)


def get(identifier, kind, known, **defaults):
    """The part that `identifier` means.

    Args:
        identifier: an instance or subclass of `kind`; or the snake_case name of a class in `known`, which arguments may
            follow, see `parse`.
        kind: the base class, for instance `Likelihood`.
        known: iterable of classes that have names.
        defaults: arguments for what is named, where it takes them and is not given them.

    Returns:
        An instance of `kind`.

    Raises:
        ValueError: for an unknown name or argument; the message lists the known ones and the nearest.
        TypeError: for anything else.

    Example:
        >>> kvae.priors.get("vamp_prior:num_components=50").num_components
        50
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
    name, given = parse(identifier)
    if name not in names:
        raise ValueError(f"Unknown {what} '{name}'.{checks.nearest(name, names)} Known names: {', '.join(names)}.")
    takes = arguments(names[name])
    for unknown in sorted(set(given) - set(takes)):
        raise ValueError(
            f"The {what} '{name}' takes no argument '{unknown}'.{checks.nearest(unknown, takes)} "
            f"Known arguments: {', '.join(takes) or 'none'}."
        )
    given = {
        key: (value,) if isinstance(takes[key], tuple) and not isinstance(value, (list, tuple)) else value
        for key, value in given.items()
    }  # a single one needs no brackets
    return names[name](**{key: value for key, value in defaults.items() if key in takes} | given)


def parse(text):
    """The name and the arguments of a part written as "name" or "name:key=value,key=value".

    Values are written as in Python or TOML: numbers, words with or without quotes, true, false, and lists of these in
    brackets.

    Returns:
        (name, dict of the arguments).

    Raises:
        ValueError: for anything else after the colon.

    Example:
        >>> kvae.parts.parse("flow:kind=maf,hidden=[64,64]")
        ('flow', {'kind': 'maf', 'hidden': [64, 64]})
    """
    name, _, written = text.partition(":")
    try:
        call = ast.parse(f"part({written})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError
        values = {each.arg: ast.literal_eval(_Words().visit(each.value)) for each in call.keywords}
        if None in values or len(values) < len(call.keywords):
            raise ValueError
    except (SyntaxError, ValueError):
        raise ValueError(
            f"The arguments of a part are written name:key=value,key=value, each once, such as "
            f"flow:num_steps=4,hidden=[64,64]. Received: {text!r}"
        ) from None
    return name, values


class _Words(ast.NodeTransformer):
    """Makes of each bare word of an expression its text, or the truth value that TOML means by it."""

    def visit_Name(self, node):
        return ast.copy_location(ast.Constant({"true": True, "false": False}.get(node.id, node.id)), node)


def arguments(part):
    """The arguments that a class of parts has of its own: dict of names to their defaults."""
    parameters = inspect.signature(part.__init__).parameters.values()
    own = [each for each in parameters if each.name != "self" and each.kind is not inspect.Parameter.VAR_KEYWORD]
    return {each.name: each.default for each in own}


def snake_case(name):
    """`DiagonalNormal` -> `diagonal_normal`, `BetaTC` -> `beta_tc`, `ELBO` -> `elbo`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
