"""Golden vectors: inputs and outputs of a decoder and of its random numbers, to check another implementation by."""

import json
import pathlib

import numpy as np
import tensorflow as tf

from kvae import random
from kvae.export import parity
from kvae.export.references import GOLDEN_ROWS as ROWS
from kvae.export.references import GOLDEN_SEED as SEED

# Known answers of Threefry-2x32 with 20 rounds, as the Random123 library ships them: key, counter, words.
KNOWN_ANSWERS = (
    (0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x6B200159, 0x99BA4EFE),
    (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0x1CB996FC, 0xBB002BE7),
    (0x13198A2E, 0x03707344, 0x243F6A88, 0x85A308D3, 0xC4923A9C, 0x483DF7A0),
)
_MEANING = {
    "z": "latents, row i of which is drawn by sample(seed, stream=i)",
    "x_mean": "E[x|z] of the Keras model in float32",
    "c": "conditions of the rows",
    "noise": "standard normals from which the prior makes z, at (seed, stream=i, row=0, sample=0)",
    "threefry": "each row: two words of a key, two of a counter, and the two words that Threefry-2x32-20 makes of them",
}


def make(vae):
    """The vectors of a VAE in float32: a dict of arrays, `z [8, D]`, `x_mean [8, *data_shape]` and so on."""
    noise = random.normal(SEED, tf.range(ROWS), 0, vae.prior.noise_size)
    z, c = vae.prior.from_noise(noise, vae), parity.conditions(vae, ROWS)
    arrays = {"z": z, "x_mean": vae.likelihood(vae.likelihood_params(z, c)), "noise": noise, "threefry": _threefry()}
    if c is not None:
        arrays["c"] = c
    return {name: np.asarray(values) for name, values in arrays.items()}


def _threefry():
    """The known answers, and the first words of the noise of each row."""
    rows = [(SEED, stream, 0, 0) for stream in range(ROWS)]
    return np.array([*KNOWN_ANSWERS, *((*row, *words(row)) for row in rows)], "uint32")


def words(address):
    """The two words, as ints, that Threefry makes of (key, key, counter, counter)."""
    first, second, third, fourth = (tf.constant(int(each), tf.uint32) for each in address)
    return tuple(int(word) for word in random.threefry2x32((first, second), (third, fourth)))


def write(folder, arrays):
    """Writes `golden.npz`, and for those without numpy `NAME.bin`, little-endian, and `golden.json` that tells shapes."""
    folder.mkdir()
    np.savez(folder / "golden.npz", **arrays)
    index = {}
    for name, values in arrays.items():
        values.astype(values.dtype.newbyteorder("<")).tofile(folder / f"{name}.bin")
        index[name] = {
            "file": f"{name}.bin",
            "dtype": values.dtype.name,
            "byte_order": "little",
            "shape": list(values.shape),
            "meaning": _MEANING[name],
        }
    (folder / "golden.json").write_text(json.dumps({"seed": SEED, "arrays": index}, indent=2) + "\n")


def read(folder):
    """The arrays that `write` wrote."""
    with np.load(pathlib.Path(folder) / "golden.npz") as arrays:
        return dict(arrays)
