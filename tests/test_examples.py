"""The examples read what a bundle has; the page, where npm and Chromium have been, draws what the Keras model decodes."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from building import make_vae

import kvae.export

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
WEB, ANDROID = EXAMPLES / "web", EXAMPLES / "android"
SCRIPTS = [*sorted(WEB.glob("*.js")), *sorted((WEB / "test").glob("*.mjs"))]


@pytest.fixture(scope="module")
def vae():
    return make_vae(prior=kvae.priors.NormalMixture(num_components=3))


@pytest.fixture(scope="module")
def bundle(vae, tmp_path_factory):
    out = tmp_path_factory.mktemp("examples") / "bundle"
    with pytest.MonkeyPatch.context() as patch:  # without what is measured and checked in processes of their own
        patch.setattr(sys.modules["kvae.export.benchmark"], "memory", lambda *arguments: None)
        patch.setattr(sys.modules["kvae.export.verification"], "check_reload", lambda *arguments: "left out")
        kvae.export.bundle(vae, out, precisions=("float32", "int8"), onnx=False)
    return out


@pytest.fixture(scope="module")
def manifest(bundle):
    return json.loads((bundle / "kvae_export.json").read_text())


def at(content, path):
    for key in path.split("."):
        content = content[key]
    return content


def test_the_page_refers_to_files_that_exist():
    page = (WEB / "index.html").read_text()
    local = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page)
    assert "app.js" in local
    assert all((WEB / name).is_file() for name in local)
    assert all((WEB / name).is_file() for name in re.findall(r"\]\(([\w.]+)\)", (WEB / "README.md").read_text()))
    identifiers = {name for script in SCRIPTS[:2] for name in re.findall(r'element\("(\w+)"\)', script.read_text())}
    assert identifiers == set(re.findall(r'id="(\w+)"', page))


def test_the_page_imports_what_the_lock_file_pins():
    package, lock = (json.loads((WEB / name).read_text()) for name in ("package.json", "package-lock.json"))
    for kind in ("dependencies", "devDependencies"):
        for name, version in package[kind].items():
            assert lock["packages"][f"node_modules/{name}"]["version"] == version
    imports = json.loads(re.search(r'type="importmap">(.*?)</script>', (WEB / "index.html").read_text(), re.DOTALL)[1])
    assert all(f"node_modules/{name}" in lock["packages"] for name in imports["imports"])
    assert not any("resolved" in each for each in lock["packages"].values())


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, which checks the syntax of JavaScript")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_parse(script):
    subprocess.run(["node", "--check", str(script)], check=True, capture_output=True)


def test_the_manifest_has_what_the_page_reads(manifest):
    scripts = "".join(script.read_text() for script in SCRIPTS).replace("?.", ".")  # where there may be none
    paths = set(re.findall(r"\bmanifest\.((?:\w+\.)*\w+)", scripts))
    assert {"model.latent_dim", "model.data_shape", "prior.class", "likelihood.support"} <= paths
    for path in paths:
        at(manifest, path)
    for model in manifest["models"].values():
        assert {"format", "precision", "bytes", "signatures"} <= set(model)


def test_the_bundle_has_what_the_page_runs(bundle, manifest):
    files = {name: each["signatures"] for name, each in manifest["models"].items() if each["format"] == "tflite"}
    assert all((bundle / name).is_file() for name in files)
    decoders = [signatures["decode"] for signatures in files.values()]
    assert all(set(each["inputs"]) == {"z"} and set(each["outputs"]) == {"x_mean"} for each in decoders)
    (sampler,) = [signatures["sample"] for signatures in files.values() if "sample" in signatures]
    assert set(sampler["inputs"]) == {"seed", "stream"} and "z" in sampler["outputs"]
    golden = json.loads((bundle / "golden" / "golden.json").read_text())["arrays"]
    for name in ("z", "x_mean"):
        assert (bundle / "golden" / golden[name]["file"]).is_file()
    known = re.search(r"ARRAYS = \{(.*)\}", (WEB / "decoder.js").read_text())[1]
    assert {each["dtype"] for each in golden.values()} <= set(re.findall(r"(\w+):", known))


CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


@pytest.mark.skipif(
    shutil.which("node") is None or not (WEB / "node_modules").is_dir() or not pathlib.Path(CHROMIUM).is_file(),
    reason="needs node, Chromium, and `npm install` in examples/web",
)
def test_the_page_draws_what_the_model_decodes(vae, bundle, manifest, tmp_path):
    spec = importlib.util.spec_from_file_location("parity", WEB / "test" / "parity.py")
    parity = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parity)
    site = tmp_path / "site"
    shutil.copytree(WEB, site, ignore=shutil.ignore_patterns("node_modules", "bundle"))
    (site / "node_modules").symlink_to(WEB / "node_modules")
    (site / "bundle").symlink_to(bundle)
    with parity.served(site) as url:
        seen = parity.drive(url)
    assert seen["errors"] == seen["elsewhere"] == []
    assert {state["file"] for state in seen["shown"]} == {
        name for name, each in manifest["models"].items() if each["format"] == "tflite"
    }
    assert len({tuple(state["z"]) for state in seen["shown"][:4]}) == 4
    for state in seen["shown"]:
        values, pixels, sample = parity.compare(vae, state)
        tolerance = manifest["models"][state["file"]]["tolerance"]
        assert values <= tolerance
        assert pixels <= values + 0.5001 / 255  # the rounding of a pixel
        assert (sample is None) == (state["action"] != "New sample")
        # The samplers of two libraries differ by a few units in the last place of z.
        assert sample is None or sample <= tolerance + 1e-5


# The app for Android is not built here; what it reads is looked up.


def kotlin():
    return "".join(path.read_text() for path in sorted(ANDROID.rglob("*.kt")))


def test_the_manifest_has_what_the_app_reads(manifest):
    paths = [
        ".".join(re.findall(r'"(\w+)"', chain))
        for chain in re.findall(r'manifest((?:\.get\w+\("\w+"\))+)', re.sub(r"\s+", "", kotlin()))
    ]
    assert "model.latent_dim" in paths and "model.data_shape" in paths
    for path in paths:
        at(manifest, path)


def test_the_app_runs_signatures_that_exist(manifest):
    signatures = manifest["models"]["litert/vae_float32.tflite"]["signatures"]
    found = re.findall(r'create(In|Out)putBuffer\("(\w+)", "(\w+)"\)', kotlin())
    files = {pathlib.PurePosixPath(name).name for name in manifest["models"]}
    assert set(re.findall(r'"(\w+\.tflite)"', kotlin())) <= files
    assert ("In", "z", "decode") in found and ("Out", "z", "sample") in found
    for side, key, name in found:
        assert key in signatures[name][f"{side.lower()}puts"]
