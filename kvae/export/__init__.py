"""Exported models: what leaves was run, compared with the Keras model and measured.

saved_model    the whole VAE as a TensorFlow SavedModel: decode, encode, reconstruct, sample
tflite         the decoder as a TFLite file: decode
load           runs either again, on numpy arrays
Report         what an export tells about itself
"""

# The functions come after the modules of the same names, which they hide.
from kvae.export.loaded import Exported, load
from kvae.export.report import ParityError, Report, UnsupportedOperationError
from kvae.export.saved_model import saved_model
from kvae.export.tflite import tflite

__all__ = ["Exported", "ParityError", "Report", "UnsupportedOperationError", "load", "saved_model", "tflite"]
