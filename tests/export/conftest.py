import contextlib
import sys

import pytest
from exporting import CASES, inputs, make_vae

import kvae.export


@pytest.fixture(scope="session")
def models():
    return {name: make() for name, make in CASES.items()}


@pytest.fixture(scope="session")
def model_inputs(models):
    return {name: inputs(vae) for name, vae in models.items()}


@pytest.fixture(scope="session")
def saved_models(models, tmp_path_factory):
    """(folder, reports by case): every case as a SavedModel `folder/case`."""
    folder = tmp_path_factory.mktemp("saved_models")
    return folder, {name: kvae.export.saved_model(vae, folder / name) for name, vae in models.items()}


@pytest.fixture(scope="session")
def tflite_files(models, tmp_path_factory):
    """(folder, reports by case): every case as a file `folder/case.tflite`."""
    folder = tmp_path_factory.mktemp("tflite_files")
    return folder, {name: kvae.export.tflite(vae, folder / f"{name}.tflite") for name, vae in models.items()}


@contextlib.contextmanager
def without_processes():
    """Leaves out what is measured and checked in processes of their own, which takes most of the time of a bundle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["kvae.export.benchmark"], "memory", lambda *arguments: None)
        patch.setattr(sys.modules["kvae.export.verification"], "check_reload", lambda *arguments: "left out")
        yield


@pytest.fixture
def one_process():
    with without_processes():
        yield


@pytest.fixture(scope="session")
def conditional_bundle(models, tmp_path_factory):
    """(folder, report): a bundle of data that are no images, without ONNX."""
    out = tmp_path_factory.mktemp("conditional") / "out"
    with without_processes():
        return out, kvae.export.bundle(models["conditional"], out, precisions="float32", onnx=False)


@pytest.fixture(scope="session")
def image_bundle(tmp_path_factory):
    """(folder, report, VAE): a whole bundle of image data."""
    vae, out = make_vae("conv", (8, 8, 1)), tmp_path_factory.mktemp("bundles") / "out"
    return out, kvae.export.bundle(vae, out), vae


@pytest.fixture(params=["saved_model", "tflite"])
def export(request):
    """Each exporter in turn, as a function (vae, folder, **arguments) that exports to `target(folder)`."""

    def run(vae, folder, **arguments):
        return getattr(kvae.export, request.param)(vae, run.target(folder), **arguments)

    run.target = lambda folder: folder / {"saved_model": "exported", "tflite": "exported.tflite"}[request.param]
    return run
