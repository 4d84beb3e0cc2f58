"""Where exports go, and bad input that both exporters refuse in the same words."""

import os

import keras
import numpy as np
import pytest
from exporting import listing, make_vae, randomised

import kvae
import kvae.export
from kvae.export import outputs


@pytest.fixture(scope="module")
def vae():
    return make_vae("dense", (6,))


@pytest.mark.parametrize("thing", [None, "vae.keras", keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])])
def test_no_vae(export, thing, tmp_path):
    with pytest.raises(TypeError, match=r"`vae` must be a kvae\.VAE\. Received: "):
        export(thing, tmp_path)


class Mlp(keras.Model):
    """A network whose shapes are known once it is called."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.dense = keras.layers.Dense(width)

    def call(self, values):
        return self.dense(values)


def test_not_built(export, tmp_path):
    vae = kvae.VAE(Mlp(4), Mlp(6))
    with pytest.raises(ValueError, match="The VAE is not built: .* Fit it, or call it on a batch"):
        export(vae, tmp_path)


def test_subclassed_networks(tmp_path):
    vae = kvae.VAE(Mlp(4), Mlp(6))
    vae(np.zeros((2, 6), "float32"))
    assert kvae.export.tflite(randomised(vae), tmp_path / "decoder.tflite").max_error <= 1e-5


def test_subclassed_networks_in_mixed_precision(tmp_path, dtype_policy):
    class WithConfig(Mlp):
        def get_config(self):
            return {**super().get_config(), "width": self.width}

    dtype_policy("mixed_float16")
    vae = kvae.VAE(WithConfig(4), WithConfig(6))
    vae(np.zeros((2, 6), "float32"))
    assert kvae.export.tflite(randomised(vae), tmp_path / "decoder.tflite").max_error <= 1e-5
    assert keras.config.dtype_policy().name == "mixed_float16"


def test_what_cannot_be_cloned(export, tmp_path, dtype_policy):
    class WithoutConfig(keras.layers.Layer):
        def __init__(self, factor, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def get_config(self):
            return {}

        def call(self, values):
            return self.factor * values

    dtype_policy("mixed_float16")
    decoder = keras.Sequential([kvae.networks.dense_decoder(3, (6,)), WithoutConfig(2.0)])
    vae = kvae.VAE(kvae.networks.dense_encoder((6,), 3), decoder)
    with pytest.raises(ValueError, match="cannot be cloned: .*get_config"):
        export(vae, tmp_path)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("path", [None, 3, ["decoder"]])
def test_no_path(vae, path):
    for exporter in (kvae.export.saved_model, kvae.export.tflite):
        with pytest.raises(TypeError, match=r"`path` must be a str or a pathlib.Path. Received: "):
            exporter(vae, path)


def test_empty_path(vae):
    for exporter in (kvae.export.saved_model, kvae.export.tflite):
        with pytest.raises(ValueError, match="empty string|must end in"):
            exporter(vae, "")


def test_relative_str_and_new_parents(vae, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(kvae.export.tflite(vae, "a/b/decoder.tflite").path) == "a/b/decoder.tflite"
    assert kvae.export.load("a/b/decoder.tflite").decode(np.zeros((2, 3))).shape == (2, 6)
    assert listing(tmp_path) == ["a", "a/b", "a/b/decoder.tflite"]


def test_existing_output(export, vae, tmp_path):
    export.target(tmp_path).touch()
    with pytest.raises(FileExistsError, match="exists. Pass overwrite=True"):
        export(vae, tmp_path)
    assert export.target(tmp_path).stat().st_size == 0


def test_parent_is_a_file(export, vae, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written: .*Give a path in a folder where you may write"):
        export(vae, tmp_path / "file")
    assert listing(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_folder_without_permission(export, vae, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="cannot be written: Permission denied"):
        export(vae, tmp_path / "locked")


def test_failure_of_the_last_step(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    for new in (
        outputs.new_file(tmp_path / "new" / "a.x", ".x", overwrite=False),
        outputs.new_folder(tmp_path / "new" / "a", overwrite=False, marker="marker"),
    ):
        with pytest.raises(PermissionError, match="cannot be written: Permission denied"), new:
            pass
        assert listing(tmp_path) == []


def test_old_folder_comes_back_when_the_last_step_fails(tmp_path, monkeypatch):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "marker").touch()
    rename, calls = os.rename, []

    def refuse_second(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse_second)
    with pytest.raises(PermissionError), outputs.new_folder(tmp_path / "old", True, "marker"):
        pass
    assert listing(tmp_path) == ["old", "old/marker"]


def test_folders_of_others_are_not_replaced(vae, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").touch()
    with pytest.raises(FileExistsError, match=r"holds no saved_model\.pb.*left alone"):
        kvae.export.saved_model(vae, tmp_path / "thesis", overwrite=True)
    with pytest.raises(FileExistsError, match="left alone"):
        kvae.export.saved_model(vae, tmp_path / "thesis" / "chapter.txt", overwrite=True)
    (tmp_path / "folder.tflite").mkdir()
    with pytest.raises(FileExistsError, match="which is a folder"):
        kvae.export.tflite(vae, tmp_path / "folder.tflite", overwrite=True)
    assert listing(tmp_path) == ["folder.tflite", "thesis", "thesis/chapter.txt"]


def test_what_others_made_meanwhile_is_not_replaced(tmp_path):
    def export(new, make):
        with new:
            make()

    file = outputs.new_file(tmp_path / "a.x", ".x", overwrite=False)
    with pytest.raises(FileExistsError, match="Pass overwrite=True"):
        export(file, lambda: (tmp_path / "a.x").write_text("theirs"))
    for overwrite, message in ((False, "Pass overwrite=True"), (True, "left alone")):
        path = tmp_path / f"folder {overwrite}"
        with pytest.raises(FileExistsError, match=message):
            export(
                outputs.new_folder(path, overwrite, "marker"), lambda path=path: (path / "theirs").mkdir(parents=True)
            )
    assert (tmp_path / "a.x").read_text() == "theirs"
    assert listing(tmp_path) == ["a.x", "folder False", "folder False/theirs", "folder True", "folder True/theirs"]


def test_empty_folder_may_be_filled(tmp_path):
    with outputs.new_folder(tmp_path, True, "marker") as folder:
        (folder / "marker").touch()
    assert listing(tmp_path) == ["marker"]


def test_what_a_link_points_to_is_replaced(tmp_path):
    (tmp_path / "real.bin").write_text("old")
    (tmp_path / "link.tflite").symlink_to(tmp_path / "real.bin")
    with outputs.new_file(tmp_path / "link.tflite", ".tflite", overwrite=True) as file:
        assert file.suffix == ".tflite"
        file.write_text("new")
    assert (tmp_path / "real.bin").read_text() == "new"
    assert (tmp_path / "link.tflite").is_symlink()


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupted():
        with outputs.new_file(tmp_path / "a" / "b" / "c.x", ".x", overwrite=False) as file:
            file.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert listing(tmp_path) == []
