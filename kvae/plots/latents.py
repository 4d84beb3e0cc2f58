"""Which latent dimensions a picture shows."""

import numpy as np


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
