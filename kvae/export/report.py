"""What an export tells about itself, and the ways in which it can fail."""

import dataclasses
import pathlib


class ParityError(RuntimeError):
    """The exported file was run and does not compute what the Keras model computes. Nothing was written."""


class UnsupportedOperationError(ValueError):
    """The model contains operations that the exported format does not have. Nothing was written."""


@dataclasses.dataclass(frozen=True)
class Report:
    """An export that was run, compared with the Keras model and timed on this machine.

    Attributes:
        path: where it stands.
        format: "saved_model" or "tflite".
        precision: of the weights, "float32".
        num_bytes: size on disk, of all files.
        max_error: the largest difference to the Keras model that was seen. It is measured against the bound for data
            that has one (1 for images in [0, 1]), else against the largest mean or standard deviation that occurred.
        latency_ms: median time of `decode` of one z, in milliseconds: TFLite on a single thread, a SavedModel on those
            that TensorFlow is set to use.

    Example:
        >>> print(kvae.export.tflite(vae, "decoder.tflite"))
        decoder.tflite: tflite float32, 440 kB, largest error 3.0e-07, decode 0.26 ms
    """

    path: pathlib.Path
    format: str
    precision: str
    num_bytes: int
    max_error: float
    latency_ms: float

    def __str__(self):
        return (
            f"{self.path}: {self.format} {self.precision}, {self.num_bytes / 1000:.0f} kB, "
            f"largest error {self.max_error:.1e}, decode {self.latency_ms:.2g} ms"
        )
