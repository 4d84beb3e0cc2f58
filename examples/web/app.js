// The page: sliders over z, drawn live. `?bundle=FOLDER/` names another bundle than `bundle/`.

import { Bundle, largestError } from "./decoder.js";

const SECONDS_PER_MORPH = 2;
const TIMES_KEPT = 60; // a clock of 0.1 ms is too coarse for one decode, not for their mean

const element = (id) => document.getElementById(id);

/** What is shown. Everything that changes it calls `draw`. */
export const view = { bundle: null, golden: null, model: null, sampler: null, z: [], c: undefined, range: [0, 1], x_mean: null };

let drawing = null;
let stale = false;
let times = [];

/** Decodes and draws; changes that come meanwhile are drawn together afterwards. */
export function draw() {
  stale = true;
  drawing ??= (async () => {
    while (stale) {
      stale = false;
      const start = performance.now();
      const { x_mean } = await view.model.run("decode", { z: view.z, c: view.c });
      times = [performance.now() - start, ...times].slice(0, TIMES_KEPT);
      view.x_mean = x_mean;
      paint(x_mean);
      await new Promise(requestAnimationFrame);
    }
    drawing = null;
  })();
  return drawing;
}

function paint(x_mean) {
  const [height, width, channels] = imageShape();
  const [low, high] = view.range;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let channel = 0; channel < 3; channel++) {
      const value = x_mean[i * channels + (channels === 1 ? 0 : channel)];
      pixels.data[4 * i + channel] = (255 * (value - low)) / (high - low); // clamped and rounded by the array
    }
    pixels.data[4 * i + 3] = 255;
  }
  element("image").getContext("2d").putImageData(pixels, 0, 0);
  const mean = times.reduce((sum, each) => sum + each, 0) / times.length;
  element("speed").textContent = `${mean.toFixed(2)} ms per decode (mean of ${times.length})`;
}

/** [height, width, channels] of the data, where they are images. */
function imageShape() {
  const [height, width, channels = 1] = view.bundle.manifest.model.data_shape;
  return [height, width, channels];
}

/** What black and white stand for: the bounds of the data, or where there are none the extremes of the golden images. */
function valueRange() {
  const support = view.bundle.manifest.likelihood.support ?? [null, null];
  if (!support.includes(null)) return support;
  const values = view.golden.x_mean.flat();
  const low = values.reduce((a, b) => Math.min(a, b));
  return [low, Math.max(values.reduce((a, b) => Math.max(a, b)), low + 1e-6)];
}

// Sliders

function makeSliders() {
  const reach = view.golden.z.flat().reduce((most, value) => Math.max(most, Math.ceil(Math.abs(value))), 3);
  const classes = view.bundle.manifest.model.num_classes; // where c is a label
  for (const [input, values, low, high, step] of [
    ["z", view.z, -reach, reach, 0.01],
    ["c", view.c ?? [], 0, classes ? classes - 1 : 1, classes ? 1 : 0.01],
  ]) {
    values.forEach((_, index) => {
      const label = document.createElement("label");
      label.dataset.input = input;
      label.innerHTML = `<span>${input}<sub>${index}</sub></span><input type="range" /><output></output>`;
      const slider = label.querySelector("input");
      Object.assign(slider, { min: low, max: high, step });
      slider.addEventListener("input", () => {
        stopMorph();
        view[input][index] = slider.valueAsNumber;
        label.querySelector("output").textContent = slider.valueAsNumber.toFixed(2);
        draw();
      });
      element("sliders").append(label);
    });
  }
}

/** Shows another z, on the sliders too. */
function show(z) {
  view.z = [...z];
  const values = [...view.z, ...(view.c ?? [])];
  [...element("sliders").children].forEach((label, i) => {
    label.querySelector("input").value = values[i];
    label.querySelector("output").textContent = values[i].toFixed(2);
  });
  return draw();
}

// Samples: row 0 of `vae.sample(n, seed=seed)`, drawn by the file itself

async function sampledZ(seed) {
  return [...(await view.sampler.run("sample", { seed, stream: 0, c: view.c })).z];
}

async function sample(seed) {
  element("seed").value = seed;
  await show(await sampledZ(seed));
}

const seed = () => element("seed").valueAsNumber || 0;

/** From one draw to another: of normal z along an arc, on which all points are as likely as draws are. */
function between(a, b, t) {
  const arc = view.bundle.manifest.prior?.class === "StandardNormal";
  const [from, to] = arc ? [Math.cos((t * Math.PI) / 2), Math.sin((t * Math.PI) / 2)] : [1 - t, t];
  return a.map((value, i) => from * value + to * b[i]);
}

const morphing = () => element("morph").getAttribute("aria-pressed") === "true";
const stopMorph = () => element("morph").setAttribute("aria-pressed", "false");

async function morph() {
  element("morph").setAttribute("aria-pressed", "true");
  while (morphing()) {
    const [start, target, begin] = [view.z, await sampledZ(seed() + 1), performance.now()];
    for (let t = 0; t < 1 && morphing(); ) {
      t = Math.min((performance.now() - begin) / (1000 * SECONDS_PER_MORPH), 1);
      await show(between(start, target, t));
    }
    if (morphing()) element("seed").value = seed() + 1;
  }
}

// The start

async function choose(file) {
  element("file").disabled = true;
  const previous = view.model;
  view.model = await view.bundle.load(file);
  await drawing;
  previous?.delete();
  times = [];
  const error = await largestError(view.model, view.golden);
  const rows = view.golden.z.length;
  element("check").textContent = `Largest difference from the Keras model, over ${rows} golden z: ${error.toExponential(1)}`;
  await draw();
  element("file").disabled = false;
}

function listFiles(files) {
  for (const file of files) {
    const { bytes, precision } = view.bundle.manifest.models[file];
    element("file").add(new Option(`${precision}: ${file.split("/").pop()}, ${Math.round(bytes / 1000)} kB`, file));
  }
}

async function start() {
  const folder = new URLSearchParams(location.search).get("bundle") ?? "bundle";
  view.bundle = await Bundle.open(new URL(`${folder.replace(/\/*$/, "")}/`, location.href));
  view.golden = await view.bundle.golden();
  const { manifest } = view.bundle;
  const [height, width, channels] = imageShape();
  if (!width || ![1, 3].includes(channels) || view.golden.x_mean[0].length !== height * width * channels) {
    const { length } = view.golden.x_mean[0]; // of classes there are more than data
    throw new Error(`This page draws images. The data have the shape [${manifest.model.data_shape}], E[x|z] ${length} values.`);
  }
  Object.assign(element("image"), { width, height });
  view.z = Array(manifest.model.latent_dim).fill(0);
  view.c = view.golden.c && [...view.golden.c[0]];
  view.range = valueRange();
  element("about").textContent =
    `${manifest.model.name}: ${manifest.model.latent_dim} latents, ${manifest.prior?.class ?? "no"} prior, ` +
    `${manifest.likelihood.class} likelihood, exported by kvae ${manifest.versions.kvae}. Computed in this browser.`;
  makeSliders();

  const files = view.bundle.files("decode");
  listFiles(files);
  await choose(files[0]);
  await show(view.z);

  element("file").addEventListener("change", (event) => guard(choose(event.target.value)));
  element("zero").addEventListener("click", () => (stopMorph(), show(view.z.map(() => 0))));
  element("zero").disabled = false;
  const [sampler] = view.bundle.files("sample");
  if (sampler === undefined) return;
  view.sampler = await view.bundle.load(sampler);
  element("sample").addEventListener("click", () => (stopMorph(), guard(sample(seed() + 1))));
  element("seed").addEventListener("change", () => (stopMorph(), guard(sample(seed()))));
  element("morph").addEventListener("click", () => (morphing() ? stopMorph() : guard(morph())));
  for (const id of ["seed", "sample", "morph"]) element(id).disabled = false;
  await sample(seed());
}

/** Shows why something failed instead of leaving the page as it was. */
function guard(promise) {
  return promise.catch((error) => {
    element("about").textContent = error.message;
    element("about").className = "error";
    throw error;
  });
}

export const ready = guard(start());
