"""A grid of examples, and the figure that every picture is."""

import io
import math

import matplotlib.figure
import numpy as np

from kvae import checks
from kvae.plots import style


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
    columns = math.ceil(math.sqrt(len(images))) if columns is None else checks.check_count("columns", columns)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    low, high = _value_range(images, value_range)
    images = (images.astype("float32") - low) / (high - low)

    # Images are enlarged by whole factors and shown pixel by pixel; otherwise the pixels of one image differ in size.
    side = max(images.shape[1:3]) if is_image else 2 * style.CELL
    room = max(1, min(style.WIDTH // columns, max(style.CELL, side)) - style.GAP)
    if is_image:
        zoom = max(1, room // side)
        tiles = images.repeat(zoom, axis=1).repeat(zoom, axis=2)
        tiles = np.where(np.isnan(tiles), np.float32(style.MISSING), tiles.clip(0, 1))
    else:
        tiles = np.broadcast_to(np.float32(style.PANEL), (len(images), max(1, 5 * room // 8), room, 3))
    mosaic = _mosaic(tiles, rows, columns)
    axes = Figure(dpi=style.DPI).add_subplot()
    axes.imshow(mosaic, extent=(0, mosaic.shape[1], mosaic.shape[0], 0), aspect="auto")

    height, width = tiles.shape[1:3]
    left, top = np.arange(columns) * (width + style.GAP), np.arange(rows) * (height + style.GAP)
    if not is_image:
        across = (0.05 + 0.9 * np.linspace(0, 1, images.shape[1])) * width
        down = (0.95 - 0.9 * images.clip(0, 1)) * height
        for index, values in enumerate(down):
            row, column = divmod(index, columns)
            axes.plot(left[column] + across, top[row] + values, color=style.BLUE, linewidth=0.8)
        axes.set(xlim=(0, mosaic.shape[1]), ylim=(mosaic.shape[0], 0))
    axes.set_xticks([] if column_labels is None else left + width / 2, column_labels)
    axes.set_yticks([] if row_labels is None else top + height / 2, row_labels)
    axes.tick_params(length=0, labelsize=9, labelcolor=style.INK)
    axes.spines[:].set_visible(False)
    shrunk = min(1.0, room / side) if is_image else 1.0
    return fit(axes, shrunk * mosaic.shape[1], shrunk * mosaic.shape[0])


def _mosaic(tiles, rows, columns):
    """Tiles `[N, H, W, 3]` put together, row by row, with white gaps between them."""
    count, height, width, _ = tiles.shape
    cells = np.ones((rows * columns, height + style.GAP, width + style.GAP, 3), "float32")
    cells[:count, :height, :width] = tiles
    cells = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    return cells.reshape(rows * (height + style.GAP), columns * (width + style.GAP), 3)[: -style.GAP, : -style.GAP]


def fit(axes, width, height):
    """The figure of `axes`, of a size that gives them `width` x `height` pixels and leaves room for their labels."""
    figure, border = axes.figure, 6
    figure.set_size_inches(width / style.DPI, height / style.DPI)
    axes.set_position((0, 0, 1, 1))
    box = axes.get_tightbbox()
    left, bottom = (border + math.ceil(max(0, -side)) for side in (box.x0, box.y0))
    full_width = left + width + border + math.ceil(max(0, box.x1 - width))
    full_height = bottom + height + border + math.ceil(max(0, box.y1 - height))
    figure.set_size_inches(full_width / style.DPI, full_height / style.DPI)
    axes.set_position((left / full_width, bottom / full_height, width / full_width, height / full_height))
    return figure


def plain_axes(axes):
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
