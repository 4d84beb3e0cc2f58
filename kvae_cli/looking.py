"""`kvae sample` and `kvae plot`: what a model makes, as pictures and arrays."""

import functools
import pathlib
from typing import Annotated

import typer

from kvae_cli import common
from kvae_cli.common import Model, Overwrite, Seed


def sample(
    model: Model,
    out: Annotated[pathlib.Path, typer.Option(help="A .png for a picture, or a .npy for the array.")] = pathlib.Path(
        "samples.png"
    ),
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many.")] = 64,
    condition: Annotated[
        float | None, typer.Option(help="For a model that was conditioned on labels: which label, a number.")
    ] = None,
    draw: Annotated[bool, typer.Option("--draw", help="Draw x ~ p(x|z) rather than giving its mean.")] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
):
    """Draw samples from a model, as a picture or an array."""
    if out.suffix not in (".png", ".npy"):
        raise typer.BadParameter(f"--out must end in .png or .npy, not '{out}'.")
    common.check_free(out, overwrite)
    kvae, vae, _ = common.load(model, "")
    import numpy as np

    drawn = common.usage(functools.partial(vae.sample, number, mean=not draw, seed=seed, condition=condition))
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npy":
        np.save(out, drawn)
    else:
        kvae.plots.grid(drawn).savefig(out)
    print(f"wrote {out}")


def plot(
    model: Model,
    out: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Directory of the pictures; by default the model's own; the current one for a shipped model."
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="As for train; by default what the model was trained on.")] = None,
):
    """Draw the pictures of a model anew: reconstructions, samples, traversals, latent space, curves."""
    kvae, vae, loaded = common.load(model, data)
    home = common.home(kvae, model)
    is_shipped = home not in (pathlib.Path(model), pathlib.Path(model).parent)
    out = out or (pathlib.Path() if is_shipped else home)
    out.mkdir(parents=True, exist_ok=True)
    history = home / "history.csv"
    test = common.test_data(kvae, vae, loaded)
    for path in draw(kvae, vae, test, loaded.y_test, out, history if history.is_file() else None):
        print(f"wrote {path}")


def draw(kvae, vae, test, y_test, out, history):
    """Draws and writes the pictures, giving the path of each."""
    plots, conditional = kvae.plots, vae.condition_shape is not None
    classes = None if not conditional else [number % (int(max(y_test)) + 1) for number in range(64)]
    figures = {
        "reconstructions": plots.reconstructions(vae, test),
        "samples": plots.samples(vae, seed=0, condition=classes),
        "interpolations": plots.interpolations(
            vae, common.rows(test, slice(6)), common.rows(test, slice(None, -7, -1))
        ),
        "traversals": plots.traversals(vae, common.rows(test, slice(1000))),
    }
    if vae.latent_dim >= 2:
        figures["latent"] = plots.latent_scatter(vae, common.rows(test, slice(5000)), _colours(y_test))
    if vae.latent_dim == 2 and not conditional:
        figures["manifold"] = plots.manifold(vae)
    if history is not None:
        figures["curves"] = plots.curves(history)
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png", dpi=120)
        yield out / f"{name}.png"


def _colours(y_test):
    """The labels of the first 5000 examples, where they are such as can be told apart by colour; else None."""
    import numpy as np

    if y_test is None or y_test.ndim != 1:
        return None
    is_number = y_test.dtype.kind in "iufb"
    return y_test[:5000] if is_number or len(np.unique(y_test[:5000])) <= 20 else None
