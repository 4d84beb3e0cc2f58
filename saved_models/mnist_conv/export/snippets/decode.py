"""Decodes and samples with numpy and ai-edge-litert alone:  python decode.py ../litert/decoder_float32.tflite

Run from this folder, it checks the file against ../golden and prints the largest error.
"""

import pathlib
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


class Decoder:
    """A `.tflite` file of the bundle."""

    def __init__(self, path, num_threads=1):
        self.interpreter = Interpreter(model_path=str(path), num_threads=num_threads)
        self.signatures = self.interpreter.get_signature_list()

    def decode(self, z, c=None):
        """E[x|z] `[N, ...]` of z `[N, D]`, and of conditions c `[N, ...]` if the model takes them."""
        rows = [{"z": row[None]} for row in np.asarray(z, "float32")]
        if c is not None:
            rows = [{**row, "c": each[None]} for row, each in zip(rows, np.asarray(c, "float32"), strict=True)]
        run = self.interpreter.get_signature_runner("decode")
        return np.concatenate([run(**row)["x_mean"] for row in rows])

    def sample(self, seed, n, **condition):
        """n draws from the model, if the file has the signature `sample`: E[x|z], z ~ p(z)."""
        run = self.interpreter.get_signature_runner("sample")
        return np.concatenate([run(seed=np.int32(seed), stream=np.int32(i), **condition)["x_mean"] for i in range(n)])


if __name__ == "__main__":
    decoder = Decoder(sys.argv[1])
    golden = np.load(pathlib.Path(__file__).parent.parent / "golden" / "golden.npz")
    x_mean = decoder.decode(golden["z"], golden.get("c"))
    print(
        f"{len(x_mean)} rows of shape {x_mean.shape[1:]}, largest error {np.abs(x_mean - golden['x_mean']).max():.1e}"
    )
