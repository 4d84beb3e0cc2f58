"""SavedModel: the whole VAE for servers and for TensorFlow programs."""

import pathlib

from kvae.export import endpoints, float32, loaded, outputs, parity
from kvae.export.report import Report


def saved_model(vae, path, overwrite=False):
    """Exports a VAE as a TensorFlow SavedModel, which runs without Keras and kvae.

    All signatures take any number of rows and return a dict by name:

        decode       z [B, D]                 -> x_mean [B, *data_shape]: E[x|z]; also what a server calls by default
        encode       x [B, *data_shape]       -> mean [B, D] and, where the posterior knows it, stddev [B, D]
        reconstruct  x [B, *data_shape]       -> x_mean: E[x | z = E[z|x]]
        sample       seed, n: int32 scalars   -> z [n, D] and x_mean, the rows of `vae.sample(n, seed=seed)`
        score        x, seed: int32 scalar    -> elbo [B], nats: `kvae.evaluation.elbo(vae, x, seed)`

    Those of a conditional model also take c. Everything computes in float32, also for a VAE trained in mixed precision.
    The export is loaded, run and compared with the Keras model before it is moved to `path`.

    Args:
        vae: built `kvae.VAE`.
        path: folder to make, with its parents.
        overwrite: whether a SavedModel that stands there may be replaced, once the new one is verified.

    Returns:
        `Report`.

    Raises:
        TypeError: if `vae` is no `kvae.VAE`.
        ValueError: if it is not built, or a network draws random numbers in inference.
        FileExistsError: if `path` exists and may not be replaced.
        OSError: if `path` cannot be written.
        ParityError: if the export does not compute what the VAE does. Nothing is left behind.

    Example:
        >>> kvae.export.saved_model(vae, "decoder")
        >>> tf.saved_model.load("decoder").signatures["decode"](z=tf.zeros([4, 16]))["x_mean"].shape
        TensorShape([4, 28, 28, 1])
    """
    model = float32.exportable(vae)
    with outputs.new_folder(path, overwrite, loaded.MARKER) as folder:
        endpoints.write(model, folder)
        exported = loaded.load(folder)
        compared = parity.compare(model, exported)
        return Report(
            path=pathlib.Path(path),
            format="saved_model",
            precision="float32",
            max_error=compared.max_error,
            num_bytes=outputs.size(folder),
            latency_ms=parity.median_latency(exported),
            tolerance=compared.tolerance,
            psnr=compared.psnr,
        )
