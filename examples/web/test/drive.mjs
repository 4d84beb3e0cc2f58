// Uses the page as a person does, in headless Chromium, and prints what it showed: a JSON list of
// {file, action, seed, z, c, x_mean, pixels}.   node test/drive.mjs URL [SCREENSHOT.png]

import { chromium } from "playwright-core";

const [url, screenshot] = process.argv.slice(2);
const flags = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"];
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  chromiumSandbox: process.getuid() !== 0, // root has none
  args: [...flags, "--disable-component-update"],
});
const page = await browser.newPage({ viewport: { width: 1000, height: 680 } });
page.setDefaultTimeout(60_000);
const errors = [];
page.on("pageerror", (error) => errors.push(error.message));
const elsewhere = [];
page.on("request", (request) => {
  const origin = new URL(request.url()).origin;
  if (origin !== new URL(url).origin && origin !== "null") elsewhere.push(request.url());
});

const shown = [];

async function note(action, seed = null) {
  const state = await page.evaluate(async () => {
    const { view, draw } = await import("./app.js");
    await draw();
    const canvas = document.getElementById("image");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const copy = (values) => (values === undefined ? null : [...values]);
    return { z: copy(view.z), c: copy(view.c), x_mean: copy(view.x_mean), pixels: [...data] };
  });
  shown.push({ file: await page.locator("#file").inputValue(), action, seed, ...state });
}

await page.goto(url);
await page.evaluate(async () => (await import("./app.js")).ready);
const files = await page.locator("#file option").evaluateAll((options) => options.map((option) => option.value));
for (const file of files) {
  await page.locator("#file").selectOption(file);
  await page.locator("#file:enabled").waitFor();

  await page.locator("#seed").fill("1234");
  await page.locator("#seed").press("Enter");
  const before = await page.locator("#sliders").innerText();
  await page.locator("#sample").click();
  await page.waitForFunction((text) => document.getElementById("sliders").innerText !== text, before);
  await page.waitForFunction(() => document.getElementById("seed").value === "1235");
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 200)));
  await note("New sample", 1235);

  const sliders = page.locator("#sliders input");
  await sliders.first().focus();
  for (let i = 0; i < 25; i++) await page.keyboard.press("ArrowRight");
  const last = await sliders.last().boundingBox();
  await page.mouse.move(last.x + last.width / 2, last.y + last.height / 2);
  await page.mouse.down();
  await page.mouse.move(last.x + 0.9 * last.width, last.y + last.height / 2, { steps: 10 });
  await page.mouse.up();
  await note("sliders moved");

  await page.locator("#morph").click();
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 700)));
  await page.locator("#morph").click();
  await note("Morph stopped");

  await page.locator("#zero").click();
  await note("z = 0");
}
if (screenshot) {
  await page.locator("#file").selectOption(files[0]);
  await page.locator("#file:enabled").waitFor();
  await page.locator("#morph").click(); // for as many decodes as the mean is over
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 2500)));
  await page.locator("#seed").fill("20");
  await page.locator("#sample").click();
  await page.waitForFunction(() => document.getElementById("seed").value === "21");
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 200)));
  await note("New sample", 21);
  await page.screenshot({ path: screenshot });
}
const figures = { speed: await page.locator("#speed").innerText(), check: await page.locator("#check").innerText() };
await browser.close();
console.log(JSON.stringify({ shown, figures, errors, elsewhere }));
