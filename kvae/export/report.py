"""What an export tells about itself, and the ways in which it can fail."""

import dataclasses
import pathlib


class VerificationError(Exception):
    """An export is not what it should be; its subclasses tell in which way."""

    exit_code = 5  # of the command `kvae`


class ParityError(VerificationError, RuntimeError):
    """The exported file was run and does not compute what the Keras model computes. Nothing was written."""


class StructureError(VerificationError, ValueError):
    """A TFLite file holds what runtimes or GPU delegates refuse, or lacks weights."""


class DamageError(VerificationError, ValueError):
    """Files of a bundle are missing, changed or exchanged, or its manifest was edited."""


class SamplerError(VerificationError, RuntimeError):
    """An exported sampler does not draw what `kvae.random` draws."""


class ReloadError(VerificationError, RuntimeError):
    """A SavedModel does not run in a process without Keras and kvae."""


class LatencyError(VerificationError, RuntimeError):
    """An int8 file is so much slower than float32 that it must have lost its fast kernels."""


class UnsupportedOperationError(ValueError):
    """The model contains operations that the exported format does not have. Nothing was written."""

    exit_code = 3


class MissingExtraError(ImportError):
    """A package is not installed that this export needs and kvae itself does not."""

    exit_code = 4


@dataclasses.dataclass(frozen=True)
class Report:
    """An export that was run, compared with the Keras model and timed on this machine.

    Attributes:
        path: where it stands.
        format: "saved_model", "tflite" or "onnx".
        precision: of the weights: "float32", "float16", "int8" or "int8_full".
        num_bytes: size on disk, of all files.
        max_error: the largest difference to the Keras model that was seen. It is measured against the bound for data
            that has one (1 for images in [0, 1]), else against the largest mean or standard deviation that occurred.
        latency_ms: median time of `decode` of one z, in milliseconds: TFLite and ONNX on a single thread, a SavedModel
            on those that TensorFlow is set to use.
        tolerance: which error of `decode` would have been refused.
        psnr: peak signal-to-noise ratio of the means that `decode` gives, in dB, or None where it gives no means.
        min_psnr: which would have been refused, or None.
        quantizer: the package that rounded the weights to int8, or None.
        num_weights: how many weights a TFLite file holds at least.
        signatures: of a TFLite file, as `kvae.export.flatbuffer.signatures` gives them.
        operations: of a TFLite file, a list of `kvae.export.flatbuffer.Operation`.
        rescaling: what one unit of an input or output in uint8 is worth, by name: {"x": 1/255}.

    Example:
        >>> print(kvae.export.tflite(vae, "decoder.tflite", precision="int8"))
        decoder.tflite: tflite int8 by ai_edge_quantizer, 162 kB, largest error 9.6e-02, PSNR 47 dB, decode 0.08 ms
    """

    path: pathlib.Path
    format: str
    precision: str
    num_bytes: int
    max_error: float
    latency_ms: float
    tolerance: float | None = None
    psnr: float | None = None
    min_psnr: float | None = None
    quantizer: str | None = None
    num_weights: int = 0
    signatures: dict = dataclasses.field(default_factory=dict)
    operations: list = dataclasses.field(default_factory=list)
    rescaling: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
        by = f" by {self.quantizer}" if self.quantizer else ""
        ratio = f"PSNR {self.psnr:.0f} dB, " if self.psnr is not None and self.precision != "float32" else ""
        return (
            f"{self.path}: {self.format} {self.precision}{by}, {self.num_bytes / 1000:.0f} kB, "
            f"largest error {self.max_error:.1e}, {ratio}decode {self.latency_ms:.2g} ms"
        )
