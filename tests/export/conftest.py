import pytest
from exporting import CASES, inputs

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


@pytest.fixture(params=["saved_model", "tflite"])
def export(request):
    """Each exporter in turn, as a function (vae, folder, **arguments) that exports to `target(folder)`."""

    def run(vae, folder, **arguments):
        return getattr(kvae.export, request.param)(vae, run.target(folder), **arguments)

    run.target = lambda folder: folder / {"saved_model": "exported", "tflite": "exported.tflite"}[request.param]
    return run
