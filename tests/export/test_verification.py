"""`kvae.export.verify`: what it passes, and every kind of damage that it must name."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
from exporting import make_vae

import kvae
import kvae.export
from kvae.export import flatbuffer, golden, manifest, references

verification = sys.modules["kvae.export.verification"]


@pytest.fixture
def copied(image_bundle, tmp_path):
    """The path of a copy of the bundle, which may be damaged."""
    return shutil.copytree(image_bundle[0], tmp_path / "copied")


def rewrite(folder, change=lambda content: None):
    """Makes the manifest of a changed bundle agree with its files again."""
    content = manifest.read(folder)
    change(content)
    manifest.write(folder, {**content, "files": manifest.listing(folder)})


def replace_vectors(folder, **changed):
    vectors = {**golden.read(folder / "golden"), **changed}
    shutil.rmtree(folder / "golden")
    golden.write(folder / "golden", vectors)
    rewrite(folder)


def test_a_bundle_from_anywhere(copied):
    report = kvae.export.verify(copied)
    assert [each.name for each in report.checks] == [
        "files", "structure", "operations", "golden vectors", "64 prior draws, 0, +-3", "sampler", "without Keras",
        "onnxruntime", "latency",
    ]  # fmt: skip
    text = str(report)
    assert text.startswith(f"{copied}: verified\n")
    assert "LOGISTIC 1" in text and "ran onnx/decoder.onnx" in text
    assert re.search(r"int8 takes \d+\.\d\d times as long as float32", text)
    assert "(litert/vae_float32.tflite)" in {each.name: each.detail for each in report.checks}["sampler"]


def test_single_exports(image_bundle, tmp_path):
    out = image_bundle[0]
    for name in ("litert/decoder_int8.tflite", "litert/vae_float32.tflite", "onnx/decoder.onnx"):
        assert "decode" in str(kvae.export.verify(out / name))
    assert "without Keras" in str(kvae.export.verify(out / "saved_model" / "1"))


# Damage


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def exchange(path):
    other = path.with_name("decoder_float16.tflite")
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, r"litert/decoder_int8\.tflite was changed: same size, other bytes"),
        (truncate, r"litert/decoder_int8\.tflite has \d+ bytes instead of \d+"),
        (lambda path: path.unlink(), r"litert/decoder_int8\.tflite is missing"),
        (
            exchange,
            r"decoder_float16\.tflite was exchanged: it is litert/decoder_int8\.tflite; "
            r"litert/decoder_int8\.tflite was exchanged: it is litert/decoder_float16\.tflite",
        ),
    ],
)
def test_damaged_files_are_named(copied, damage, message):
    damage(copied / "litert" / "decoder_int8.tflite")
    with pytest.raises(kvae.export.DamageError, match=message):
        kvae.export.verify(copied)


@pytest.mark.parametrize(
    "name", ["golden/x_mean.bin", "README.md", "saved_model/1/saved_model.pb", "snippets/decode.py"]
)
def test_every_file_counts(copied, name):
    flip(copied / name)
    with pytest.raises(kvae.export.DamageError, match=f"is damaged: {re.escape(name)} was changed"):
        kvae.export.verify(copied)


def test_edited_manifest(copied):
    path = copied / "kvae_export.json"
    content = json.loads(path.read_text())
    content["models"]["litert/decoder_int8.tflite"]["max_error"] /= 2
    path.write_text(json.dumps(content))
    for function in (kvae.export.verify, kvae.export.load):
        with pytest.raises(kvae.export.DamageError, match=r"kvae_export\.json' was edited: .* digest"):
            function(copied)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("{}", "cannot be read: KeyError"),
        ("[]", "cannot be read"),
        ('{"format_version": 2, "sha256": "", "versions": {"kvae": "9.0"}}', "format_version 2.* Use the kvae .* 9.0"),
    ],
)
def test_broken_manifest(copied, text, message):
    (copied / "kvae_export.json").write_text(text)
    with pytest.raises(kvae.export.DamageError, match=message):
        kvae.export.verify(copied)


def test_no_bundle(tmp_path):
    with pytest.raises(kvae.export.DamageError, match=r"is no bundle: it holds no kvae_export\.json"):
        kvae.export.verify(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no .*absent"):
        kvae.export.verify(tmp_path / "absent")
    (tmp_path / "decoder.tflite").write_bytes(b"junk" * 100)
    with pytest.raises(kvae.export.DamageError, match="cannot be read: it is damaged"):
        kvae.export.verify(tmp_path / "decoder.tflite")


# A manifest that agrees with its files, but not with what they compute


def test_recorded_structure(copied):
    def change(content):
        content["models"]["onnx/decoder.onnx"]["signatures"]["decode"]["inputs"]["z"]["shape"] = [None, 4]

    rewrite(copied, change)
    with pytest.raises(kvae.export.StructureError, match=r"onnx/decoder\.onnx has other signatures than recorded"):
        kvae.export.verify(copied)


def test_recorded_size(copied):
    def change(content):
        content["models"]["litert/decoder_float32.tflite"]["num_weights"] *= 10

    rewrite(copied, change)
    with pytest.raises(kvae.export.StructureError, match="fewer than"):
        kvae.export.verify(copied)


def test_recorded_operations(copied):
    def change(content):
        content["models"]["litert/decoder_float32.tflite"]["operations"][0][1] += 1

    rewrite(copied, change)
    with pytest.raises(kvae.export.StructureError, match=r"decoder_float32\.tflite has the operations"):
        kvae.export.verify(copied)


def test_values_off(copied):
    vectors = golden.read(copied / "golden")
    replace_vectors(copied, x_mean=vectors["x_mean"] + np.float32(2e-5))
    with pytest.raises(
        kvae.export.ParityError, match="does not agree with the golden vectors: the largest error is 2e-05"
    ):
        kvae.export.verify(copied)


def test_file_of_another_model(copied, tmp_path):
    """Of the same structure, with manifest and golden vectors that know nothing of it."""
    vae = make_vae("conv", (8, 8, 1))
    vae.decoder.set_weights([1.01 * each for each in vae.decoder.get_weights()])
    kvae.export.tflite(vae, copied / "litert" / "decoder_float32.tflite", overwrite=True)
    rewrite(copied, lambda content: content["models"]["litert/decoder_float32.tflite"].update(bytes=_bytes(copied)))
    with pytest.raises(kvae.export.ParityError, match=r"litert/decoder_float32\.tflite does not agree with the golden"):
        kvae.export.verify(copied)


def _bytes(folder):
    return (folder / "litert" / "decoder_float32.tflite").stat().st_size


def test_values_that_are_not_finite(copied, monkeypatch):
    real = kvae.export.Exported.run

    def run(exported, name, **inputs):
        outputs = real(exported, name, **inputs)
        return {key: values * np.nan if "int8" in exported.path.name else values for key, values in outputs.items()}

    monkeypatch.setattr(kvae.export.Exported, "run", run)
    with pytest.raises(kvae.export.ParityError, match=r"decoder_int8\.tflite gives 512 NaN or infinite values of 512"):
        kvae.export.verify(copied)


def test_sampler_of_other_words(copied):
    threefry = golden.read(copied / "golden")["threefry"].copy()
    threefry[5, 4] ^= 1
    replace_vectors(copied, threefry=threefry)
    with pytest.raises(kvae.export.SamplerError, match="Threefry of "):
        kvae.export.verify(copied)


def test_sampler_of_other_draws(image_bundle, monkeypatch):
    real = kvae.export.Exported.run

    def run(exported, name, **inputs):
        outputs = real(exported, name, **inputs)
        return {**outputs, "z": outputs["z"] + 1e-4} if "stream" in inputs else outputs

    monkeypatch.setattr(kvae.export.Exported, "run", run)
    with pytest.raises(kvae.export.SamplerError, match=r"vae_float32\.tflite draws other z than kvae.random"):
        kvae.export.verify(image_bundle[0])


def test_reload(image_bundle):
    saved, vectors = image_bundle[0] / "saved_model" / "1", golden.read(image_bundle[0] / "golden")
    vectors["x_mean"] = vectors["x_mean"] + np.float32(0.1)
    with pytest.raises(
        kvae.export.ReloadError, match=r"gives other values without Keras: the largest difference is 0\.1"
    ):
        verification.check_reload(saved, vectors)


def test_reload_that_fails(image_bundle, monkeypatch):
    monkeypatch.setattr(verification, "_RELOAD", "raise ImportError('keras is blocked')")
    with pytest.raises(kvae.export.ReloadError, match="does not run without Keras: ImportError: keras is blocked"):
        verification.check_reload(image_bundle[0] / "saved_model" / "1")


def test_slow_int8(image_bundle, monkeypatch, one_process):
    monkeypatch.setattr(verification, "ratio", lambda exported, baseline: 39.0)
    with pytest.raises(kvae.export.LatencyError, match=r"int8 decoder takes 39\.0 times as long as float32"):
        kvae.export.verify(image_bundle[0])


def test_without_onnxruntime(image_bundle, monkeypatch, one_process):
    monkeypatch.setattr(verification, "available", lambda *modules: False)
    assert "not installed, ONNX left out" in str(kvae.export.verify(image_bundle[0]))


def test_metadata_of_tflite(image_bundle):
    data = (image_bundle[0] / "litert" / "decoder_float32.tflite").read_bytes()
    assert re.fullmatch(r"\d+\.\d+\.\d+", flatbuffer.metadata(data)["min_runtime_version"])


def test_what_is_verified_is_what_the_export_was_compared_at(image_bundle, conditional_bundle, models):
    """Else a file that is just good enough may be exported, and refused at other draws."""
    for out, vae in ((image_bundle[0], image_bundle[2]), (conditional_bundle[0], models["conditional"])):
        inputs = verification._draws(kvae.export.load(out, format="saved_model"), golden.read(out / "golden"))
        z, c = references.probes(vae)
        np.testing.assert_allclose(inputs["z"], z, atol=1e-6)  # samplers of two libraries
        assert c is None or np.array_equal(inputs["c"], c)
