# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a trained model to a phone
#
# A trained VAE leaves as a bundle: one folder with its decoder in several sizes, what is known of it, and what is needed to
# check it elsewhere. Here it is made, run without Keras, asked for samples and for scores, damaged, and weighed. The apps
# that load such a bundle are in `examples/web`, which runs in any browser, and `examples/android`.
#
# The model is one of those that ship: MNIST, where it can be had (see `kvae.data.load`), else the 8x8 digits.

# %%
import os
import pathlib
import shutil
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import matplotlib.pyplot as plt
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from IPython.display import Image
from sklearn.metrics import roc_auc_score

import kvae

try:
    data, vae = kvae.data.mnist(), kvae.pretrained.load("mnist_conv")
    x_test = kvae.data.binarize(data.x_test[:300], seed=777)
except ConnectionError:
    data, vae = kvae.data.digits(), kvae.pretrained.load("digits_dense")
    x_test = data.x_test
os.chdir(tempfile.mkdtemp())
vae.latent_dim, vae.data_shape

# %% [markdown]
# ## The bundle
#
# One call, which is also the command `kvae export mnist_conv out`. Each file is run, compared with the Keras model and
# measured before the folder appears. Times are of one image at a time on one thread of this machine, and the error is the
# largest of any pixel.

# %%
report = kvae.export.bundle(vae, "out")
print(report)

# %%
for path in sorted(pathlib.Path("out").rglob("*")):
    if path.is_file() and "saved_model" not in path.parts:
        print(path)

# %% [markdown]
# Its picture: the same z, by Keras and by each file.

# %%
Image("out/comparison.png", width=600)

# %% [markdown]
# Smaller is not always faster, and never more exact. A file of weights in float16 is half as large and computes in float32
# on a CPU; int8 is the only one that also computes with whole numbers.

# %%
rows = [row for row in report.rows if "decoder_" in row.file]
figure, axes = plt.subplots(1, 3, figsize=(9, 2.4), layout="constrained")
for axis, title, values in (
    (axes[0], "kB", [row.num_bytes / 1000 for row in rows]),
    (axes[1], "ms per image", [row.median_ms for row in rows]),
    (axes[2], "largest error", [row.max_error for row in rows]),
):
    axis.barh([row.precision for row in rows], values)
    axis.set(title=title)
    axis.invert_yaxis()
axes[2].set_xscale("log")
plt.close(figure)
figure

# %% [markdown]
# ## Run a file
#
# A phone has no Keras and no kvae. This is all it takes with LiteRT: a file, the name of a function, arrays by name. A row
# of images from int8, and of the differences from Keras, ten times as strong.

# %%
decoder = Interpreter("out/litert/decoder_int8.tflite")
decode = decoder.get_signature_runner("decode")
z = kvae.random.normal(seed=5, stream=0, row=np.arange(10), dim=vae.latent_dim).numpy()
images = np.concatenate([decode(z=row[None])["x_mean"] for row in z])
differences = np.abs(images - vae.decode(z).mean().numpy())
kvae.plots.grid(
    np.concatenate([images, np.clip(10 * differences, 0, 1)]),
    columns=10,
    value_range=(0, 1),
    row_labels=["int8", "error x 10"],
)

# %% [markdown]
# ## Sample on the device
#
# `vae_float32.tflite` also holds `encode`, `reconstruct`, `sample` and `score`. Its random numbers are computed in the
# file, from a seed and a row: on every device the same as here, so what a user saw can be seen again.

# %%
functions = Interpreter("out/litert/vae_float32.tflite")
sample = functions.get_signature_runner("sample")
draws = [sample(seed=np.int32(2026), stream=np.int32(row)) for row in range(10)]
on_device = np.concatenate([each["x_mean"] for each in draws])
in_keras = vae.sample(10, seed=2026)
z_in_keras = kvae.random.normal(seed=2026, stream=np.arange(10), row=0, dim=vae.latent_dim).numpy()

print(f"largest difference of z: {np.abs(np.concatenate([each['z'] for each in draws]) - z_in_keras).max():.1e}")
print(f"largest difference of E[x|z]: {np.abs(on_device - in_keras).max():.1e}")
kvae.plots.grid(
    np.concatenate([on_device, in_keras]), columns=10, value_range=(0, 1), row_labels=["on the device", "vae.sample"]
)

# %% [markdown]
# ## Score: what is unlike the training data
#
# `score` is a lower bound on log p(x), in nats, with one draw of z: low for what the model would not draw. Test images, and
# the same images spoiled in three ways. The figure is the area under the ROC curve: how often a good image scores higher
# than a spoiled one.

# %%
exported = kvae.export.load("out")
rng = np.random.default_rng(0)
spoiled = {
    "a quarter turn": np.rot90(x_test, axes=(1, 2)),
    "upside down": x_test[:, ::-1],
    "5% of the pixels flipped": np.where(rng.random(x_test.shape) < 0.05, 1 - x_test, x_test),
}
good = exported.score(x_test, seed=1)
scores = {name: exported.score(x, seed=1) for name, x in spoiled.items()}
print(f"{'test images':26} {good.mean():8.1f} nats")
for name, values in scores.items():
    area = roc_auc_score(np.repeat([1, 0], [len(good), len(values)]), np.concatenate([good, values]))
    print(f"{name:26} {values.mean():8.1f} nats, area under the curve {area:.3f}")

# %%
figure, axis = plt.subplots(figsize=(7, 2.6), layout="constrained")
edges = np.histogram_bin_edges(np.concatenate([good, *scores.values()]), 60)
for name, values in {"test images": good, **scores}.items():
    axis.hist(values, edges, alpha=0.5, label=name)
axis.set(xlabel="score, nats", ylabel="images")
axis.legend(frameon=False)
plt.close(figure)
figure

# %% [markdown]
# The test images of the lowest scores and the turned ones of the highest show what the score knows and what it does not. It
# is a density, not a judgement: simple images score high even where they are wrong (Nalisnick et al. 2019, arXiv
# 1810.09136). On MNIST, an empty image is the plainest case.

# %%
worst, best = np.argsort(good)[:8], np.argsort(-scores["a quarter turn"])[:8]
empty = exported.score(np.zeros_like(x_test[:1]), seed=1)[0]
print(f"an empty image: {empty:.1f} nats, higher than {np.mean(empty > good):.0%} of the test images")
kvae.plots.grid(
    np.concatenate([x_test[worst], spoiled["a quarter turn"][best]]),
    columns=8,
    row_labels=["lowest test images", "highest turned ones"],
)

# %% [markdown]
# ## Verify, wherever it went
#
# The bundle knows what it was: `kvae verify out` needs neither the model nor the machine that made it.

# %%
print(kvae.export.verify("out"))

# %% [markdown]
# One bit of a copy is lost on the way, two files are exchanged, one stays behind, and somebody is generous with a tolerance:

# %%
NAMES = ["litert/decoder_float32.tflite", "litert/decoder_int8.tflite", "golden/z.bin", "kvae_export.json"]


def lose_a_bit(first, *others):
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)


def exchange(first, second, *others):
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)


def leave_behind(first, second, third, *others):
    third.unlink()


def edit(*files):
    files[-1].write_text(files[-1].read_text().replace('"tolerance": 1e-05', '"tolerance": 0.5'))


for damage in (lose_a_bit, exchange, leave_behind, edit):
    copy = pathlib.Path(shutil.copytree("out", damage.__name__))
    damage(*(copy / name for name in NAMES))
    try:
        kvae.export.verify(copy)
    except kvae.export.VerificationError as error:
        print(f"{type(error).__name__}: {error}\n")
