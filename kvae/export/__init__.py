"""Exported models: what leaves was run, compared with the Keras model and measured.

bundle         one folder with everything below, verified: files, manifest, golden vectors, snippets, a card
tflite         functions of a VAE as a TFLite file, in float32, float16 or int8
saved_model    the whole VAE as a TensorFlow SavedModel: decode, encode, reconstruct, sample, score
onnx           one function as an ONNX file
load           runs any of them again, on numpy arrays
verify         whether an export is undamaged and computes what it should
benchmark      size, time, memory and error of every model
inspect        signatures, operations, bytes and metadata
Report         what an export tells about itself
"""

# The functions come after the modules of the same names, which they hide.
from kvae.export.benchmark import benchmark
from kvae.export.bundle import Bundle, bundle
from kvae.export.converter import PRECISIONS
from kvae.export.inspection import inspect
from kvae.export.loaded import Exported, load
from kvae.export.onnx import onnx
from kvae.export.report import (
    DamageError,
    LatencyError,
    MissingExtraError,
    ParityError,
    ReloadError,
    Report,
    SamplerError,
    StructureError,
    UnsupportedOperationError,
    VerificationError,
)
from kvae.export.saved_model import saved_model
from kvae.export.tflite import tflite
from kvae.export.verification import verify

__all__ = [
    "PRECISIONS",
    "Bundle",
    "DamageError",
    "Exported",
    "LatencyError",
    "MissingExtraError",
    "ParityError",
    "ReloadError",
    "Report",
    "SamplerError",
    "StructureError",
    "UnsupportedOperationError",
    "VerificationError",
    "benchmark",
    "bundle",
    "inspect",
    "load",
    "onnx",
    "saved_model",
    "tflite",
    "verify",
]
