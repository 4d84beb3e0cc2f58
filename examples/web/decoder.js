// Runs the TFLite files of a bundle that kvae exported, in the browser, by LiteRT.js.

import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";

const WASM = new URL("./node_modules/@litertjs/core/wasm/", import.meta.url).href;
const ARRAYS = { float32: Float32Array, int32: Int32Array, uint32: Uint32Array, uint8: Uint8Array };

/** One TFLite file: its functions by name, from values to values. */
export class Model {
  constructor(compiled) {
    this.compiled = compiled;
  }

  static async load(url) {
    await (Model.runtime ??= loadLiteRt(WASM));
    return new Model(await loadAndCompile(url, { accelerator: "wasm" }));
  }

  /** {name: typed array} of the outputs of a signature, for {name: array or number} of its inputs. */
  async run(signature, values) {
    const runner = this.compiled.signatures[signature];
    const inputs = {};
    for (const { name, dtype, shape } of runner.getInputDetails()) {
      inputs[name] = new Tensor(ARRAYS[dtype].from([values[name]].flat()), [...shape]);
    }
    const outputs = await runner.run(inputs);
    const results = Object.entries(outputs).map(([name, tensor]) => [name, tensor.toTypedArray()]);
    // Nobody else frees what lies in the memory of WebAssembly.
    for (const tensor of [...Object.values(inputs), ...Object.values(outputs)]) tensor.delete();
    return Object.fromEntries(results);
  }

  delete() {
    this.compiled.delete();
  }
}

/** A folder that `kvae export MODEL FOLDER` made; `manifest` is its kvae_export.json. */
export class Bundle {
  constructor(url, manifest) {
    this.url = url;
    this.manifest = manifest;
  }

  static async open(url) {
    const bundle = new Bundle(url, null);
    bundle.manifest = await (await bundle.fetch("kvae_export.json")).json();
    if (bundle.manifest.format_version !== 1) {
      throw new Error(`This page reads format_version 1. Received: ${bundle.manifest.format_version}.`);
    }
    return bundle;
  }

  async fetch(name) {
    const response = await fetch(new URL(name, this.url));
    if (!response.ok) {
      throw new Error(`There is no ${response.url} (${response.status}). Make a bundle by: kvae export mnist_conv bundle`);
    }
    return response;
  }

  /** The paths of its TFLite files with a signature, those with the fewest others first. */
  files(signature) {
    const models = Object.entries(this.manifest.models);
    return models
      .filter(([, model]) => model.format === "tflite" && signature in model.signatures)
      .sort(([, a], [, b]) => Object.keys(a.signatures).length - Object.keys(b.signatures).length)
      .map(([path]) => path);
  }

  load(path) {
    return Model.load(new URL(path, this.url).href);
  }

  /** {name: array of rows} of the golden vectors: inputs, and what the Keras model made of them. */
  async golden() {
    const { arrays } = await (await this.fetch("golden/golden.json")).json();
    const rows = async ({ file, dtype, shape }) => {
      const values = new ARRAYS[dtype](await (await this.fetch(`golden/${file}`)).arrayBuffer());
      const size = values.length / shape[0];
      return Array.from({ length: shape[0] }, (_, row) => [...values.subarray(row * size, (row + 1) * size)]);
    };
    const read = Object.entries(arrays).map(async ([name, array]) => [name, await rows(array)]);
    return Object.fromEntries(await Promise.all(read));
  }
}

/** The largest difference of a decoder from the Keras model, over the golden vectors. */
export async function largestError(model, golden) {
  let largest = 0;
  for (const [row, expected] of golden.x_mean.entries()) {
    const { x_mean } = await model.run("decode", { z: golden.z[row], c: golden.c?.[row] });
    expected.forEach((value, i) => (largest = Math.max(largest, Math.abs(value - x_mean[i]))));
  }
  return largest;
}
