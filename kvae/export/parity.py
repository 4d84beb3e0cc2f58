"""The comparison of an exported model with the Keras model it came from, and the timing of it."""

import dataclasses
import statistics
import time

import numpy as np

from kvae.export import endpoints
from kvae.export.endpoints import FORM
from kvae.export.references import (  # what `verify` compares by, too
    MIN_PSNR,
    NUM_DRAWS,
    SEED,
    TOLERANCES,
    conditions,
    data_scale,
    decibels,
    inputs,
    probes,
    references,
)
from kvae.export.report import ParityError

__all__ = [
    "MIN_PSNR",
    "NUM_DRAWS",
    "TOLERANCES",
    "Comparison",
    "check_parity",
    "compare",
    "conditions",
    "data_scale",
    "median_latency",
    "probes",
    "psnr",
]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How an export compares with the Keras model.

    Attributes:
        max_error: the largest error that was seen, see `Report.max_error`.
        tolerance: what was allowed of `decode`, or where there is none, of the function that was allowed the most.
        psnr: of the means that `decode` gives, in dB, or None.
        min_psnr: what was asked of it, in dB, or None.
    """

    max_error: float
    tolerance: float
    psnr: float | None = None
    min_psnr: float | None = None


def check_parity(vae, exported, precision="float32", form=FORM):
    """Runs every signature of an export and compares it with the Keras model.

    `decode` is compared at 64 draws from the prior, at zero, and at the corners where all latents are +3 or -3. `encode`,
    `reconstruct` and `score` are given draws of x.

    Args:
        vae: `VAE`, the float32 model that was exported.
        exported: what `kvae.export.load` returns.
        precision: key of `TOLERANCES`.
        form: `Form` of its endpoints; the batch sizes are those of the export.

    Returns:
        float, the largest error; see `Report.max_error`.

    Raises:
        ParityError: if a value is not finite, or further off than the tolerance.
    """
    return compare(vae, exported, precision, form).max_error


def compare(vae, exported, precision="float32", form=FORM, data=None):
    """As `check_parity`, for functions of x at `data`, a pair (x, c or None), if given; returns a `Comparison`."""
    found = {}
    for signature, sides in exported.signatures.items():
        name = endpoints.endpoint_name(signature)
        values, rows, size = _run(exported, signature, sides, inputs(vae, name, form, data))
        expected = references(vae, name, form, precision, rows, size)
        for key, value in values.items():
            found[signature, key] = _compare(f"{signature}/{key}", value, expected[key])
            _check(signature, key, found[signature, key], expected[key], precision)
    main = [each for (signature, _), each in found.items() if signature == "decode"] or list(found.values())
    largest = max(each.max_error for each in found.values())
    return dataclasses.replace(max(main, key=lambda each: each.tolerance), max_error=largest)


def median_latency(exported, num_runs=50, seconds=0.5):
    """Median milliseconds of `decode` of a single z, over as many runs as fit in `seconds`, at most `num_runs`.

    Of the first function, where there is no `decode`.
    """
    name = "decode" if "decode" in exported.signatures else next(iter(exported.signatures))
    shapes = exported.signatures[name]["inputs"]
    arrays = {key: np.zeros([size or 1 for size in shape]) for key, shape in shapes.items()}
    arrays |= {"n": 1} if "n" in shapes else {}
    exported.run(name, **arrays)  # the first call also allocates
    times, end = [], time.perf_counter() + seconds
    while not times or (len(times) < num_runs and time.perf_counter() < end):
        start = time.perf_counter()
        exported.run(name, **arrays)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def psnr(values, reference, scale):
    """The peak signal-to-noise ratio of values that reach up to `scale`, in dB."""
    return decibels(np.asarray(values, "float64") - np.asarray(reference), scale)


def _run(exported, signature, sides, arrays):
    """(outputs, (inputs as they were given, their rows), rows at once): what takes B rows gets as many as fill them."""
    size = next(iter(sides["outputs"].values()))[0]
    number = len(next(iter(arrays.values()))) if arrays else 5
    size = size or number
    number = -(-number // size) * size
    arrays = {key: np.resize(value, (number, *value.shape[1:])) for key, value in arrays.items()}
    results = []
    for start in range(0, number, size):
        numbers = {"seed": SEED, "stream": start, "n": size}
        part = {key: value[start : start + size] for key, value in arrays.items()}
        part |= {key: value for key, value in numbers.items() if key in sides["inputs"]}
        results.append(exported.run(signature, **part))
    joined = {key: np.concatenate([each[key] for each in results]) for key in results[0]}
    return joined, (arrays, number), size


def _compare(name, value, reference):
    expected = np.asarray(reference.values)
    if value.shape != expected.shape:
        raise ParityError(
            f"The exported {name} has shape {list(value.shape)} where the Keras model gives {list(expected.shape)}. "
            "Nothing was written."
        )
    for side, each in (("Keras model's own", expected), ("exported", value)):
        if not np.isfinite(each).all():
            raise ParityError(
                f"The {side} {name} holds {int((~np.isfinite(each)).sum())} NaN or infinite values of {each.size}, for z "
                "drawn from the prior or at most 3 in size. Nothing was written. Look at the weights: "
                "[np.isfinite(w).all() for w in vae.get_weights()]."
            )
    value = value / np.float32(255) if value.dtype == np.uint8 else value
    errors = np.abs(value - expected).ravel() / (reference.scale or 1.0)
    # Rounding may carry a draw to the other side of a step; that this happens twice says nothing yet.
    error = np.sort(errors)[:-2].sum() / errors.size if reference.is_draw else errors.max()
    ratio = None if reference.is_draw else psnr(value, expected, reference.scale or 1.0)
    return Comparison(float(error), reference.tolerance, ratio, reference.min_psnr)


def _check(signature, key, found, reference, precision):
    advice = "Look for a layer that computes one thing eagerly and another in a graph."
    if precision != "float32":
        advice = "Take a higher precision, or calibrate on data like that which the model will see."
    kind = "mean" if reference.is_draw else "largest"
    if not found.max_error <= found.tolerance:
        raise ParityError(
            f"The exported `{signature}` does not agree with the Keras model: the {kind} error of {key} is "
            f"{found.max_error:.2g}, more than {found.tolerance:.2g}. Nothing was written. {advice}"
        )
    if found.min_psnr is not None and found.psnr < found.min_psnr:
        raise ParityError(
            f"The exported `{signature}` does not agree with the Keras model: the PSNR of {key} is {found.psnr:.1f} dB, "
            f"less than {found.min_psnr:.0f} dB. Nothing was written. {advice}"
        )
