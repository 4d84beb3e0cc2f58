import numpy as np
import pytest

from kvae import data
from kvae.data import sprites as make_sprites
from kvae.data.sprites import FILE

SPRITES = make_sprites()
BASE = {"shape": 0, "scale": 5, "orientation": 0, "x": 16, "y": 16}


def draw(data_set=SPRITES, **factors):
    """Images without their channel axis; what is not given is as in BASE."""
    count = max(np.size(values) for values in factors.values())
    return data_set.images(data_set.sample(count, fixed={**BASE, **factors}))[..., 0]


def extents(images):
    """First and last row and column that are not black, `[N, 4]`."""
    rows, columns = images.any(axis=2), images.any(axis=1)
    side = images.shape[1]
    return np.stack(
        [rows.argmax(1), side - 1 - rows[:, ::-1].argmax(1), columns.argmax(1), side - 1 - columns[:, ::-1].argmax(1)],
        axis=1,
    )


def test_the_grid_of_dsprites():
    assert SPRITES.names == ("shape", "scale", "orientation", "x", "y")
    assert SPRITES.sizes == (3, 6, 40, 32, 32) and len(SPRITES) == 737_280
    images = SPRITES.images(SPRITES.sample(200, 1))
    assert images.shape == (200, 64, 64, 1) and images.dtype == np.float32
    assert set(np.unique(images)) == {0.0, 1.0}
    np.testing.assert_array_equal(images, make_sprites().images(SPRITES.sample(200, 1)))


def test_areas_are_those_of_the_shapes():
    # Half-diagonal, long half-axis and farthest point of the heart are 16.5 pixels, times the scale. The area of
    # (u^2 + v^2 - 1)^3 = u^2 v^3 is 3.662. A pixel is in or out, so that a side of 23.3 pixels may count 23 or 24.
    scales = np.linspace(0.5, 1, 6)
    units = {0: 2 * 16.5**2, 1: np.pi * 16.5 * 8.25, 2: 3.662 * (16.5 / 1.337) ** 2}
    for shape, unit in units.items():
        turned = draw(shape=shape, orientation=np.arange(40))
        assert np.abs(turned.sum(axis=(1, 2)) / unit - 1).max() < 0.05
        # The mean over orientations has an edge everywhere.
        for scale in range(6):
            area = draw(shape=shape, scale=scale, orientation=np.arange(40)).sum(axis=(1, 2)).mean()
            assert area / scales[scale] ** 2 == pytest.approx(unit, rel=0.02)


def test_nothing_is_cut_off():
    for shape in range(3):
        whole = draw(shape=shape, orientation=np.arange(40))
        for corner in ({"x": 0, "y": 0}, {"x": 31, "y": 31}):
            np.testing.assert_array_equal(
                draw(shape=shape, orientation=np.arange(40), **corner).sum(axis=(1, 2)), whole.sum(axis=(1, 2))
            )
        at_the_edges = extents(draw(shape=shape, orientation=np.arange(40), x=0, y=31))
        assert at_the_edges[:, 2].min() == 0 and at_the_edges[:, 1].max() == 63  # which the largest touch


def test_positions_are_pixels_apart():
    for shape in range(3):
        first = extents(draw(shape=shape, x=0, y=0))[0]
        for x, y in ((1, 0), (0, 1), (7, 30)):
            np.testing.assert_array_equal(extents(draw(shape=shape, x=x, y=y))[0] - first, [y, y, x, x])
    # The square is centred: as far from the left at one end as from the right at the other.
    left, right = extents(draw(x=np.array([0, 31])))[:, 2:]
    assert left[0] == 63 - right[1]


def test_turns():
    # A quarter turn, counter-clockwise, is a turn of the array; the centre is a pixel.
    for shape in range(3):
        stamps = draw(shape=shape, scale=3, orientation=np.arange(0, 40, 10))[:, 16:49, 16:49]  # around pixel 32
        for quarters in range(4):
            np.testing.assert_array_equal(stamps[quarters], np.rot90(stamps[0], quarters))
    squares, ellipses, hearts = (draw(shape=shape, orientation=np.arange(40)) for shape in range(3))
    np.testing.assert_array_equal(squares[:10], squares[10:20])
    np.testing.assert_array_equal(ellipses[:20], ellipses[20:])
    assert len(np.unique(hearts.reshape(40, -1), axis=0)) == 40  # no angle is there twice


def test_the_heart_stands_upright():
    heart = draw(shape=2)[0]
    top, bottom, left, right = extents(heart[None])[0]
    np.testing.assert_array_equal(heart, np.roll(heart[:, ::-1], 1, axis=1))  # left and right of column 32
    assert heart[top].sum() > 1 and heart[top, 32] == 0  # two lobes on top
    assert heart[bottom, 32] == 1 and heart[bottom].sum() <= 3  # one tip below
    assert heart[top : top + 10].sum() > 1.5 * heart[bottom - 9 : bottom + 1].sum()
    assert right - left > 20


def test_smaller_grids():
    small = make_sprites(shapes=("square", "heart"), scales=1, orientations=4, positions=5)
    assert (small.names, small.sizes) == (("shape", "orientation", "x", "y"), (2, 4, 5, 5))
    images = small.images(small.grid())
    assert images.shape == (200, 64, 64, 1)
    corners = small.images(np.array([[1, 0, 0, 0], [1, 0, 4, 4]]))[..., 0]
    np.testing.assert_array_equal(corners[0], draw(shape=2, x=0, y=0)[0])  # the largest, over the same range
    np.testing.assert_array_equal(corners[1], draw(shape=2, x=31, y=31)[0])
    turns = make_sprites("heart", scales=1, positions=1)
    assert (turns.names, turns.categorical) == (("orientation",), ())
    assert extents(turns.images(turns.grid()[:1])[..., 0])[0, 2:].mean() == 31  # in the middle
    for arguments, message in (
        ({"shapes": "star"}, "must be one of 'square', 'ellipse', 'heart'"),
        ({"positions": 33}, "`positions` must be at most 32, a pixel apart"),
        ({"scales": 0}, "`scales` must be a whole number of at least 1"),
        ({"shapes": ()}, "`shapes` must name at least one shape, and each once"),
        ({"shapes": ("heart", "heart")}, "`shapes` must name at least one shape, and each once"),
        ({"shapes": "heart", "scales": 1, "orientations": 1, "positions": 1}, "nothing varies"),
    ):
        with pytest.raises(ValueError, match=message):
            make_sprites(**arguments)


def test_load(monkeypatch):
    monkeypatch.setattr(data.sets, "SUBSET", (70, 30))
    loaded = data.load("sprites")
    assert loaded.x_train.shape == (70, 64, 64, 1) and loaded.x_test.shape == (30, 64, 64, 1)
    assert set(loaded.y_train) == {0, 1, 2}
    x, factors = SPRITES.draw(100, 0)
    np.testing.assert_array_equal(np.concatenate([loaded.x_train, loaded.x_test]), x)
    np.testing.assert_array_equal(loaded.y_test, factors[70:, 0])


# The file of dSprites


def write_file(folder, compress=True, **changes):
    """A file of the layout of dSprites: colour 1, shape 3, scale 2, orientation 4, x 3, y 2, images of 7x5."""
    sizes = (1, 3, 2, 4, 3, 2)
    classes = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1)
    images = np.random.default_rng(0).integers(0, 2, (len(classes), 7, 5), dtype="uint8")
    arrays = {"imgs": images, "latents_classes": classes, "latents_values": classes / 2.0, **changes}
    (np.savez_compressed if compress else np.savez)(folder / FILE, **arrays)
    return arrays


@pytest.mark.parametrize("compress", [True, False])
def test_dsprites(tmp_path, monkeypatch, compress):
    monkeypatch.setenv("KVAE_DATA_HOME", str(tmp_path))
    arrays = write_file(tmp_path, compress)
    dsprites = data.dsprites()
    assert dsprites.names == ("shape", "scale", "orientation", "x", "y") and dsprites.sizes == (3, 2, 4, 3, 2)
    assert dsprites.categorical == ("shape",) and dsprites.data_shape == (7, 5, 1)
    images = dsprites.images(arrays["latents_classes"][:, 1:])
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images[..., 0], arrays["imgs"])
    monkeypatch.setattr(data.sets, "SUBSET", (7, 3))
    assert data.load("dsprites").x_train.shape == (7, 7, 5, 1)


def test_dsprites_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("KVAE_DATA_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no file.*Put dsprites_ndarray.*set KVAE_DATA_HOME.*sprites\(\)"):
        data.dsprites()
    monkeypatch.delenv("KVAE_DATA_HOME")
    with pytest.raises(FileNotFoundError, match="not set"):
        data.load("dsprites")


def test_dsprites_that_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("KVAE_DATA_HOME", str(tmp_path))
    arrays = write_file(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    for content in (b"PK not really", whole[:-100], whole[:300] + bytes(300) + whole[600:]):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(ValueError, match="no readable file of dSprites"):
            data.dsprites()
    for changes, message in (
        ({"imgs": arrays["imgs"][1:]}, r"all combinations in order. Received: \[143, 7, 5\] and \[144, 6\]"),
        ({"latents_classes": arrays["latents_classes"][::-1]}, "all combinations in order"),
        ({"latents_classes": arrays["latents_classes"][:, 1:]}, "all combinations in order"),
        ({"imgs": arrays["imgs"].astype("float64")}, "dtype float64, not uint8"),
    ):
        write_file(tmp_path, **changes)
        with pytest.raises(ValueError, match=message):
            data.dsprites()
    np.savez(tmp_path / FILE, x=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="no readable file of dSprites.*latents_classes"):
        data.dsprites()
