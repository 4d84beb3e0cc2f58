"""Where the codes lie, and how training went."""

import math
import os

import matplotlib.figure
import matplotlib.ticker
import numpy as np

from kvae.plots import style
from kvae.plots.grid import Figure, plain_axes
from kvae.plots.latents import check_dimensions, most_active


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
        pair, ranks = most_active(means)[:2], (", most active", ", second most active")
    else:
        pair, ranks = check_dimensions(vae, (0, 1) if dimensions is None else dimensions, count=2), ("", "")
    points = means[:, pair]
    figure = Figure(figsize=(6.4, 5.2), dpi=style.DPI, layout="constrained")
    axes = figure.add_subplot()
    marks = {"s": min(20, max(3, 20_000 / len(points))), "alpha": 0.8, "linewidths": 0, "rasterized": True}
    y = None if y is None else np.asarray(y)
    if y is None:
        axes.scatter(*points.T, color=style.BLUE, **marks)
    elif (classes := _classes(y, len(points))) is None:
        figure.colorbar(axes.scatter(*points.T, c=y, cmap="viridis", **marks), label="y").outline.set_visible(False)
    else:
        for index, name in enumerate(classes):  # past ten, the colours come again with another marker
            look = {"color": style.MUTED[index % 10], "marker": "o^"[index // 10], "label": str(name)}
            axes.scatter(*points[y == name].T, **look, **marks)
        legend = figure.legend(loc="outside right upper", frameon=False, markerscale=6 / math.sqrt(marks["s"]))
        for handle in legend.legend_handles:
            handle.set_alpha(1)
    xlabel, ylabel = (f"z[{each}]{rank}" for each, rank in zip(pair, ranks, strict=True))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_aspect("equal", adjustable="datalim")
    return plain_axes(axes)


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
    figure = Figure(figsize=(max(4.0, 3.0 * len(names)), 2.9), dpi=style.DPI, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for prefix, label, color in (("", "training", style.BLUE), ("val_", "validation", style.VERMILION)):
            if prefix + name in logs:
                values = logs[prefix + name]
                at = epochs if len(values) == len(epochs) else epochs[epochs % validation_freq == 0]
                if len(at) != len(values):
                    raise ValueError(
                        f"`{prefix + name}` must have one value for each epoch. Received: {len(values)} values for "
                        f"{len(epochs)} epochs. Pass the `validation_freq` that `fit` was given."
                    )
                axes.plot(at, values, color=color, label=label, marker="o" if len(at) < 30 else None, markersize=2.5)
        axes.set_title(titles[name], fontsize=10, color=style.INK)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))
        plain_axes(axes)
    figure.axes[0].set_ylabel("nats per example")
    if any("val_" + name in logs for name in names):
        figure.axes[0].legend(frameon=False, fontsize=9)
    return figure


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
