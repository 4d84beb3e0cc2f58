"""What the ranges of int8 activations are found from."""

import numpy as np

from kvae import checks, inputs
from kvae.export import endpoints, references

# With 20 draws the error is 2.5 times that of 200; see the docstring of `examples`.
_NUM_DRAWS = 300
_MOST_ROWS = 500


def checked(vae, calibration):
    """Calibration data as (x, c or None), float32 arrays of at most 500 rows from all over them; None if there are none.

    Raises:
        ValueError: if they are not what the VAE takes.
    """
    if calibration is None:
        return None
    arrays = inputs.as_arrays(vae, calibration, "calibration")
    x, c = arrays if isinstance(arrays, tuple) else (arrays, None)
    x = np.asarray(x)
    checks.check_values(x, "calibration", missing=vae.missing is not None)
    vae.likelihood.check(x, "calibration")
    chosen = np.linspace(0, len(x) - 1, min(len(x), _MOST_ROWS)).astype(int)
    return x[chosen].astype("float32"), None if c is None else np.asarray(c)[chosen].astype("float32")


def examples(vae, signatures, forms, data):
    """What the converter runs a model on, to see which values occur.

    For `decode`: 300 draws from the prior, the corners where all latents are +3 or -3, beyond which values saturate, and
    the posterior means of the calibration data. For functions of x: the calibration data.

    Args:
        vae: `VAE`.
        signatures: names of endpoints.
        forms: list of `Form`, of different batch sizes.
        data: of `checked`, or None.

    Returns:
        A function that gives an iterator of pairs (signature, dict of arrays).

    Raises:
        ValueError: if data are needed.
    """
    x, c = data or (None, None)
    if data is None and (needing := [each for each in signatures if each != "decode"]):
        raise ValueError(
            f"precision='int8_full' finds the ranges of {', '.join(needing)} from data. Pass some as `calibration`: "
            "calibration=x_train[:500]. Received: calibration=None"
        )
    rows = {name: _rows(vae, name, forms[0], x, c) for name in signatures}

    def iterate():
        for form in forms:
            for name, arrays in rows.items():
                number = max(form.batch_size, len(next(iter(arrays.values()))))
                whole = {key: np.resize(value, (number, *value.shape[1:])) for key, value in arrays.items()}
                for start in range(0, number - form.batch_size + 1, form.batch_size):
                    part = {key: value[start : start + form.batch_size] for key, value in whole.items()}
                    yield endpoints.signature_name(name, form.batch_size), part

    return iterate


def _rows(vae, name, form, x, c):
    if name != "decode":
        x = np.nan_to_num(x)
        x = np.round(255 * np.clip(x, 0, 1)).astype("uint8") if form.input_dtype == "uint8" else x
        return {"x": x} if c is None else {"x": x, "c": c}
    corners = np.float32([[3], [-3]]) * np.ones([1, vae.latent_dim], "float32")
    z = [references.prior_draws(vae, _NUM_DRAWS), corners]
    if x is not None:
        z.append(vae.transform(x if c is None else (x, c)))
    z = np.concatenate(z)
    if vae.condition_shape is None:
        return {"z": z}
    return {"z": z, "c": references.conditions(vae, len(z)) if c is None else np.resize(c, (len(z), *c.shape[1:]))}
