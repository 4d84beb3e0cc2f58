"""TFLite: functions of a VAE for phones and single-board computers."""

import pathlib
import tempfile

from kvae import checks
from kvae.export import (
    calibrating,
    converter,
    endpoints,
    flatbuffer,
    float32,
    graphs,
    loaded,
    outputs,
    parity,
)
from kvae.export.endpoints import Form
from kvae.export.report import Report, UnsupportedOperationError

_UNIT = (0.0, 1.0)


def tflite(
    vae,
    path,
    precision="float32",
    signatures=("decode",),
    output="mean",
    batch_sizes=(1,),
    input_dtype="float32",
    output_dtype="float32",
    calibration=None,
    overwrite=False,
):
    """Exports functions of a VAE as a TFLite file that any TFLite or LiteRT runtime can run.

    By default that is the decoder alone. Of a file with more functions, all share the weights:

        decode       z [1, D]                      -> x_mean [1, *data_shape]: E[x|z]
        encode       x [1, *data_shape]            -> mean [1, D] and, where the posterior knows it, stddev [1, D]
        reconstruct  x [1, *data_shape]            -> x_mean: E[x | z = E[z|x]]
        sample       seed, stream: int32 scalars   -> z [1, D], x_mean: row `stream` of `vae.sample(n, seed=seed)`
        score        x, seed: int32 scalar         -> elbo [1], nats: `kvae.evaluation.elbo(vae, x, seed)`

    Those of a conditional model also take c `[1, ...]`. A file uses built-in operations only and has fixed shapes: with
    a free number of rows it would run half as fast, and GPU delegates would refuse it. These take the decoder as a whole:
    its transposed convolutions are kept at version 3, where theirs end, by making each fused activation an operation of
    its own.

    The file is loaded, run and compared with the Keras model before it is moved to `path`.

    Args:
        vae: built `kvae.VAE`. One in mixed precision is exported in float32.
        path: file to make, with its parents; it ends in `.tflite`.
        precision: "float32"; "float16", weights of half the size; "int8", weights of a quarter of the size, activations
            rounded as they come; or "int8_full", activations too in int8, in ranges found by calibration.
        signatures: names of the functions.
        output: what is told of p(x|z): "mean"; "params", the decoder's output, as `x_params`, which
            `vae.likelihood.distribution` takes; or "sample", a draw, as `x`. For a draw `decode` and `reconstruct` also
            take seed and stream, as `sample` does. It is not that of `vae.sample(mean=False)`, which TFP makes.
        batch_sizes: rows per call. 1 must be among them; functions for B rows are called `decode_b16`, and so on.
        input_dtype: of x: "float32", or "uint8" for 0 to 255, which the file divides by 255.
        output_dtype: of x_mean and x: "float32", or "uint8" for 0 to 255, a picture; a cast that GPU delegates refuse.
        calibration: for "int8_full", some x `[N, *data_shape]`, or (x, c), as the VAE is given them: 100 or more, which
            `encode` and `reconstruct` need. Draws from the prior are added.
        overwrite: whether a file that stands there may be replaced, once the new one is verified.

    Returns:
        `Report`. For "int8" it names the quantizer: `ai_edge_quantizer` if the extra `quantize` is installed, else that
        of TensorFlow, whose files are as exact and may run slower.

    Raises:
        TypeError: if `vae` is no `kvae.VAE`.
        ValueError: if it is not built, the network draws random numbers in inference, the path does not end in
            `.tflite`, an argument is unknown or does not fit the model, or calibration data are needed or wrong.
        UnsupportedOperationError: if the functions use operations that TFLite does not have; they are named.
        StructureError: if the file is refused by GPU delegates, as loops are.
        FileExistsError: if `path` exists and may not be replaced.
        OSError: if `path` cannot be written.
        ParityError: if the file does not compute what the VAE does, to what `precision` allows. Nothing is left behind.

    Example:
        >>> print(kvae.export.tflite(vae, "decoder.tflite", precision="float16"))
        decoder.tflite: tflite float16, 224 kB, largest error 1.5e-03, PSNR 85 dB, decode 0.27 ms
        >>> everything = ("decode", "encode", "reconstruct", "sample", "score")
        >>> report = kvae.export.tflite(vae, "vae.tflite", signatures=everything)
    """
    checks.check_choice("precision", precision, converter.PRECISIONS)
    model = float32.exportable(vae)
    forms = _forms(model, output, batch_sizes, input_dtype, output_dtype)
    signatures = _checked_signatures(model, signatures, precision, output)
    if calibration is not None and precision != "int8_full":
        raise ValueError(
            f"`calibration` is for precision='int8_full', which fixes ranges. Leave it out. Received: precision={precision!r}"
        )
    data = calibrating.checked(model, calibration)
    examples = calibrating.examples(model, signatures, forms, data) if precision == "int8_full" else None
    with outputs.new_file(path, loaded.SUFFIX, overwrite) as file:
        content, quantizer, num_weights = _convert(model, signatures, forms, precision, examples)
        flatbuffer.check_structure(content, num_weights, converter.BYTES_PER_WEIGHT[precision])
        file.write_bytes(content)
        exported = loaded.load(file)
        compared = parity.compare(model, exported, precision, forms[0], data)
        described = flatbuffer.signatures(content)
        return Report(
            path=pathlib.Path(path),
            format="tflite",
            precision=precision,
            max_error=compared.max_error,
            num_bytes=outputs.size(file),
            latency_ms=parity.median_latency(exported),
            tolerance=compared.tolerance,
            psnr=compared.psnr,
            min_psnr=compared.min_psnr,
            quantizer=quantizer,
            num_weights=num_weights,
            signatures=described,
            operations=flatbuffer.operations(content),
            rescaling=_rescaling(described),
        )


def _forms(vae, output, batch_sizes, input_dtype, output_dtype):
    """A `Form` for each batch size, if the likelihood has such outputs and types."""
    checks.check_choice("output", output, ("mean", "params", "sample"))
    checks.check_choice("input_dtype", input_dtype, ("float32", "uint8"))
    checks.check_choice("output_dtype", output_dtype, ("float32", "uint8"))
    sizes = [checks.check_count("batch_sizes", each) for each in _listed(batch_sizes)]
    if 1 not in sizes:
        raise ValueError(f"`batch_sizes` must hold 1, for `decode` itself. Received: batch_sizes={batch_sizes!r}")
    likelihood, what = vae.likelihood, type(vae.likelihood).__name__
    if input_dtype == "uint8" and (likelihood.counts or likelihood.support not in (None, _UNIT)):
        raise ValueError(
            f"input_dtype='uint8' means x in [0, 1] times 255, which the likelihood {what} is not for. Pass 'float32'."
        )
    if output_dtype == "uint8" and (likelihood.support != _UNIT or output == "params"):
        raise ValueError(
            "output_dtype='uint8' means values in [0, 1] times 255: a likelihood of such data and its mean or draws. "
            f"Received: the likelihood {what} and output='{output}'. Pass output_dtype='float32'."
        )
    if output == "sample":
        _check_drawable(vae)
    return [Form(size, output, input_dtype, output_dtype) for size in dict.fromkeys(sizes)]


def _check_drawable(vae):
    def draw():
        params = vae.likelihood_params(*(None if each is None else each[:1] for each in parity.probes(vae)))
        vae.likelihood.from_uniform(params, endpoints.noise(vae, 0, [0]))

    try:
        draw()
    except NotImplementedError as error:
        raise ValueError(f"output='sample' is not to be had: {error}") from error


def _checked_signatures(vae, signatures, precision, output):
    known, signatures = endpoints.names(vae), list(dict.fromkeys(_listed(signatures)))
    if not signatures:
        raise ValueError(f"`signatures` must name at least one of {', '.join(map(repr, known))}. Received: none.")
    for each in signatures:
        if each in endpoints.ENDPOINTS and each not in known:
            raise ValueError(
                f"The model has no `{each}`: it is an {type(vae).__name__}, and nothing tells how its codes are "
                f"distributed. It has: {', '.join(known)}."
            )
        checks.check_choice("signatures", each, known)
    wrong = {"sample", "score"} & set(signatures) or ({"output='sample'"} if output == "sample" else set())
    if precision == "int8_full" and wrong:
        raise ValueError(
            f"precision='int8_full' cannot give {' and '.join(sorted(wrong))}: in 8 bits the random number generator draws "
            "something else, and a log-density means nothing. Take precision='int8', which leaves both alone."
        )
    return signatures


def _convert(vae, signatures, forms, precision, examples):
    """(bytes of the file, name of the quantizer, how many weights it must hold)."""
    with tempfile.TemporaryDirectory() as folder:
        traced = endpoints.write(vae, folder, signatures, forms)
        num_weights = graphs.count_weights([(each, endpoints.networks(vae, name)) for name, each in traced.items()])
        try:
            return *converter.convert(folder, list(traced), precision, examples), num_weights
        except converter.MissingOperationsError as error:
            found = [graphs.find(each.graph, vae, error.names.__contains__) for each in traced.values()]
            places = ", ".join(dict.fromkeys(filter(None, found))) or str(error)
    raise UnsupportedOperationError(
        f"The model uses operations that TFLite does not have: {places}. Nothing was written. Replace the layers by "
        "others of the same use (for instance erf by tanh, or an exact GELU by keras.activations.gelu with "
        "approximate=True), or export with kvae.export.saved_model, which takes all operations."
    )


def _rescaling(signatures):
    sides = [each for both in signatures.values() for each in both.values()]
    return {key: 1 / 255 for tensors in sides for key, (kind, _) in tensors.items() if kind == "uint8"}


def _listed(values):
    return [values] if isinstance(values, (str, int)) else list(values)
