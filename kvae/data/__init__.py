"""Data by name or from files, in float32, and binarisation.

load                   digits, mnist, fashion_mnist, sprites, or a file or folder by its path
sprites, dsprites      images whose factors of variation are known
Factors, FactorTable   the same for data of your own
binarize               grey images drawn once as black and white
dynamic_binarization   drawn anew in every epoch
stream                 files larger than memory, read while the model trains
write_records          TFRecord files for it
"""

from kvae.data.binarization import binarize, dynamic_binarization
from kvae.data.factors import Factors, FactorTable
from kvae.data.files import Data
from kvae.data.sets import NAMES, digits, fashion_mnist, load, mnist
from kvae.data.sprites import dsprites, sprites
from kvae.data.streaming import stream, write_records

__all__ = [
    "NAMES",
    "Data",
    "FactorTable",
    "Factors",
    "binarize",
    "digits",
    "dsprites",
    "dynamic_binarization",
    "fashion_mnist",
    "load",
    "mnist",
    "sprites",
    "stream",
    "write_records",
]
