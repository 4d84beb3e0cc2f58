"""Pictures: reconstructions, samples, the latent space and the course of training.

Every function returns a `matplotlib.figure.Figure` made without pyplot: nothing pops up and nothing stays open. A notebook
shows it when it ends a cell, and `figure.savefig("samples.png")` keeps it.

Examples that are images, `[height, width]` or with 1 or 3 channels, are shown as such. All others are drawn as a profile: a
line through their values in order. With `image_shape=(28, 28)` flat vectors are images too.
"""

from kvae.plots.charts import curves, latent_scatter
from kvae.plots.examples import interpolations, manifold, reconstructions, samples, traversals
from kvae.plots.grid import Figure, grid
from kvae.plots.latents import latent_statistics

__all__ = [
    "Figure",
    "curves",
    "grid",
    "interpolations",
    "latent_scatter",
    "latent_statistics",
    "manifold",
    "reconstructions",
    "samples",
    "traversals",
]
