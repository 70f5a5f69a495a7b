// A volume's page: three views of it that move together, contrast, the box of the crop's form drawn and typed, and a preview
// of it. Without this script the page is three pictures and the form.

import { root, updates } from "../mysite/live.js";
import { AXES, Box } from "./box.js";
import { Pane } from "./pane.js";
import { Preview } from "./preview.js";
import { Slices } from "./slices.js";

const $ = (id) => document.getElementById(id);
const numbers = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });

const data = $("viewer").dataset;
const byAxis = (text) => Object.fromEntries(text.split(" ").map((number, n) => [AXES[n], Number(number)]));
const volume = { size: byAxis(data.size), voxel: byAxis(data.voxel), upright: data.upright === "yes" };

const box = new Box($("crop-form"), volume.size);
const at = Object.fromEntries(AXES.map((axis) => [axis, Math.floor(volume.size[axis] / 2)]));
const low = $("low"); // null where the volume's values aren't known
const high = $("high");
const asImported = low && query();
const views = [...document.querySelectorAll(".pane")].map(view);

// ---- looking

function view(figure) {
  const { axis } = figure.dataset;
  const pane = new Pane(figure.querySelector(".picture"), axis, volume);
  const slices = new Slices((index) => `${data.slices}${axis}/${index}.png${contrast()}`, volume.size[axis]);
  const slider = figure.querySelector("input");
  const number = figure.querySelector("output");
  figure.querySelector(".steer").hidden = false;
  slider.addEventListener("input", () => look({ [axis]: Number(slider.value) }));
  pane.addEventListener("look", ({ detail }) => look(detail));
  pane.addEventListener("box", ({ detail }) => draw(axis, detail));
  slices.addEventListener("picture", () => show());
  slices.addEventListener("failed", ({ detail }) => {
    $("viewer-trouble").textContent = detail;
  });

  function show() {
    const picture = slices.get(at[axis]);
    if (picture) $("viewer-trouble").textContent = "";
    slider.value = at[axis];
    number.value = at[axis];
    pane.show({ index: at[axis], at, box: box.ranges, picture });
    slices.want(at[axis]);
  }
  return show;
}

function showAll() {
  for (const show of views) show();
}

/** Go there, as far as the volume reaches. */
function look(where) {
  for (const [axis, index] of Object.entries(where)) at[axis] = Math.min(volume.size[axis] - 1, Math.max(0, index));
  showAll();
}

// ---- contrast

function query() {
  return `?${new URLSearchParams({ low: low.value, high: high.value })}`; // "1e+30" has a plus
}

/** What is as imported needs no query: those pictures the browser may have from another page. */
function contrast() {
  return low && query() !== asImported ? query() : "";
}

/** Black stays below white, by a step at least: the other slider gives way, as far as it can. */
function keepApart(moved) {
  const [other, way] = moved === low ? [high, 1] : [low, -1];
  const step = Number(moved.step);
  const areTooNear = () => Number(high.value) - Number(low.value) < step;
  if (areTooNear()) other.value = Number(moved.value) + way * step;
  if (areTooNear()) moved.value = Number(other.value) - way * step;
}

function showContrast() {
  $("low-value").value = numbers.format(low.value);
  $("high-value").value = numbers.format(high.value);
  showAll();
}

if (low) {
  for (const slider of [low, high]) {
    slider.addEventListener("input", () => {
      keepApart(slider);
      showContrast();
    });
  }
  $("contrast").addEventListener("reset", () => setTimeout(showContrast)); // when the sliders are back
  $("contrast").hidden = false;
  showContrast();
}

// ---- the box

const preview = new Preview(socketUrl(), () => updates.transport === "websocket");

function socketUrl() {
  const url = new URL(`channels/volumes/${data.volume}/preview/`, root);
  url.protocol = url.protocol.replace("http", "ws");
  return url;
}

/** Somebody drew in the view along `axis`: the box is around that slice, or is brought there. */
function draw(axis, ranges) {
  const known = box.ranges?.[axis];
  if (!known || at[axis] < known[0] || at[axis] >= known[1]) {
    const length = known ? known[1] - known[0] : 1;
    const start = Math.min(volume.size[axis] - length, Math.max(0, at[axis] - Math.floor(length / 2)));
    ranges = { ...ranges, [axis]: [start, start + length] };
  }
  const whole = Object.fromEntries(AXES.map((name) => [name, [0, volume.size[name]]]));
  box.set(box.ranges ? ranges : { ...whole, ...ranges });
}

function changed() {
  const { ranges, voxels } = box;
  const most = Number(data.maxVoxels);
  const note = $("box-size");
  note.classList.toggle("mistake", !ranges || voxels > most);
  if (!ranges) {
    note.textContent = "This is no box within the volume: each range begins before it ends.";
  } else {
    const bytes = voxels * Number(data.itemsize);
    const edges = AXES.map((axis) => ranges[axis][1] - ranges[axis][0]).join(" × ");
    const size = bytes < 1e6 ? `${numbers.format(Math.ceil(bytes / 1e3))} kB` : `${numbers.format(Math.round(bytes / 1e5) / 10)} MB`;
    const limit = voxels > most ? `; at most ${new Intl.NumberFormat("en").format(most)} are allowed` : "";
    note.textContent = `${edges} voxels, ${size}${limit}`;
    preview.ask(ranges);
  }
  showAll();
}

box.addEventListener("change", changed);
preview.addEventListener("picture", ({ detail }) => {
  const { png, width, height, index, milliseconds } = detail;
  const image = $("preview-picture");
  Object.assign(image, { src: png, width, height });
  image.classList.toggle("upright", volume.upright);
  $("preview").hidden = false;
  $("preview").dataset.milliseconds = milliseconds.toFixed(1);
  $("preview-words").textContent = `z = ${index}, made in ${Math.round(milliseconds)} ms`;
});
preview.addEventListener("none", () => {
  $("preview").hidden = true;
});
updates.addEventListener("state", () => {
  if (updates.state === "live" && $("preview").hidden && box.ranges) preview.ask(box.ranges);
});

changed();
