"""kvae.plots: what is in the pictures is what the VAE says."""

import dataclasses
import pickle
import statistics

import keras
import matplotlib.backends.backend_agg
import matplotlib.figure
import numpy as np
import pytest
import tensorflow as tf

import kvae
from kvae import plots

SHAPE = (4, 5, 1)
# A float32 image goes through a grid unchanged but for (x - low) / (high - low).
TOLERANCE = 1e-6


def unconditional(latent_dim, shape=SHAPE, **kwargs):
    encoder = kvae.networks.dense_encoder(shape, latent_dim, hidden=())
    decoder = kvae.networks.dense_decoder(latent_dim, shape, hidden=(8,))
    return kvae.VAE(encoder, decoder, **kwargs)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).integers(0, 2, (12, *SHAPE)).astype("float32")


@pytest.fixture(scope="module")
def plane():
    return unconditional(2)


@pytest.fixture(scope="module")
def space():
    """A VAE whose z[1], z[2] and z[0] follow the data, ever less."""
    vae = unconditional(3)
    kernel, bias = vae.encoder.get_layer("params").get_weights()
    kernel[:, :3] = 0
    kernel[[0, 1, 2], [0, 1, 2]] = [0.1, 3, 1]
    vae.encoder.get_layer("params").set_weights([kernel, bias])
    return vae


@pytest.fixture(scope="module")
def conditional():
    data, condition, z = keras.Input(SHAPE), keras.Input((2,)), keras.Input((2,))
    flat = keras.layers.Concatenate()([keras.layers.Flatten()(data), condition])
    encoder = keras.Model([data, condition], keras.layers.Dense(4)(flat))
    joined = keras.layers.Dense(20)(keras.layers.Concatenate()([z, condition]))
    return kvae.VAE(encoder, keras.Model([z, condition], keras.layers.Reshape(SHAPE)(joined)))


def mosaic(figure):
    (axes,) = figure.axes
    (image,) = axes.images
    return np.asarray(image.get_array())


def shown(figure, rows, columns, shape=(4, 5)):
    """What a grid shows, `[rows, columns, H, W, 3]`: the centre of every enlarged pixel."""
    cells = np.pad(mosaic(figure), [(0, plots.style.GAP), (0, plots.style.GAP), (0, 0)], constant_values=1)
    cells = cells.reshape(rows, cells.shape[0] // rows, columns, cells.shape[1] // columns, 3).swapaxes(1, 2)
    cells = cells[:, :, : -plots.style.GAP, : -plots.style.GAP]
    zoom = cells.shape[2] // shape[0]
    assert cells.shape[2:4] == (zoom * shape[0], zoom * shape[1])
    return cells[:, :, zoom // 2 :: zoom, zoom // 2 :: zoom]


def assert_shows(figure, expected):
    """Checks the pictures of a grid against `[rows, columns, H, W, 1]`."""
    expected = np.broadcast_to(expected, (*expected.shape[:-1], 3))
    np.testing.assert_allclose(shown(figure, *expected.shape[:2]), expected, atol=TOLERANCE)


def labels(figure):
    (axes,) = figure.axes
    return [[label.get_text() for label in axis.get_ticklabels()] for axis in (axes.yaxis, axes.xaxis)]


def decoded(vae, z):
    return vae.decode(tf.constant(z, tf.float32)).mean().numpy()


class TestGrid:
    def test_image_i_is_at_its_place_with_its_pixels(self):
        images = np.random.default_rng(0).random((5, 4, 5, 3), dtype="float32")
        figure = plots.grid(images, columns=3)
        np.testing.assert_allclose(shown(figure, 2, 3).reshape(6, 4, 5, 3)[:5], images, atol=TOLERANCE)
        np.testing.assert_array_equal(shown(figure, 2, 3)[1, 2], 1)  # nothing there: white

    def test_pixels_are_blocks_between_white_gaps(self):
        picture = mosaic(plots.grid(np.zeros((4, 2, 2)), columns=2))
        size = (len(picture) - plots.style.GAP) // 2
        assert size >= 40
        black = picture[..., 0] == 0
        row = np.r_[np.ones(size), np.zeros(plots.style.GAP), np.ones(size)].astype(bool)
        np.testing.assert_array_equal(black, np.outer(row, row))

    def test_is_rendered_pixel_for_pixel(self):
        figure = plots.grid(np.random.default_rng(0).random((6, 8, 8)), row_labels=["a", "long label"], columns=3)
        (axes,) = figure.axes
        canvas = matplotlib.backends.backend_agg.FigureCanvasAgg(figure)
        canvas.draw()
        rendered = np.asarray(canvas.buffer_rgba())[..., :3]
        left, bottom, width, height = np.rint(axes.bbox.bounds).astype(int)
        rendered = rendered[len(rendered) - bottom - height : len(rendered) - bottom, left : left + width]
        assert np.abs(rendered - mosaic(figure) * 255).max() <= 1  # rounding to bytes

    @pytest.mark.parametrize("shape", [(4, 5), (7,)])
    def test_more_columns_than_pixels_of_room(self, shape):
        assert plots.grid(np.zeros((300, *shape)), columns=300).bbox.width > 300

    def test_a_channel_axis_makes_no_difference(self):
        images = np.random.default_rng(0).random((4, 6, 6))
        np.testing.assert_array_equal(mosaic(plots.grid(images)), mosaic(plots.grid(images[..., None])))

    def test_flat_vectors_are_images_with_image_shape(self):
        images = np.random.default_rng(0).random((4, 4, 5, 1))
        flat = plots.grid(images.reshape(4, 20), image_shape=(4, 5))
        np.testing.assert_array_equal(mosaic(flat), mosaic(plots.grid(images)))

    @pytest.mark.parametrize(
        ("values", "value_range", "expected"),
        [
            ([-1.0, 0.25, 2.0], None, [0, 0.25, 1]),
            ([-1.0, 0.0, 3.0], (-1, 1), [0, 0.5, 1]),
            (np.uint8([0, 51, 255]), None, [0, 0.2, 1]),
            (np.uint8([0, 1, 1]), None, [0, 1, 1]),
            ([False, True, True], None, [0, 1, 1]),
        ],
    )
    def test_black_and_white(self, values, value_range, expected, caplog):
        images = np.reshape(values, (1, 1, 3))
        picture = shown(plots.grid(images, value_range=value_range), 1, 1, (1, 3))
        np.testing.assert_allclose(picture[0, 0, 0, :, 0], expected, atol=TOLERANCE)
        assert not caplog.records  # nothing was left for matplotlib to clip

    def test_missing_values_have_a_colour_of_their_own(self):
        picture = shown(plots.grid(np.array([[[0.0, np.nan]]])), 1, 1, (1, 2))[0, 0, 0]
        np.testing.assert_array_equal(picture[0], 0)
        assert len(set(picture[1])) == 3  # no grey

    def test_other_data_are_profiles(self):
        values = np.random.default_rng(0).normal(size=(3, 40))
        (axes,) = plots.grid(values, columns=2).axes
        assert len(axes.lines) == 3
        across, down = np.array([line.get_data() for line in axes.lines]).swapaxes(0, 1)
        # All share one scale: a straight line from values to heights, within each row of panels.
        for rows in (slice(0, 2), slice(2, 3)):
            assert np.corrcoef(values[rows].ravel(), down[rows].ravel())[0, 1] == pytest.approx(-1)
        assert across[0].max() < across[1].min()
        assert down[0].max() < down[2].min()
        np.testing.assert_array_equal(across[0], across[2])

    def test_constant_profiles_and_profiles_with_gaps(self):
        plots.grid(np.zeros((2, 40)))._repr_png_()
        (axes,) = plots.grid(np.array([[0.0, np.nan, 1.0]])).axes
        assert np.isnan(axes.lines[0].get_ydata()).tolist() == [False, True, False]

    @pytest.mark.parametrize("shape", [(400, 28, 28), (12, 256, 256), (1, 8, 8), (20, 3, 90), (400, 30)])
    def test_fits_a_notebook(self, shape):
        figure = plots.grid(np.zeros(shape))
        width, height = figure.get_size_inches()
        assert 0.5 <= width <= 9.5
        assert 0.25 <= height <= 9.5

    def test_labels_stand_by_their_images_inside_the_figure(self):
        figure = plots.grid(
            np.zeros((4, 4, 4)), row_labels=["a very long label of a row"] * 2, column_labels=["left", "y"]
        )
        box = figure.axes[0].get_tightbbox()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert labels(figure) == [["a very long label of a row"] * 2, ["left", "y"]]
        for ticks, size in zip(
            (figure.axes[0].get_yticks(), figure.axes[0].get_xticks()), mosaic(figure).shape, strict=False
        ):
            side = (size - plots.style.GAP) / 2
            np.testing.assert_allclose(ticks, [side / 2, size - side / 2])

    @pytest.mark.parametrize(
        ("images", "arguments", "message"),
        [
            (np.zeros((0, 4, 4)), {}, "is empty"),
            (np.full((2, 4, 4), np.inf), {}, "must be finite"),
            (np.zeros(4), {}, "pass images\\[None\\]"),
            (
                np.zeros((2, 4, 4)),
                {"columns": 0},
                "`columns` must be a whole number of at least 1. Received: columns=0",
            ),
            (np.zeros((2, 16)), {"image_shape": (4, 5)}, "with 16 values in all. Received: image_shape=\\(4, 5\\)"),
            (np.zeros((2, 16)), {"image_shape": (2, 4, 2)}, "`image_shape` must be"),
            (np.zeros((2, 4, 4)), {"value_range": (1, 0)}, "low below high"),
        ],
    )
    def test_refuses(self, images, arguments, message):
        with pytest.raises(ValueError, match=message):
            plots.grid(images, **arguments)


class TestFigure:
    def test_shows_in_a_notebook_and_leaves_pyplot_alone(self):
        pyplot = pytest.importorskip("matplotlib.pyplot")
        figure = plots.grid(np.zeros((1, 4, 4)))
        assert isinstance(figure, matplotlib.figure.Figure)
        assert figure._repr_png_().startswith(b"\x89PNG")
        assert pyplot.get_fignums() == []

    def test_is_saved_and_pickled(self, tmp_path):
        figure = plots.grid(np.zeros((1, 4, 4)))
        for name in ("picture.png", "picture.pdf", "picture.svg"):
            figure.savefig(tmp_path / name)
            assert (tmp_path / name).stat().st_size > 0
        assert pickle.loads(pickle.dumps(figure))._repr_png_() == figure._repr_png_()


class TestReconstructions:
    def test_originals_above_what_the_vae_makes_of_them(self, plane, x):
        figure = plots.reconstructions(plane, x, num_examples=6)
        assert_shows(figure, np.stack([x[:6], plane.reconstruct(x[:6])]))
        assert labels(figure) == [["original", "reconstruction"], []]

    def test_shows_all_when_there_are_fewer(self, plane, x):
        assert_shows(plots.reconstructions(plane, x[:3]), np.stack([x[:3], plane.reconstruct(x[:3])]))

    def test_conditional(self, conditional, x):
        pair = (x, np.eye(2, dtype="float32")[np.arange(12) % 2])
        expected = np.stack([x[:10], conditional.reconstruct(pair)[:10]])
        assert_shows(plots.reconstructions(conditional, pair), expected)

    def test_missing_values(self, x):
        vae = unconditional(2, missing="fill")
        gaps = x.copy()
        gaps[:, 0] = np.nan
        picture = shown(plots.reconstructions(vae, gaps, num_examples=2), 2, 2)
        np.testing.assert_allclose(picture[1, ..., :1], vae.reconstruct(gaps[:2]), atol=TOLERANCE)
        assert np.ptp(picture[0, :, 0], axis=-1).min() > 0.1

    def test_vectors(self):
        vae = unconditional(2, (20,), likelihood=kvae.likelihoods.Normal(1.0))
        values = np.random.default_rng(0).normal(size=(3, 20)).astype("float32")
        assert len(plots.reconstructions(vae, values).axes[0].lines) == 6
        as_images = plots.reconstructions(vae, values, image_shape=(4, 5), value_range=(-4, 4))
        expected = np.stack([values, vae.reconstruct(values)]).reshape(2, 3, 4, 5, 1)
        assert_shows(as_images, (expected + 4) / 8)

    def test_refuses(self, plane, x):
        with pytest.raises(TypeError, match=r"must be an array or the pair.*next\(iter\(x\)\)"):
            plots.reconstructions(plane, tf.data.Dataset.from_tensors(x))
        with pytest.raises(ValueError, match="num_examples=0"):
            plots.reconstructions(plane, x, num_examples=0)
        with pytest.raises(ValueError, match="must have shape"):
            plots.reconstructions(plane, x[:, :3])


class TestSamples:
    def test_are_those_of_the_vae(self, plane):
        assert_shows(plots.samples(plane, 9, seed=5), plane.sample(9, seed=5).reshape(3, 3, *SHAPE))

    @pytest.mark.parametrize("condition", [[0.0, 2.0], np.arange(8).reshape(4, 2)])
    def test_conditional(self, conditional, condition):
        each = np.broadcast_to(np.float32(condition), (4, 2))
        expected = conditional.sample(4, condition=each).reshape(2, 2, *SHAPE)
        assert_shows(plots.samples(conditional, 4, condition=condition), expected)

    def test_refuses(self, plane, conditional):
        with pytest.raises(ValueError, match="takes no condition: leave it out"):
            plots.samples(plane, condition=[1.0])
        with pytest.raises(ValueError, match=r"needs one of shape \[2\]. Received: condition=None"):
            plots.samples(conditional)
        with pytest.raises(ValueError, match=r"must have shape \[2\], or \[4, 2\].*Received: \[3, 2\]"):
            plots.samples(conditional, 4, condition=np.zeros((3, 2)))


class TestManifold:
    def test_corners_are_at_the_limit(self, plane):
        picture = shown(plots.manifold(plane, num_steps=5, limit=1.5), 5, 5)
        corners = decoded(plane, [[[-1.5, 1.5], [1.5, 1.5]], [[-1.5, -1.5], [1.5, -1.5]]])
        np.testing.assert_allclose(picture[::4, ::4, ..., :1], corners, atol=TOLERANCE)

    def test_is_even_in_probability(self, plane):
        normal = statistics.NormalDist()
        tail = normal.cdf(-2)
        values = [normal.inv_cdf(tail + step / 3 * (1 - 2 * tail)) for step in range(4)]
        z = [[[right, up] for right in values] for up in reversed(values)]
        assert_shows(plots.manifold(plane, num_steps=4), decoded(plane, z))

    def test_axes_are_named(self, plane):
        figure = plots.manifold(plane, num_steps=3)
        assert labels(figure) == [["2.0", "0.0", "\N{MINUS SIGN}2.0"], ["\N{MINUS SIGN}2.0", "0.0", "2.0"]]
        (axes,) = figure.axes
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("z[0]", "z[1]")
        assert axes.get_tightbbox().x0 >= 0
        assert axes.get_tightbbox().y0 >= 0

    def test_conditional(self, conditional):
        picture = shown(plots.manifold(conditional, num_steps=2, limit=1, condition=[1, 0]), 2, 2)
        expected = conditional.decode((tf.constant([[-1.0, 1.0]]), tf.constant([[1.0, 0.0]]))).mean()
        np.testing.assert_allclose(picture[0, 0, ..., :1], expected[0], atol=TOLERANCE)

    def test_refuses(self, plane, space):
        with pytest.raises(ValueError, match=r"2 dimensions. Received: a VAE with latent_dim=3. `traversals`"):
            plots.manifold(space)
        for limit in (0, 6, float("nan")):
            with pytest.raises(ValueError, match=f"at most 5. Received: limit={limit}"):
                plots.manifold(plane, limit=limit)
        with pytest.raises(ValueError, match=r"at least 2. Received: num_steps=1"):
            plots.manifold(plane, num_steps=1)


class TestInterpolations:
    def test_rows_are_straight_lines_between_posterior_means(self, space, x):
        start, end = space.transform(x[:2]), space.transform(x[2:4])
        expected = decoded(space, [[first + share * (last - first) for share in (0, 0.25, 0.5, 0.75, 1)]
                                   for first, last in zip(start, end, strict=True)])  # fmt: skip
        figure = plots.interpolations(space, x[:2], x[2:4], num_steps=5)
        assert_shows(figure, expected)
        assert labels(figure) == [[], ["start", "", "", "", "end"]]

    def test_conditional_ends_are_reconstructions(self, conditional, x):
        first, last = (x[:1], np.float32([[0, 1]])), (x[1:2], np.float32([[1, 0]]))
        picture = shown(plots.interpolations(conditional, first, last, num_steps=3), 1, 3)[0]
        for index, pair in ((0, first), (2, last)):
            expected = conditional.reconstruct(pair)[0]
            np.testing.assert_allclose(picture[index][..., :1], expected, atol=TOLERANCE)

    def test_labels_change_half_way(self, x):
        encoder = kvae.networks.dense_encoder(SHAPE, 2, hidden=(), num_classes=8)
        vae = kvae.VAE(encoder, kvae.networks.dense_decoder(2, SHAPE, hidden=(8,), num_classes=8))
        figure = plots.interpolations(vae, (x[:1], np.array([7])), (x[1:2], np.array([2])), num_steps=4)
        (start,), (end,) = vae.transform((x[:1], [7])), vae.transform((x[1:2], [2]))
        z = np.stack([start + share * (end - start) for share in (0, 1 / 3, 2 / 3, 1)])
        assert_shows(figure, vae.decode((z, [7, 7, 2, 2])).mean()[None])

    def test_refuses_unequal_numbers(self, space, x):
        with pytest.raises(ValueError, match=r"as many rows. Received: 1 and 3. .*repeat"):
            plots.interpolations(space, x[:1], x[:3])


class TestTraversals:
    def test_only_the_asked_dimension_varies(self, space, x):
        figure = plots.traversals(space, x, dimensions=[2, 0], num_steps=3, limit=2.5)
        z = np.tile(space.transform(x)[0], (2, 3, 1))
        z[0, :, 2] = z[1, :, 0] = [-2.5, 0, 2.5]
        assert_shows(figure, decoded(space, z))
        assert labels(figure) == [["z[2]", "z[0]"], ["\N{MINUS SIGN}2.5", "0.0", "2.5"]]

    def test_around_zero_without_an_example(self, space):
        z = np.zeros((1, 2, 3))
        z[0, :, 1] = [-3, 3]
        assert_shows(plots.traversals(space, dimensions=1, num_steps=2), decoded(space, z))

    def test_most_active_dimensions_come_first(self, space, x):
        assert labels(plots.traversals(space, x))[0] == ["z[1]", "z[2]", "z[0]"]
        assert labels(plots.traversals(space, x[:1]))[0] == ["z[0]", "z[1]", "z[2]"]
        assert labels(plots.traversals(space))[0] == ["z[0]", "z[1]", "z[2]"]

    def test_shows_ten_dimensions_at_most(self):
        assert labels(plots.traversals(unconditional(12)))[0] == [f"z[{each}]" for each in range(10)]

    def test_conditional(self, conditional, x):
        own, other = np.float32([[0, 1]]), np.float32([1, 0])
        for condition, used in ((None, own[0]), (other, other)):
            z = np.tile(conditional.transform((x[:1], own)), (2, 1))
            z[:, 0] = [-1, 1]
            figure = plots.traversals(conditional, (x[:1], own), [0], num_steps=2, limit=1, condition=condition)
            expected = conditional.decode((tf.constant(z), np.stack([used, used]))).mean().numpy()
            assert_shows(figure, expected[None])

    @pytest.mark.parametrize("dimensions", [[3], [-1], [0, 0], [], [0.5]])
    def test_refuses_dimensions(self, space, dimensions):
        with pytest.raises(ValueError, match="`dimensions` must be one or more different whole numbers from 0 to 2"):
            plots.traversals(space, dimensions=dimensions)

    def test_refuses_limit(self, space):
        with pytest.raises(ValueError, match=r"`limit` must be larger than zero. Received: limit=-1"):
            plots.traversals(space, limit=-1)


class TestLatentScatter:
    def test_points_are_posterior_means(self, plane, x):
        (axes,) = plots.latent_scatter(plane, x).axes
        np.testing.assert_allclose(axes.collections[0].get_offsets(), plane.transform(x))
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("z[0]", "z[1]")

    @pytest.mark.parametrize("kind", [int, float, str])
    def test_a_colour_and_a_name_for_each_class(self, plane, x, kind):
        y = np.array([kind(each % 3) for each in range(12)])
        figure = plots.latent_scatter(plane, x, y)
        (axes,) = figure.axes
        for index, points in enumerate(axes.collections):
            np.testing.assert_allclose(points.get_offsets(), plane.transform(x)[index::3])
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names == ["0", "1", "2"]
        assert len({tuple(points.get_facecolor()[0]) for points in axes.collections}) == 3

    def test_twenty_classes_can_be_told_apart(self, plane, x):
        (axes,) = plots.latent_scatter(plane, np.concatenate([x, x[:8]]), np.arange(20)).axes
        looks = {
            (tuple(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes()) for points in axes.collections
        }
        assert len(looks) == 20

    @pytest.mark.parametrize("y", [np.linspace(0, 1, 12), np.arange(12) / 2])
    def test_continuous_labels_get_a_colour_bar(self, plane, x, y):
        figure = plots.latent_scatter(plane, x, y)
        axes, bar = figure.axes
        np.testing.assert_allclose(axes.collections[0].get_array(), y)
        assert bar.get_ylabel() == "y"
        assert not figure.legends

    def test_takes_the_most_active_dimensions_and_says_so(self, space, x):
        (axes,) = plots.latent_scatter(space, x).axes
        np.testing.assert_allclose(axes.collections[0].get_offsets(), space.transform(x)[:, [1, 2]])
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("z[1], most active", "z[2], second most active")

    def test_takes_the_asked_dimensions(self, space, x):
        (axes,) = plots.latent_scatter(space, x, dimensions=(2, 0)).axes
        np.testing.assert_allclose(axes.collections[0].get_offsets(), space.transform(x)[:, [2, 0]])
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("z[2]", "z[0]")

    def test_takes_data_sets(self, plane, x):
        (axes,) = plots.latent_scatter(plane, tf.data.Dataset.from_tensor_slices(x).batch(5)).axes
        np.testing.assert_allclose(axes.collections[0].get_offsets(), plane.transform(x), atol=TOLERANCE)

    def test_refuses(self, plane, x):
        with pytest.raises(ValueError, match=r"one label for each of 12 examples. Received: \[11\]"):
            plots.latent_scatter(plane, x, np.arange(11))
        with pytest.raises(ValueError, match="argmax"):
            plots.latent_scatter(plane, x, np.eye(12))
        with pytest.raises(ValueError, match=r"at most 20 classes. Received: 24"):
            plots.latent_scatter(plane, np.concatenate([x, x]), [str(each) for each in range(24)])
        with pytest.raises(ValueError, match="must be 2 different whole numbers from 0 to 1"):
            plots.latent_scatter(plane, x, dimensions=(0, 2))
        with pytest.raises(ValueError, match=r"needs 2 latent dimensions. Received: a VAE with latent_dim=1"):
            plots.latent_scatter(unconditional(1), x)


class TestCurves:
    LOGS = {  # noqa: RUF012
        "loss": [30.0, 20.0, 15.0], "elbo": [-30.0, -20.0, -15.0], "reconstruction": [29.0, 18.0, 12.0],
        "kl": [1.0, 2.0, 3.0], "val_loss": [31.0, 22.0, 17.0], "val_elbo": [-31.0, -22.0, -17.0],
        "val_reconstruction": [30.0, 20.0, 14.0], "val_kl": [1.0, 2.0, 3.5],
    }  # fmt: skip

    @staticmethod
    def drawn(figure):
        """title -> label -> (epochs, values)"""
        return {
            axes.get_title(): {line.get_label(): [part.tolist() for part in line.get_data()] for line in axes.lines}
            for axes in figure.axes
        }

    def test_draws_the_numbers(self):
        figure = plots.curves(self.LOGS)
        epochs = [1, 2, 3]
        assert self.drawn(figure) == {
            title: {"training": [epochs, self.LOGS[name]], "validation": [epochs, self.LOGS["val_" + name]]}
            for title, name in (("ELBO", "elbo"), ("reconstruction", "reconstruction"), ("KL", "kl"))
        }
        assert figure.axes[0].get_ylabel() == "nats per example"
        assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["training", "validation"]

    def test_shows_a_loss_that_is_not_the_negative_elbo(self):
        drawn = self.drawn(plots.curves({"loss": [5.0, 4.0], "elbo": [-6.0, -5.0]}))
        assert drawn == {"loss": {"training": [[1, 2], [5, 4]]}, "ELBO": {"training": [[1, 2], [-6, -5]]}}
        assert list(self.drawn(plots.curves({"loss": [5.0, 4.0], "mae": [1.0, 1.0]}))) == ["loss"]

    def test_reads_what_fit_returns(self):
        history = keras.callbacks.History()
        history.history, history.epoch = {"loss": [2.0, 1.0], "val_loss": [3.0]}, [4, 5]
        drawn = self.drawn(plots.curves(history, validation_freq=3))
        assert drawn == {"loss": {"training": [[5, 6], [2, 1]], "validation": [[6], [3]]}}

    @pytest.mark.parametrize("first", [0, 1])
    def test_reads_a_file(self, tmp_path, first):
        path = tmp_path / "history.csv"
        path.write_text(f"epoch,loss,val_loss\n{first},2.5,3.5\n{first + 1},1.5,NA\n")
        for kind in (str, type(path)):
            drawn = self.drawn(plots.curves(kind(path)))["loss"]
            assert drawn["training"] == [[1, 2], [2.5, 1.5]]
            np.testing.assert_array_equal(drawn["validation"], [[1, 2], [3.5, np.nan]])

    def test_reads_a_file_of_one_epoch(self, tmp_path):
        (tmp_path / "history.csv").write_text("epoch,loss\n0,2.5\n")
        assert self.drawn(plots.curves(tmp_path / "history.csv")) == {"loss": {"training": [[1], [2.5]]}}

    def test_refuses(self, tmp_path):
        with pytest.raises(TypeError, match=r"must be what `fit` returns.*Received: int"):
            plots.curves(3)
        with pytest.raises(ValueError, match="Received: 1 epochs of accuracy"):
            plots.curves({"accuracy": [1.0]})
        with pytest.raises(ValueError, match="Received: 0 epochs of nothing"):
            plots.curves({})
        with pytest.raises(
            ValueError, match=r"`val_loss` must have one value for each epoch. Received: 2 values for 4"
        ):
            plots.curves({"loss": [4.0, 3.0, 2.0, 1.0], "val_loss": [4.0, 2.0]})
        with pytest.raises(FileNotFoundError):
            plots.curves(tmp_path / "none.csv")
        (tmp_path / "ragged.csv").write_text("epoch,loss\n0,1\n1,2,3\n")
        with pytest.raises(ValueError, match=r"ragged.csv' must be a table"):
            plots.curves(tmp_path / "ragged.csv")


@pytest.fixture(scope="module")
def found(space, x):
    return kvae.evaluation.latent_statistics(space, x)


class TestLatentStatistics:
    def test_bars_are_the_figures(self, found):
        figure = plots.latent_statistics(found)
        left, right = figure.axes
        order = np.argsort(-found.kl_per_dimension)
        assert [label.get_text() for label in left.get_xticklabels()] == [str(each) for each in order]
        tops = {}
        for bar in left.patches:
            place = round(bar.get_x() + bar.get_width() / 2)
            tops[place] = max(tops.get(place, 0), bar.get_y() + bar.get_height())
        np.testing.assert_allclose([tops[place] for place in range(3)], found.kl_per_dimension[order], rtol=1e-6)
        written = [text.get_text() for text in right.texts]
        assert written[0] == f"{found.kl:.2f}" and written[-1] == f"{found.dimension_wise_kl:.2f}"
        assert len(written) == 5

    def test_active_and_inactive_units_have_colours_of_their_own(self, found):
        active = np.array([True, False, True])
        left = plots.latent_statistics(dataclasses.replace(found, active=active)).axes[0]
        labels = [text.get_text() for text in left.get_legend().get_texts()]
        assert labels == ["I(x; z_d), active (2)", "I(x; z_d), inactive (1)", "KL(q(z_d) || p(z_d))"]
        colours = {tuple(bar.get_facecolor()) for bar in left.patches}
        assert len(colours) == 3

    def test_title_is_the_verdict(self, found):
        title = plots.latent_statistics(found)._suptitle.get_text().replace("\n", " ")
        assert title == f"{found.verdict.capitalize()}: {found.reason}"

    def test_what_is_not_known_says_why(self, x):
        vae = unconditional(2, prior=kvae.priors.Flow(num_steps=1))
        left, right = plots.latent_statistics(kvae.evaluation.latent_statistics(vae, x)).axes
        assert "the prior Flow has no marginal densities" in left.texts[0].get_text().replace("\n", " ")
        assert len(right.texts) == 4

    def test_refuses_the_model(self, plane):
        with pytest.raises(TypeError, match="what kvae.evaluation.latent_statistics"):
            plots.latent_statistics(plane)


class TestClasses:
    """Means of classes are probabilities; the pictures show the class that is most likely."""

    def test_images(self):
        likelihood = kvae.likelihoods.Categorical(3)
        encoder = kvae.networks.dense_encoder(SHAPE, 2, hidden=())
        vae = kvae.VAE(encoder, kvae.networks.dense_decoder(2, likelihood.params_shape(SHAPE), hidden=()), likelihood)
        x = np.random.default_rng(0).integers(0, 3, (4, *SHAPE)).astype("float32")
        assert_shows(plots.reconstructions(vae, x), np.stack([x, vae.reconstruct(x).argmax(-1)]) / 2)
        most_likely = vae.sample(4, seed=1).argmax(-1).reshape(2, 2, *SHAPE)
        assert_shows(plots.samples(vae, 4, seed=1), most_likely / 2)
        assert_shows(plots.samples(vae, 4, seed=1, value_range=(0, 4)), most_likely / 4)
        for figure in (plots.manifold(vae, 3), plots.traversals(vae, x), plots.interpolations(vae, x[:2], x[2:])):
            assert set(np.unique(mosaic(figure))) <= {np.float32(0), np.float32(0.5), np.float32(1)}

    def test_columns_of_a_table(self):
        likelihood = kvae.likelihoods.Joint([("normal", 2), (kvae.likelihoods.Categorical(4), 2), ("bernoulli", 1)])
        encoder = kvae.networks.dense_encoder((5,), 2, hidden=())
        vae = kvae.VAE(encoder, kvae.networks.dense_decoder(2, likelihood.params_shape((5,)), hidden=()), likelihood)
        means = vae.sample(3, seed=1)
        expected = [means[:, :2], means[:, 2:6].argmax(-1)[:, None], means[:, 6:10].argmax(-1)[:, None], means[:, 10:]]
        columns = plots.examples._as_data(likelihood, means, 2)
        np.testing.assert_array_equal(columns, np.concatenate(expected, axis=-1))
        x = np.concatenate([np.zeros((3, 2)), np.ones((3, 3))], axis=-1)
        assert plots.reconstructions(vae, x) and plots.samples(vae, 3) and plots.manifold(vae, 3)
