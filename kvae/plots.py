"""Pictures: reconstructions, samples, the latent space and the course of training.

Every function returns a `matplotlib.figure.Figure` made without pyplot: nothing pops up and nothing stays open. A notebook
shows it when it ends a cell, and `figure.savefig("samples.png")` keeps it.

Examples that are images, `[height, width]` or with 1 or 3 channels, are shown as such. All others are drawn as a profile: a
line through their values in order. With `image_shape=(28, 28)` flat vectors are images too.
"""

import io
import math
import os
import statistics

import matplotlib.figure
import matplotlib.ticker
import numpy as np

from kvae import checks, inputs

# Two colours by Okabe and Ito, and "muted" by Paul Tol: told apart in all common kinds of colour blindness.
_BLUE, _VERMILION = "#0072B2", "#D55E00"
_MUTED = ["#332288", "#CC6677", "#44AA99", "#DDCC77", "#88CCEE", "#882255", "#117733", "#999933", "#AA4499", "#777777"]
_INK, _PANEL, _MISSING = "0.25", (0.95, 0.95, 0.95), (0.72, 0.82, 0.92)
_DPI, _WIDTH, _CELL, _GAP = 100, 880, 88, 3  # pixels: of a figure, of one example, between examples


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that shows in notebooks, which of themselves only show those of pyplot."""

    def _repr_png_(self):
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def grid(images, columns=None, image_shape=None, value_range=None, row_labels=None, column_labels=None):
    """Examples side by side, row by row; the pixels of small images are crisp squares.

    Args:
        images: `[N, H, W]`, `[N, H, W, 1]`, `[N, H, W, 3]`; or `[N, ...]`, drawn as profiles. NaN is pale blue.
        columns: how many stand in a row; by default as many as there are rows.
        image_shape: (H, W) or (H, W, channels), to show flat vectors as images.
        value_range: pair (low, high), black and white; values beyond are clipped. By default (0, 1), for bytes (0, 255),
            and for profiles from the smallest to the largest value of all.
        row_labels: one str for each row.
        column_labels: one str for each column.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: for an array that is empty or infinite, or arguments that do not fit it.

    Example:
        >>> kvae.plots.grid(x_test[:100], columns=20)
    """
    images = _as_examples(images, image_shape)
    is_image = images.ndim == 4
    columns = math.ceil(math.sqrt(len(images))) if columns is None else _check_count("columns", columns)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    low, high = _value_range(images, value_range)
    images = (images.astype("float32") - low) / (high - low)

    # Images are enlarged by whole factors and shown pixel by pixel; otherwise the pixels of one image differ in size.
    side = max(images.shape[1:3]) if is_image else 2 * _CELL
    room = min(_WIDTH // columns, max(_CELL, side)) - _GAP
    if is_image:
        zoom = max(1, room // side)
        tiles = images.repeat(zoom, axis=1).repeat(zoom, axis=2)
        tiles = np.where(np.isnan(tiles), np.float32(_MISSING), tiles.clip(0, 1))
    else:
        tiles = np.broadcast_to(np.float32(_PANEL), (len(images), max(1, 5 * room // 8), room, 3))
    mosaic = _mosaic(tiles, rows, columns)
    axes = Figure(dpi=_DPI).add_subplot()
    axes.imshow(mosaic, extent=(0, mosaic.shape[1], mosaic.shape[0], 0), aspect="auto")

    height, width = tiles.shape[1:3]
    left, top = np.arange(columns) * (width + _GAP), np.arange(rows) * (height + _GAP)
    if not is_image:
        across = (0.05 + 0.9 * np.linspace(0, 1, images.shape[1])) * width
        down = (0.95 - 0.9 * images.clip(0, 1)) * height
        for index, values in enumerate(down):
            row, column = divmod(index, columns)
            axes.plot(left[column] + across, top[row] + values, color=_BLUE, linewidth=0.8)
        axes.set(xlim=(0, mosaic.shape[1]), ylim=(mosaic.shape[0], 0))
    axes.set_xticks([] if column_labels is None else left + width / 2, column_labels)
    axes.set_yticks([] if row_labels is None else top + height / 2, row_labels)
    axes.tick_params(length=0, labelsize=9, labelcolor=_INK)
    axes.spines[:].set_visible(False)
    shrunk = min(1.0, room / side) if is_image else 1.0
    return _fit(axes, shrunk * mosaic.shape[1], shrunk * mosaic.shape[0])


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
    num_examples = _check_count("num_examples", num_examples)
    x = _arrays(vae, x)
    x = tuple(each[:num_examples] for each in x) if isinstance(x, tuple) else x[:num_examples]
    originals = np.asarray(x[0] if isinstance(x, tuple) else x)
    examples = np.concatenate([originals, vae.reconstruct(x)])
    return grid(examples, len(originals), row_labels=("original", "reconstruction"), **display)


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
    condition = _conditions(vae, condition, _check_count("num_samples", num_samples))
    return grid(vae.sample(num_samples, seed=seed, condition=condition), **display)


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
    shares = np.linspace(tail, 1 - tail, _check_count("num_steps", num_steps, at_least=2))
    values = np.array([normal.inv_cdf(share) for share in shares])
    z = np.stack(np.meshgrid(values, values[::-1]), axis=-1).reshape(-1, 2)
    labels = _tick_labels(values)
    figure = grid(_decode(vae, z, condition), num_steps, row_labels=labels[::-1], column_labels=labels, **display)
    (axes,) = figure.axes
    size = axes.bbox.size
    axes.set(xlabel="z[0]", ylabel="z[1]")
    return _fit(axes, *size)


def interpolations(vae, x_start, x_end, num_steps=10, **display):
    """From one example to another: what lies on the straight lines between their posterior means, a row for each pair.

    Args:
        vae: `kvae.VAE`.
        x_start: array `[N, *data_shape]`, or the pair (x, c); conditions go along straight lines too.
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
    shares = np.linspace(0, 1, _check_count("num_steps", num_steps, at_least=2))

    def line(first, last):  # [N, ...] and [N, ...] -> [N * num_steps, ...]
        share = shares.reshape(-1, *[1] * (first.ndim - 1))
        return ((1 - share) * first[:, None] + share * last[:, None]).reshape(-1, *first.shape[1:])

    condition = None if start[1] is None else line(start[1], end[1])
    labels = ["start", *[""] * (num_steps - 2), "end"]
    return grid(_decode(vae, line(start[0], end[0]), condition), num_steps, column_labels=labels, **display)


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
    dimensions = _most_active(means)[:10] if dimensions is None else _check_dimensions(vae, dimensions)
    values = np.linspace(-_check_limit(limit), limit, _check_count("num_steps", num_steps, at_least=2))
    z = np.tile(means[0], (len(dimensions), num_steps, 1))
    for row, dimension in enumerate(dimensions):
        z[row, :, dimension] = values
    labels = {"row_labels": [f"z[{each}]" for each in dimensions], "column_labels": _tick_labels(values)}
    return grid(_decode(vae, z.reshape(-1, vae.latent_dim), condition), num_steps, **labels, **display)


def latent_scatter(vae, x, y=None, dimensions=None):
    """Where examples lie in the latent space: their posterior means, coloured by label.

    Args:
        vae: `kvae.VAE` with `latent_dim` of at least 2.
        x: array `[N, *data_shape]`, the pair (x, c), or a data set.
        y: optional labels `[N]`. Up to 20 classes get a legend; other numbers, a colour bar.
        dimensions: pair of int; by default the two whose posterior means vary most (the most active).

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: for labels of another length or too many classes, or dimensions that are not there.

    Example:
        >>> kvae.plots.latent_scatter(vae, data.x_test, data.y_test)
    """
    if vae.latent_dim < 2:
        raise ValueError(
            "`latent_scatter` needs 2 latent dimensions. Received: a VAE with latent_dim=1; see `traversals`."
        )
    means = vae.transform(x)
    if dimensions is None and vae.latent_dim > 2:
        pair, ranks = _most_active(means)[:2], (", most active", ", second most active")
    else:
        pair, ranks = _check_dimensions(vae, (0, 1) if dimensions is None else dimensions, count=2), ("", "")
    points = means[:, pair]
    figure = Figure(figsize=(6.4, 5.2), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    style = {"s": min(20, max(3, 20_000 / len(points))), "alpha": 0.8, "linewidths": 0, "rasterized": True}
    y = None if y is None else np.asarray(y)
    if y is None:
        axes.scatter(*points.T, color=_BLUE, **style)
    elif (classes := _classes(y, len(points))) is None:
        figure.colorbar(axes.scatter(*points.T, c=y, cmap="viridis", **style), label="y").outline.set_visible(False)
    else:
        for index, name in enumerate(classes):  # past ten, the colours come again with another marker
            look = {"color": _MUTED[index % 10], "marker": "o^"[index // 10], "label": str(name)}
            axes.scatter(*points[y == name].T, **look, **style)
        legend = figure.legend(loc="outside right upper", frameon=False, markerscale=6 / math.sqrt(style["s"]))
        for handle in legend.legend_handles:
            handle.set_alpha(1)
    xlabel, ylabel = (f"z[{each}]{rank}" for each, rank in zip(pair, ranks, strict=True))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_aspect("equal", adjustable="datalim")
    return _plain(axes)


def curves(history, validation_freq=1):
    """The course of training, epoch by epoch: ELBO, reconstruction and KL, and the loss where it is not the negative ELBO.

    Args:
        history: what `fit` returns, its `.history`, or the path of a CSV file such as `keras.callbacks.CSVLogger` writes.
        validation_freq: as given to `fit`; places the epochs that were validated.

    Returns:
        `matplotlib.figure.Figure`, a panel for each figure; nats per example.

    Raises:
        TypeError: for another kind of history.
        ValueError: when nothing in it can be drawn.
        FileNotFoundError: for a file that is not there.

    Example:
        >>> kvae.plots.curves(vae.fit(x_train, epochs=50, validation_data=(x_test,)))
    """
    logs, epochs = _read_history(history)
    titles = {"loss": "loss", "elbo": "ELBO", "reconstruction": "reconstruction", "kl": "KL"}
    names = [name for name in titles if name in logs]
    if {"loss", "elbo"} <= set(names) and np.allclose(logs["loss"], -logs["elbo"], rtol=1e-4, equal_nan=True):
        names.remove("loss")
    if not names or not len(epochs):
        raise ValueError(
            "`history` must hold at least one epoch of loss, elbo, reconstruction or kl. "
            f"Received: {len(epochs)} epochs of {', '.join(logs) or 'nothing'}."
        )
    figure = Figure(figsize=(max(4.0, 3.0 * len(names)), 2.9), dpi=_DPI, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for prefix, label, color in (("", "training", _BLUE), ("val_", "validation", _VERMILION)):
            if prefix + name in logs:
                values = logs[prefix + name]
                at = epochs if len(values) == len(epochs) else epochs[epochs % validation_freq == 0]
                if len(at) != len(values):
                    raise ValueError(
                        f"`{prefix + name}` must have one value for each epoch. Received: {len(values)} values for "
                        f"{len(epochs)} epochs. Pass the `validation_freq` that `fit` was given."
                    )
                axes.plot(at, values, color=color, label=label, marker="o" if len(at) < 30 else None, markersize=2.5)
        axes.set_title(titles[name], fontsize=10, color=_INK)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))
        _plain(axes)
    figure.axes[0].set_ylabel("nats per example")
    if any("val_" + name in logs for name in names):
        figure.axes[0].legend(frameon=False, fontsize=9)
    return figure


# What the functions above share


def _mosaic(tiles, rows, columns):
    """Tiles `[N, H, W, 3]` put together, row by row, with white gaps between them."""
    count, height, width, _ = tiles.shape
    cells = np.ones((rows * columns, height + _GAP, width + _GAP, 3), "float32")
    cells[:count, :height, :width] = tiles
    cells = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    return cells.reshape(rows * (height + _GAP), columns * (width + _GAP), 3)[:-_GAP, :-_GAP]


def _fit(axes, width, height):
    """The figure of `axes`, of a size that gives them `width` x `height` pixels and leaves room for their labels."""
    figure, border = axes.figure, 6
    figure.set_size_inches(width / _DPI, height / _DPI)
    axes.set_position((0, 0, 1, 1))
    box = axes.get_tightbbox()
    left, bottom = (border + math.ceil(max(0, -side)) for side in (box.x0, box.y0))
    full_width = left + width + border + math.ceil(max(0, box.x1 - width))
    full_height = bottom + height + border + math.ceil(max(0, box.y1 - height))
    figure.set_size_inches(full_width / _DPI, full_height / _DPI)
    axes.set_position((left / full_width, bottom / full_height, width / full_width, height / full_height))
    return figure


def _plain(axes):
    """The figure of `axes`, without the frame and with small figures."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    return axes.figure


def _as_examples(values, image_shape):
    """numpy `[N, H, W, 1 or 3]` for images, else `[N, values]`."""
    values = np.asarray(values)
    checks.check_values(values, "images", missing=True)
    if values.ndim < 2:
        raise ValueError(
            f"`images` must be [N, ...]. Received: {list(values.shape)}. For one example, pass images[None]."
        )
    if image_shape is not None:
        shape = tuple(image_shape)
        if (
            len(shape) not in (2, 3)
            or shape[2:] not in ((), (1,), (3,))
            or math.prod(shape) != math.prod(values.shape[1:])
        ):
            raise ValueError(
                f"`image_shape` must be (height, width) or (height, width, 1 or 3), with {math.prod(values.shape[1:])} "
                f"values in all. Received: image_shape={image_shape!r}"
            )
        values = values.reshape(-1, *shape)
    if values.ndim == 3:
        values = values[..., None]
    return values if values.ndim == 4 and values.shape[-1] in (1, 3) else values.reshape(len(values), -1)


def _value_range(images, value_range):
    if value_range is not None:
        low, high = value_range
        if not low < high:
            raise ValueError(
                f"`value_range` must be (low, high), low below high. Received: value_range={value_range!r}"
            )
        return low, high
    if images.ndim == 4:
        return 0, 255 if images.dtype == np.uint8 and images.max() > 1 else 1
    finite = images[~np.isnan(images)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return low, high if low < high else low + 1.0


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
    return inputs.map_batches(lambda batch: vae.decode(batch).mean(), points, batch_size=256)


def _most_active(means):
    """All dimensions, first those in which the posterior means `[N, D]` vary most."""
    return np.argsort(-means.var(axis=0), kind="stable").tolist()


def _tick_labels(values):
    """Rounded values for the outermost and a few between, evenly spaced; the rest stay empty."""
    count = len(values)
    shown = np.linspace(0, count - 1, min(count, 4 + count % 2)).round().astype(int)
    texts = [f"{value:.1f}".replace("-0.0", "0.0").replace("-", "\N{MINUS SIGN}") for value in values]
    return [text if index in shown else "" for index, text in enumerate(texts)]


def _classes(y, count):
    """The sorted classes among labels `[N]`; None if they are numbers that stand for themselves."""
    if y.shape != (count,):
        hint = " For one-hot labels: y.argmax(axis=-1)." if y.ndim == 2 else ""
        raise ValueError(f"`y` must have one label for each of {count} examples. Received: {list(y.shape)}.{hint}")
    is_number = y.dtype.kind in "fiu"
    classes = np.unique(y)
    if len(classes) <= 20 and (not is_number or np.array_equal(classes, np.round(classes))):
        return classes.astype(int) if is_number else classes
    if not is_number:
        raise ValueError(f"`y` must have at most 20 classes. Received: {len(classes)}. Join some, or pass numbers.")
    return None


def _read_history(history):
    """(name -> values, epochs counted from 1)."""
    if isinstance(history, (str, os.PathLike)):
        try:
            table = np.genfromtxt(history, delimiter=",", names=True, ndmin=1, encoding="utf-8")
        except (ValueError, IndexError) as error:
            raise ValueError(f"'{history}' must be a table with a line of names, in CSV: {error}") from None
        logs = {name: table[name] for name in table.dtype.names}
        epochs = logs.pop("epoch", np.arange(len(table)))
        return logs, epochs + (len(epochs) > 0 and epochs[0] == 0)  # Keras writes epochs counted from 0
    logs = getattr(history, "history", history)
    if not isinstance(logs, dict):
        raise TypeError(
            "`history` must be what `fit` returns, a dictionary, or the path of a CSV file. "
            f"Received: {type(history).__name__}."
        )
    logs = {name: np.array(values, dtype="float64", ndmin=1) for name, values in logs.items()}
    epochs = getattr(history, "epoch", range(max(map(len, logs.values()), default=0)))
    return logs, np.asarray(epochs, dtype=int) + 1


def _check_dimensions(vae, dimensions, count=None):
    dimensions = np.atleast_1d(dimensions).tolist()
    known = all(isinstance(each, int) and 0 <= each < vae.latent_dim for each in dimensions)
    if not known or not dimensions or len(set(dimensions)) != (count or len(dimensions)):
        raise ValueError(
            f"`dimensions` must be {count or 'one or more'} different whole numbers from 0 to {vae.latent_dim - 1}. "
            f"Received: dimensions={dimensions!r}"
        )
    return dimensions


def _check_count(name, value, at_least=1):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < at_least:
        raise ValueError(f"`{name}` must be a whole number of at least {at_least}. Received: {name}={value!r}")
    return int(value)


def _check_limit(limit, at_most=math.inf):
    if not 0 < limit <= at_most or not math.isfinite(limit):
        bound = "" if at_most == math.inf else f" and at most {at_most}"
        raise ValueError(f"`limit` must be larger than zero{bound}. Received: limit={limit!r}")
    return limit
