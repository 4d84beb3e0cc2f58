"""What a VAE makes of x and z, as grids of examples."""

import math
import statistics

import numpy as np

from kvae import checks, inputs, likelihoods, networks
from kvae.plots.grid import fit, grid
from kvae.plots.latents import check_dimensions, most_active


def reconstructions(vae, x, num_examples=10, **display):
    """Examples above what the VAE makes of them, E[x | z = E[z|x]].

    Args:
        vae: `kvae.VAE`.
        x: array `[N, *data_shape]`, or the pair (x, c).
        num_examples: how many of the first to show.
        **display: `image_shape` and `value_range`, see `grid`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: for an x that the VAE does not take.
        TypeError: for a data set in place of arrays.

    Example:
        >>> kvae.plots.reconstructions(vae, x_test)
    """
    num_examples = checks.check_count("num_examples", num_examples)
    x = _arrays(vae, x)
    x = tuple(each[:num_examples] for each in x) if isinstance(x, tuple) else x[:num_examples]
    originals = np.asarray(x[0] if isinstance(x, tuple) else x)
    examples = np.concatenate([originals, _as_data(vae.likelihood, vae.reconstruct(x), originals.ndim)])
    return _grid(vae, examples, len(originals), row_labels=("original", "reconstruction"), **display)


def samples(vae, num_samples=64, seed=None, condition=None, **display):
    """What the VAE makes up: E[x|z] for z ~ p(z), in a square.

    Args:
        vae: `kvae.VAE`.
        num_samples: how many.
        seed: int, by default that of the VAE.
        condition: for a conditional VAE, c: one for all, or one for each `[num_samples, ...]`.
        **display: `image_shape` and `value_range`, see `grid`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: when `condition` is missing, of another shape, or given to a VAE without.

    Example:
        >>> kvae.plots.samples(vae, seed=1)
    """
    condition = _conditions(vae, condition, checks.check_count("num_samples", num_samples))
    means = vae.sample(num_samples, seed=seed, condition=condition)
    return _grid(vae, _as_data(vae.likelihood, means, 1 + len(vae.data_shape)), **display)


def manifold(vae, num_steps=20, limit=2.0, condition=None, **display):
    """What each place of a latent plane means: the decoder's means over a lattice of z.

    The lattice is even in the probabilities of a standard normal, so that each image stands for as much of it.

    Reference: Kingma and Welling 2014, arXiv:1312.6114, figure 4.

    Args:
        vae: `kvae.VAE` with `latent_dim=2`.
        num_steps: images along each side.
        limit: outermost |z| along each axis, in standard deviations.
        condition: for a conditional VAE, the c of all images.
        **display: `image_shape` and `value_range`, see `grid`.

    Returns:
        `matplotlib.figure.Figure`; z[0] grows to the right and z[1] upwards.

    Raises:
        ValueError: when the latent space has not two dimensions, or for a wrong `limit` or `condition`.

    Example:
        >>> kvae.plots.manifold(vae)
    """
    if vae.latent_dim != 2:
        raise ValueError(
            f"`manifold` shows a latent space of 2 dimensions. Received: a VAE with latent_dim={vae.latent_dim}. "
            "`traversals` and `interpolations` show any number."
        )
    normal = statistics.NormalDist()
    tail = normal.cdf(-_check_limit(limit, at_most=5))
    shares = np.linspace(tail, 1 - tail, checks.check_count("num_steps", num_steps, least=2))
    values = np.array([normal.inv_cdf(share) for share in shares])
    z = np.stack(np.meshgrid(values, values[::-1]), axis=-1).reshape(-1, 2)
    labels = _tick_labels(values)
    figure = _grid(vae, _decode(vae, z, condition), num_steps, row_labels=labels[::-1], column_labels=labels, **display)
    (axes,) = figure.axes
    size = axes.bbox.size
    axes.set(xlabel="z[0]", ylabel="z[1]")
    return fit(axes, *size)


def interpolations(vae, x_start, x_end, num_steps=10, **display):
    """From one example to another: what lies on the straight lines between their posterior means, a row for each pair.

    Args:
        vae: `kvae.VAE`.
        x_start: array `[N, *data_shape]`, or the pair (x, c); vectors c go along straight lines too, and labels
            change half-way.
        x_end: as many others.
        num_steps: images in a row, with the reconstructions of start and end.
        **display: `image_shape` and `value_range`, see `grid`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: for unequal numbers of examples, or an x that the VAE does not take.
        TypeError: for a data set in place of arrays.

    Example:
        >>> kvae.plots.interpolations(vae, x_test[:5], x_test[5:10])
    """
    ends = [_arrays(vae, x) for x in (x_start, x_end)]
    start, end = ((vae.transform(x), np.asarray(x[1]) if isinstance(x, tuple) else None) for x in ends)
    if len(start[0]) != len(end[0]):
        raise ValueError(
            f"`x_start` and `x_end` must have as many rows. Received: {len(start[0])} and {len(end[0])}. "
            "To go from one example to many, repeat it: x[:1].repeat(5, axis=0)."
        )
    shares = np.linspace(0, 1, checks.check_count("num_steps", num_steps, least=2))

    def line(first, last, shares=shares):  # [N, ...] and [N, ...] -> [N * num_steps, ...]
        share = shares.reshape(-1, *[1] * (first.ndim - 1))
        return ((1 - share) * first[:, None] + share * last[:, None]).reshape(-1, *first.shape[1:])

    labelled = networks.num_classes(vae.encoder, vae.decoder) is not None
    condition = None if start[1] is None else line(start[1], end[1], shares.round() if labelled else shares)
    labels = ["start", *[""] * (num_steps - 2), "end"]
    return _grid(vae, _decode(vae, line(start[0], end[0]), condition), num_steps, column_labels=labels, **display)


def traversals(vae, x=None, dimensions=None, num_steps=9, limit=3.0, condition=None, **display):
    """What each latent dimension means: a row in which it alone goes from -`limit` to `limit`.

    Args:
        vae: `kvae.VAE`.
        x: array `[N, *data_shape]`, or the pair (x, c): the other dimensions stay at the posterior mean of the first
            example. By default they stay at zero.
        dimensions: list of int; by default up to ten, first those whose posterior means vary most over x (the most
            active).
        num_steps: images in a row.
        limit: largest value of the dimension that varies.
        condition: for a conditional VAE, the c of all images; by default that of the first example.
        **display: `image_shape` and `value_range`, see `grid`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: for a dimension that is not there, or a wrong `limit` or `condition`.
        TypeError: for a data set in place of arrays.

    Example:
        >>> kvae.plots.traversals(vae, x_test)
    """
    means = np.zeros((1, vae.latent_dim))
    if x is not None:
        x = _arrays(vae, x)
        means = vae.transform(x)
        condition = np.asarray(x[1][0]) if condition is None and isinstance(x, tuple) else condition
    dimensions = most_active(means)[:10] if dimensions is None else check_dimensions(vae, dimensions)
    values = np.linspace(-_check_limit(limit), limit, checks.check_count("num_steps", num_steps, least=2))
    z = np.tile(means[0], (len(dimensions), num_steps, 1))
    for row, dimension in enumerate(dimensions):
        z[row, :, dimension] = values
    labels = {"row_labels": [f"z[{each}]" for each in dimensions], "column_labels": _tick_labels(values)}
    return _grid(vae, _decode(vae, z.reshape(-1, vae.latent_dim), condition), num_steps, **labels, **display)


def _arrays(vae, x):
    """x, checked: an array or a pair (x, c) of arrays."""
    if inputs.is_stream(x):
        raise TypeError(
            f"`x` must be an array or the pair (x, c). Received: {type(x).__name__}. Pass one batch: next(iter(x))."
        )
    return inputs.checked_x(vae, x)


def _conditions(vae, condition, count):
    """One condition for each of `count` points, `[count, *condition_shape]`; None for a VAE without."""
    shape = vae.condition_shape
    if shape is None and condition is None:
        return None
    if shape is None or condition is None:
        wanted = "takes no condition: leave it out" if shape is None else f"needs one of shape {list(shape)}"
        raise ValueError(f"`condition`: this VAE {wanted}. Received: condition={condition!r}")
    condition = np.asarray(condition, dtype="float32")
    if condition.shape not in (shape, (count, *shape)):
        raise ValueError(
            f"`condition` must have shape {list(shape)}, or {[count, *shape]} with one for each example shown. "
            f"Received: {list(condition.shape)}."
        )
    return np.broadcast_to(condition, (count, *shape))


def _decode(vae, z, condition):
    """E[x|z] of z `[N, D]` as numpy `[N, *data_shape]`."""
    condition = _conditions(vae, condition, len(z))
    points = z if condition is None else (z, condition)
    means = inputs.map_batches(lambda batch: vae.decode(batch).mean(), points, batch_size=256)
    return _as_data(vae.likelihood, means, 1 + len(vae.data_shape))


def _as_data(likelihood, means, ndim):
    """Means as the data are, of `ndim` axes: of classes, whose means are probabilities, the most likely."""
    if isinstance(likelihood, likelihoods.Joint):
        sizes = [count * (each.num_classes if _is_of_classes(each) else 1) for each, count in likelihood.parts]
        columns = np.split(means, np.cumsum(sizes)[:-1], axis=-1)
        parts = [
            part.reshape(*part.shape[:-1], count, each.num_classes).argmax(axis=-1) if _is_of_classes(each) else part
            for part, (each, count) in zip(columns, likelihood.parts, strict=True)
        ]
        return np.concatenate(parts, axis=-1)
    return means.argmax(axis=-1) if means.ndim > ndim else means


def _is_of_classes(likelihood):
    return isinstance(likelihood, likelihoods.Categorical)


def _grid(vae, examples, *arguments, **display):
    """A `grid`, in which black and white are the first and the last of classes, unless it is told otherwise."""
    if _is_of_classes(vae.likelihood) and display.get("value_range") is None:
        display["value_range"] = vae.likelihood.support
    return grid(examples, *arguments, **display)


def _tick_labels(values):
    """Rounded values for the outermost and a few between, evenly spaced; the rest stay empty."""
    count = len(values)
    shown = np.linspace(0, count - 1, min(count, 4 + count % 2)).round().astype(int)
    texts = [f"{value:.1f}".replace("-0.0", "0.0").replace("-", "\N{MINUS SIGN}") for value in values]
    return [text if index in shown else "" for index, text in enumerate(texts)]


def _check_limit(limit, at_most=math.inf):
    if not 0 < limit <= at_most or not math.isfinite(limit):
        bound = "" if at_most == math.inf else f" and at most {at_most}"
        raise ValueError(f"`limit` must be larger than zero{bound}. Received: limit={limit!r}")
    return limit
