"""Compares what the page draws with the Keras model:  python test/parity.py [MODEL] [BUNDLE] [SCREENSHOT.png]

Serves this example, lets a headless Chromium press its buttons and move its sliders, and prints for each file of the
bundle the largest differences from `vae.decode(z).mean()` at the same z: of the values that LiteRT.js computed, and of
the pixels on the canvas, which are rounded to 1/255. Data are in [0, 1]. MODEL is what `kvae.pretrained.load` takes, by default mnist_conv;
BUNDLE is a folder in this example, by default `bundle`.
"""

import contextlib
import functools
import http.server
import json
import pathlib
import subprocess
import sys
import threading

import numpy as np

WEB = pathlib.Path(__file__).resolve().parent.parent


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def served(folder=WEB):
    """The address of a server of a folder, while the block runs."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def drive(url, screenshot=None):
    """What `drive.mjs` saw."""
    command = [
        "node",
        str(WEB / "test" / "drive.mjs"),
        url,
        *([str(pathlib.Path(screenshot).resolve())] if screenshot else []),
    ]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, cwd=WEB).stdout)


def compare(vae, state):
    """Largest errors of the values, of the pixels and of the sample (None without a seed) for one state of the page."""
    z = np.float32([state["z"]])
    c = None if state["c"] is None else np.float32(state["c"]).reshape(1, *vae.condition_shape)
    expected = vae.decode(z if c is None else (z, c)).mean().numpy()[0]
    values = np.float32(state["x_mean"]).reshape(expected.shape)
    grey = np.clip(expected, 0, 1)
    pixels = np.reshape(state["pixels"], (*expected.shape[:2], 4))
    errors = (
        np.abs(values - expected).max(),
        np.abs(pixels[..., :3] / 255 - grey.reshape(*expected.shape[:2], -1)).max(),
    )
    if state["seed"] is None:
        return *errors, None
    condition = {} if c is None else {"condition": c}
    return *errors, np.abs(values - vae.sample(1, seed=state["seed"], **condition)[0]).max()


def main(model="mnist_conv", bundle="bundle", screenshot=None):
    import kvae

    vae = kvae.pretrained.load(model)
    with served() as url:
        seen = drive(f"{url}?bundle={bundle}", screenshot)
    for state in seen["shown"]:
        errors = zip(("values", "pixels", "vae.sample"), compare(vae, state), strict=True)
        errors = ", ".join(f"{name} {error:.1e}" for name, error in errors if error is not None)
        print(f"{state['file']:32} {state['action']:14} {errors}")
    for name in ("speed", "check"):
        print(seen["figures"][name])
    print(f"errors: {seen['errors'] or 'none'}; requests to other servers: {seen['elsewhere'] or 'none'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
