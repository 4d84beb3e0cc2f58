"""Metadata of kvae; tool settings stand in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "kvae" / "__init__.py").read_text(), re.MULTILINE).group(1)

TEST = [
    "pytest>=9.0",
    "pytest-xdist>=3.8",
    "ruff>=0.17",
    "scipy>=1.17",
    "tensorboard>=2.20",
]
NOTEBOOKS = [
    "ipykernel>=7.0",
    "jupytext>=1.19",
    "nbclient>=0.11",
    "nbconvert>=7.17",
]

ONNX = [
    "onnx>=1.23",
    "onnxruntime>=1.31",
    "tf2onnx>=1.17",
]
QUANTIZE = ["ai-edge-quantizer>=0.10"]
SERVING = ["tensorflow-serving-api>=2.21"]
PARQUET = ["pyarrow>=26.0"]
BENCH = ["pythae>=0.1.2", "torch>=2.13"]

setup(
    name="kvae",
    version=VERSION,
    description="Variational autoencoders for Keras 3: train, evaluate, diagnose, sample, and ship the decoder.",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["kvae", "kvae.*", "kvae_cli"]),
    package_data={"kvae.export": ["snippets/*"]},
    entry_points={"console_scripts": ["kvae=kvae_cli:main"]},
    # Lower bounds are the versions that were run.
    install_requires=[
        "tensorflow>=2.21",
        "keras>=3.15",
        "tensorflow-probability[tf]>=0.25",
        "numpy>=2.4",
        "scikit-learn>=1.9",
        "matplotlib>=3.11",
        "typer>=0.29",
        "ai-edge-litert>=2.3",
    ],
    extras_require={
        "test": [*TEST, *NOTEBOOKS, *ONNX, *QUANTIZE, *SERVING, *PARQUET],
        "parquet": PARQUET,
        "notebooks": NOTEBOOKS,
        "onnx": ONNX,
        "quantize": QUANTIZE,
        "serving": SERVING,
        "bench": BENCH,
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Intended Audience :: Developers",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
