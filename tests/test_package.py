"""The package as a whole: what importing it needs, brings and says."""

import os
import re
import subprocess
import sys
from importlib import metadata

import pytest

import kvae


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_is_refused_in_one_line(backend):
    run = python("import kvae", KERAS_BACKEND=backend)
    assert run.returncode == 1
    error = run.stderr.strip().splitlines()[-1]
    assert re.match(f"ImportError: kvae needs the TensorFlow backend.*'{backend}'.*Set KERAS_BACKEND=tensorflow", error)


def test_backend_of_the_configuration_file_is_refused(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    run = python("import os; os.environ.pop('KERAS_BACKEND', None); import kvae", KERAS_HOME=str(tmp_path))
    assert run.returncode == 1
    error = run.stderr.strip().splitlines()[-1]
    assert error.startswith("ImportError: kvae needs") and error.endswith("Set KERAS_BACKEND=tensorflow.")


def test_import_brings_nothing_heavy_of_its_own():
    script = """
import sys
import keras, tensorflow, tensorflow_probability
tensorflow_probability.distributions.Normal
before = {name.split('.')[0] for name in sys.modules}
import kvae
print(sorted({name.split('.')[0] for name in sys.modules} - before - set(sys.stdlib_module_names)))
"""
    run = python(script)
    assert run.stdout.strip() == "['kvae']", run.stderr


def test_version_stands_in_one_place():
    assert metadata.version("kvae") == kvae.__version__


def test_every_public_name_is_there():
    for name in kvae.__all__:
        assert getattr(kvae, name) is not None
