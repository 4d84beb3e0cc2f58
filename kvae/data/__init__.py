"""Data by name or from files, in float32, and binarisation.

load                   digits, mnist, fashion_mnist, or a file or folder by its path
binarize               grey images drawn once as black and white
dynamic_binarization   drawn anew in every epoch
"""

from kvae.data.binarization import binarize, dynamic_binarization
from kvae.data.files import Data
from kvae.data.sets import NAMES, digits, fashion_mnist, load, mnist

__all__ = ["NAMES", "Data", "binarize", "digits", "dynamic_binarization", "fashion_mnist", "load", "mnist"]
