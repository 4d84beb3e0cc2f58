"""The latent dimensions: which of them a picture shows, and what they are used for."""

import textwrap

import numpy as np

from kvae.evaluation import LatentStatistics
from kvae.plots import style
from kvae.plots.grid import Figure, plain_axes


def latent_statistics(statistics):
    """What the latent space is used for: the KL of each dimension and the parts of the whole, the verdict above.

    Args:
        statistics: `kvae.evaluation.LatentStatistics`, what `kvae.evaluation.latent_statistics` returns.

    Returns:
        `matplotlib.figure.Figure`; nats. On the left the dimensions, largest KL first: I(x; z_d) and on top of it
        KL(q(z_d) || p(z_d)). On the right the parts of the KL; what is pale lies between the bounds.

    Raises:
        TypeError: for anything else than the statistics.

    Example:
        >>> kvae.plots.latent_statistics(kvae.evaluation.latent_statistics(vae, x_test))
    """
    if not isinstance(statistics, LatentStatistics):
        raise TypeError(
            "`statistics` must be what kvae.evaluation.latent_statistics(vae, x) returns. "
            f"Received: {type(statistics).__name__}."
        )
    figure = Figure(figsize=(8.8, 3.4), dpi=style.DPI, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_dimensions(left, statistics)
    _draw_parts(right, statistics)
    title = textwrap.fill(f"{statistics.verdict.capitalize()}: {statistics.reason}", 110)
    figure.suptitle(title, x=0.01, horizontalalignment="left", fontsize=10, color=style.INK)
    return plain_axes(left)


def _draw_dimensions(axes, statistics):
    axes.set(xlabel="latent dimension", ylabel="nats")
    kl = statistics.kl_per_dimension
    if kl is None:
        axes.set(xticks=[], yticks=[])
        reason = textwrap.fill(f"KL per dimension unknown: {statistics.unknown['kl_per_dimension']}", 50)
        axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", fontsize=9, color=style.INK)
        return
    order = np.argsort(-kl, kind="stable")
    active, kl = statistics.active[order], kl[order]
    marginal = np.clip(statistics.marginal_kl_per_dimension[order], 0, kl)  # noise may lead out of these bounds
    information, place = kl - marginal, np.arange(len(order))
    for chosen, color, label in ((active, style.BLUE, "active"), (~active, "0.7", "inactive")):
        if chosen.any():
            axes.bar(place[chosen], information[chosen], color=color, label=f"I(x; z_d), {label} ({chosen.sum()})")
    axes.bar(place, marginal, bottom=information, color=style.VERMILION, label="KL(q(z_d) || p(z_d))")
    shown = place if len(place) <= 32 else place[:: -(-len(place) // 32)]
    axes.set_xticks(shown, order[shown])
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, max(1.2 * kl.max(), 0.5))
    axes.legend(frameon=False, fontsize=9, loc="upper right", handlelength=1)


def _draw_parts(axes, statistics):
    lower, least = statistics.marginal_kl_lower, statistics.mutual_information
    parts = [
        ("KL(q(z|x) || p(z))", statistics.kl, statistics.kl, style.INK),
        ("mutual information", least, max(least, statistics.kl - lower), style.BLUE),
        ("marginal KL", lower, max(lower, statistics.marginal_kl), style.VERMILION),
    ]
    correlation, dimension_wise = statistics.total_correlation, statistics.dimension_wise_kl
    if correlation is not None:
        least = 0.0 if statistics.saturated else correlation
        parts.append(("total correlation", least, correlation, style.MUTED[2]))
    if dimension_wise is not None:
        parts.append(("dimension-wise KL", dimension_wise, dimension_wise, style.MUTED[4]))
    for place, (_, low, high, color) in enumerate(parts):
        axes.barh(place, max(low, 0), color=color, height=0.6)
        axes.barh(place, max(high - max(low, 0), 0), left=max(low, 0), color=color, height=0.6, alpha=0.3)
        text = f"{high:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
        axes.annotate(
            text, (max(high, 0), place), (4, 0), textcoords="offset points", va="center", fontsize=9, color=style.INK
        )
    axes.set_yticks(range(len(parts)), [name for name, *_ in parts])
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.45 * max(high for _, _, high, _ in parts), 0.5))
    axes.set_xlabel("nats (pale: uncertain)")
    axes.tick_params(axis="y", length=0)
    plain_axes(axes)


def most_active(means):
    """All dimensions, first those in which the posterior means `[N, D]` vary most."""
    return np.argsort(-means.var(axis=0), kind="stable").tolist()


def check_dimensions(vae, dimensions, count=None):
    """`dimensions` as a list of `count` different latent dimensions, else ValueError."""
    dimensions = np.atleast_1d(dimensions).tolist()
    known = all(isinstance(each, int) and 0 <= each < vae.latent_dim for each in dimensions)
    if not known or not dimensions or len(set(dimensions)) != (count or len(dimensions)):
        raise ValueError(
            f"`dimensions` must be {count or 'one or more'} different whole numbers from 0 to {vae.latent_dim - 1}. "
            f"Received: dimensions={dimensions!r}"
        )
    return dimensions
