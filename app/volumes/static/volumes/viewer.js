// A volume's page: three linked views, the contrast, the box of a crop, which can be drawn or typed, and its preview. Without this
// script the page has three pictures and the form.

import { find } from "../common/find.js";
import { updates } from "../sluice_updates/page.js";
import { AXES, Box, byAxis } from "./box.js";
import { Pane } from "./pane.js";
import { Preview } from "./preview.js";
import { Slices } from "./slices.js";

/** @typedef {import("./box.js").Axis} Axis */

/** @param {string} id */
const $ = (id) => find(`#${id}`, HTMLElement);
const numbers = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });

const data = $("viewer").dataset;
/** @param {string} [text] three numbers */
const numbersOf = (text = "") => byAxis((axis) => Number(text.split(" ")[AXES.indexOf(axis)]));
const volume = { size: numbersOf(data.size), voxel: numbersOf(data.voxel), upright: data.upright === "yes" };

const box = new Box(find("#crop-form", HTMLFormElement), volume.size);
const at = byAxis((axis) => Math.floor(volume.size[axis] / 2));
const contrastForm = document.getElementById("contrast"); // null if the volume's values are unknown
const sliders = contrastForm && { low: find("#low", HTMLInputElement), high: find("#high", HTMLInputElement) };
const asImported = query();
const figures = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".pane"));
const views = [...figures].map(view);

// ---- looking

/**
 * Set up the view along an axis. Returns a function that shows the current state.
 *
 * @param {HTMLElement} figure
 */
function view(figure) {
  const axis = /** @type {Axis} */ (figure.dataset.axis);
  const pane = new Pane(find(".picture", HTMLElement, figure), axis, volume);
  const slices = new Slices((index) => `${data.slices}${axis}/${index}.png${contrast()}`, volume.size[axis]);
  const slider = find("input", HTMLInputElement, figure);
  const number = find("output", HTMLOutputElement, figure);
  find(".steer", HTMLElement, figure).hidden = false;
  slider.addEventListener("input", () => look({ [axis]: Number(slider.value) }));
  pane.addEventListener("look", (event) => look(detailOf(event)));
  pane.addEventListener("box", (event) => draw(axis, detailOf(event)));
  slices.addEventListener("picture", () => show());
  slices.addEventListener("failed", (event) => {
    $("viewer-trouble").textContent = detailOf(event);
  });

  function show() {
    const picture = slices.get(at[axis]);
    if (picture) $("viewer-trouble").textContent = "";
    slider.value = number.value = String(at[axis]);
    pane.show({ index: at[axis], at, box: box.ranges, picture });
    slices.want(at[axis]);
  }
  return show;
}

function showAll() {
  for (const show of views) show();
}

/**
 * Move to these slices, within the volume.
 *
 * @param {Partial<Record<Axis, number>>} where axes that aren't named stay
 */
function look(where) {
  for (const axis of AXES) at[axis] = Math.min(volume.size[axis] - 1, Math.max(0, where[axis] ?? at[axis]));
  showAll();
}

/** @param {Event} event of a view or its parts */
function detailOf(event) {
  return /** @type {CustomEvent} */ (event).detail;
}

// ---- contrast

function query() {
  return sliders ? `?${new URLSearchParams({ low: sliders.low.value, high: sliders.high.value })}` : ""; // "1e+30" has a plus
}

/** The default contrast needs no query, so that the browser may have the pictures in its cache from another page. */
function contrast() {
  return query() !== asImported ? query() : "";
}

/**
 * Keep black below white by at least a step. The other slider moves as far as it can, then the moved one stops.
 *
 * @param {HTMLInputElement} moved
 * @param {HTMLInputElement} other
 * @param {1 | -1} way 1 if the other slider is that for white
 */
function keepApart(moved, other, way) {
  const step = Number(moved.step);
  const areTooNear = () => way * (Number(other.value) - Number(moved.value)) < step;
  if (areTooNear()) other.value = String(Number(moved.value) + way * step);
  if (areTooNear()) moved.value = String(Number(other.value) - way * step);
}

if (contrastForm && sliders) {
  const { low, high } = sliders;
  const showContrast = () => {
    $("low-value").textContent = numbers.format(Number(low.value));
    $("high-value").textContent = numbers.format(Number(high.value));
    showAll();
  };
  low.addEventListener("input", () => {
    keepApart(low, high, 1);
    showContrast();
  });
  high.addEventListener("input", () => {
    keepApart(high, low, -1);
    showContrast();
  });
  contrastForm.addEventListener("reset", () => setTimeout(showContrast)); // after the browser has reset the sliders
  contrastForm.hidden = false;
  showContrast();
}

// ---- the box

const preview = new Preview(socketUrl(), () => updates.transport === "websocket");

function socketUrl() {
  const url = new URL(`channels/volumes/${data.volume}/preview/`, updates.root);
  url.protocol = url.protocol.replace("http", "ws");
  return url;
}

/**
 * Handle a box drawn in the view along `axis`. If the box doesn't contain the view's slice, move it there.
 *
 * @param {Axis} axis
 * @param {Partial<import("./box.js").Ranges>} ranges
 */
function draw(axis, ranges) {
  const known = box.ranges?.[axis];
  if (!known || at[axis] < known[0] || at[axis] >= known[1]) {
    const length = known ? known[1] - known[0] : 1;
    const start = Math.min(volume.size[axis] - length, Math.max(0, at[axis] - Math.floor(length / 2)));
    ranges = { ...ranges, [axis]: [start, start + length] };
  }
  const whole = byAxis((name) => /** @type {import("./box.js").Range} */ ([0, volume.size[name]]));
  box.set(box.ranges ? ranges : { ...whole, ...ranges });
}

function changed() {
  const { ranges, voxels } = box;
  const most = Number(data.maxVoxels);
  const note = $("box-size");
  note.classList.toggle("mistake", !ranges || voxels > most);
  if (!ranges) {
    note.textContent = "This is not a box within the volume: each range must begin before it ends.";
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
preview.addEventListener("picture", (event) => {
  const { png, width, height, index, milliseconds } = detailOf(event);
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
