"""White shapes on black, with known factors: drawn here in the manner of dSprites, or dSprites itself."""

import os
import pathlib
import zipfile
import zlib

import numpy as np

from kvae import checks
from kvae.data.factors import Factors

SHAPES = ("square", "ellipse", "heart")
SIDE = 64  # pixels of an image
RADIUS = 16  # pixels on each side of the one in the centre that the largest shape reaches


class Sprites(Factors):
    """Images `[64, 64, 1]` of zeros and ones, drawn when they are asked for; see `sprites`."""

    def __init__(self, shapes=SHAPES, scales=6, orientations=40, positions=32):
        counts = {"scale": scales, "orientation": orientations, "x": positions, "y": positions}
        for name, count in counts.items():
            checks.check_count(f"{name}s" if len(name) > 1 else "positions", count)
        if positions > SIDE - 2 * RADIUS:
            raise ValueError(f"`positions` must be at most {SIDE - 2 * RADIUS}, a pixel apart. Received: {positions}")
        shapes = (shapes,) if isinstance(shapes, str) else tuple(shapes)
        for shape in shapes:
            checks.check_choice("shapes", shape, SHAPES)
        if not shapes or len(set(shapes)) < len(shapes):
            raise ValueError(f"`shapes` must name at least one shape, and each once. Received: shapes={shapes!r}")
        counts = {"shape": len(shapes), **counts}
        varying = {name: count for name, count in counts.items() if count > 1}
        if not varying:
            raise ValueError("One shape, scale, orientation and position make one image: nothing varies.")
        super().__init__(varying, categorical=("shape",) if len(shapes) > 1 else ())
        self._counts = tuple(counts.values())
        self._varying = [list(counts).index(name) for name in varying]
        lowest, highest = RADIUS, SIDE - 1 - RADIUS
        middle = (lowest + highest) // 2
        self._centres = np.rint(np.linspace(lowest, highest, positions)).astype(int) if positions > 1 else [middle]
        self._centres = np.asarray(self._centres)
        self._stamps = _stamps(shapes, np.linspace(1.0, 0.5, scales)[::-1], np.arange(orientations) / orientations)

    def images(self, factors):
        full = np.zeros([len(factors), len(self._counts)], dtype="int64")
        full[:, self._varying] = self.checked(factors)
        *stamp, column, row = full.T
        # A stamp has an odd side, so that its middle pixel comes to lie on the centre.
        corner = (self._centres[row] - RADIUS) * SIDE + self._centres[column] - RADIUS
        within = np.add.outer(np.arange(2 * RADIUS + 1) * SIDE, np.arange(2 * RADIUS + 1))
        pixels = (corner + np.arange(len(full)) * SIDE**2)[:, None, None] + within
        images = np.zeros([len(full), SIDE, SIDE, 1], dtype="float32")
        images.reshape(-1)[pixels] = self._stamps[tuple(stamp)]
        return images


def sprites(shapes=SHAPES, scales=6, orientations=40, positions=32):
    """Squares, ellipses and hearts of several sizes, turned and moved: factors shape, scale, orientation, x and y.

    As in dSprites every combination is one black-and-white image of 64x64 pixels, by default 737,280 of them; they are
    drawn when asked for, at no cost of memory. A factor of one value is left out of the factors. Scales go from one half
    to one, orientations counter-clockwise around the full circle (without its end, which dSprites has twice), x from
    left to right and y from top to bottom; no shape is ever cut off. A square looks the same after a quarter turn, an
    ellipse after half a turn.

    Reference: Matthey, Higgins, Hassabis and Lerchner 2017, "dSprites: disentanglement testing sprites dataset".

    Args:
        shapes: of "square", "ellipse" and "heart".
        scales: how many sizes.
        orientations: how many angles.
        positions: how many places across, and as many down; at most 32.

    Returns:
        `kvae.data.Factors`.

    Raises:
        ValueError: for another shape, counts less than 1, or more than 32 positions.

    Example:
        >>> sprites = kvae.data.sprites(orientations=8, positions=16)
        >>> hearts = sprites.images(sprites.sample(100, rng=1, fixed={"shape": 2}))
        >>> hearts.shape
        (100, 64, 64, 1)
    """
    return Sprites(shapes, scales, orientations, positions)


def _stamps(shapes, scales, turns):
    """Every shape at every scale and orientation, bool `[shapes, scales, orientations, 33, 33]`."""
    # A farthest point half a pixel beyond the last centre: so no centre is on the edge of a square or an ellipse turned
    # by 45 or 90 degrees, where rounding would decide.
    across = np.arange(-RADIUS, RADIUS + 1) / (RADIUS + 0.5) / scales[:, None, None]
    right, up = across[..., None, :], -across[..., :, None]
    cosine, sine = (function(2 * np.pi * turns)[:, None, None] for function in (np.cos, np.sin))
    u, v = cosine * right + sine * up, cosine * up - sine * right
    return np.stack([_INSIDE[shape](u, v) for shape in shapes])


def _heart(u, v):
    # (u^2 + v^2 - 1)^3 = u^2 v^3 lies between v = -1.000 and 1.237 and within 1.337 of the middle of those.
    u, v = 1.337 * u, 1.337 * v + 0.118
    return (u**2 + v**2 - 1) ** 3 <= u**2 * v**3


# Each within the unit circle, which it touches.
_INSIDE = {
    "square": lambda u, v: np.maximum(abs(u), abs(v)) <= np.sqrt(0.5),
    "ellipse": lambda u, v: u**2 + (2 * v) ** 2 <= 1,
    "heart": _heart,
}

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"


class DSprites(Factors):
    """Black-and-white images from a file of the layout of dSprites, one bit for each pixel; see `dsprites`."""

    def __init__(self, path):
        try:
            with zipfile.ZipFile(path) as archive:
                with archive.open("latents_classes.npy") as file:
                    classes = np.lib.format.read_array(file, allow_pickle=False)
                with archive.open("imgs.npy") as file:
                    shape, self._bits = _read_bits(file)
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"'{path}' is no readable file of dSprites: {error}") from None
        counts = classes.max(axis=0) + 1
        grid = np.stack(np.unravel_index(np.arange(counts.prod()), counts), axis=1)
        if len(counts) != 6 or len(shape) != 3 or shape[0] != len(classes) or not np.array_equal(grid, classes):
            raise ValueError(
                f"'{path}' must hold images [N, height, width] and the classes [N, 6] of all combinations in order. "
                f"Received: {list(shape)} and {list(classes.shape)}."
            )
        self._side = shape[1:]
        names = ("color", "shape", "scale", "orientation", "x", "y")
        sizes = {name: int(count) for name, count in zip(names, counts, strict=True) if count > 1}
        super().__init__(sizes, categorical=[name for name in ("color", "shape") if name in sizes])

    def images(self, factors):
        rows = np.ravel_multi_index(tuple(self.checked(factors).T), self.sizes)
        pixels = np.unpackbits(self._bits[rows], axis=1, count=self._side[0] * self._side[1])
        return pixels.reshape(-1, *self._side, 1).astype("float32")


def dsprites():
    """dSprites, from its file `dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz` in `$KVAE_DATA_HOME`.

    737,280 images of 64x64 pixels, factors shape, scale, orientation, x and y. Held as bits, in 380 MB; reading takes
    the time that 3 GB take to be decompressed.

    Reference: Matthey, Higgins, Hassabis and Lerchner 2017, "dSprites: disentanglement testing sprites dataset".

    Returns:
        `kvae.data.Factors`.

    Raises:
        FileNotFoundError: when the file is not there; the message says where to put it.
        ValueError: for a file that is damaged or of another layout.

    Example:
        >>> scores = kvae.evaluation.disentanglement(vae, kvae.data.dsprites())
    """
    home = os.environ.get("KVAE_DATA_HOME")
    path = pathlib.Path(home or "", FILE)
    if not home or not path.is_file():
        raise FileNotFoundError(
            f"There is no file '{path}'. Put {FILE}, from the repository google-deepmind/dsprites-dataset, into a folder and "
            f"set KVAE_DATA_HOME to that folder; it is {f'{home!r} now' if home else 'not set'}. kvae.data.sprites() draws "
            "images in its manner without a file."
        )
    return DSprites(path)


def _read_bits(file):
    """(shape, one bit for each pixel `[N, bytes]`) of an array of uint8 images, a thousand at a time."""
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, is_fortran, dtype = read_header(file)
    if is_fortran or dtype.itemsize != 1:
        raise ValueError(f"its images are of dtype {dtype}, not uint8")
    size, at_once = int(np.prod(shape[1:])), 1000
    bits = np.empty([shape[0], -(-size // 8)], dtype="uint8")
    for start in range(0, shape[0], at_once):
        rows = min(at_once, shape[0] - start)
        buffer = file.read(rows * size)
        if len(buffer) < rows * size:
            raise ValueError("it ends early")
        bits[start : start + rows] = np.packbits(np.frombuffer(buffer, "uint8").reshape(rows, size), axis=1)
    return shape, bits
