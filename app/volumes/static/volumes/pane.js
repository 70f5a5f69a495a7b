// A pane: the slices along one axis on a canvas, with the box and the crosshair. Handles mouse, wheel, touch and keys.

import { Plane } from "./plane.js";

/**
 * @typedef {import("./box.js").Axis} Axis
 * @typedef {import("./box.js").Range} Range
 * @typedef {import("./box.js").Ranges} Ranges
 * @typedef {import("./plane.js").Point} Point
 */

/**
 * A volume. `size` is in voxels. `voxel` is the size of a voxel, in any unit. `upright`: y grows upwards.
 *
 * @typedef {{size: Record<Axis, number>, voxel: Record<Axis, number>, upright: boolean}} Volume
 */

/**
 * What a pane shows: a slice, the place of the crosshair, the box, and the picture, if it is loaded.
 *
 * @typedef {{index: number, at: Record<Axis, number>, box: Ranges | null, picture: ImageBitmap | null}} Shown
 */

/**
 * A drag. `kind` is "pan" or a result of #grip.
 *
 * @typedef {{kind: string, from: Point, last: Point, before: Ranges | null, moved: boolean}} Drag
 */

/**
 * The axes across and down a slice along the axis.
 * @type {Record<Axis, [across: Axis, down: Axis]>}
 */
export const ACROSS = { z: ["x", "y"], y: ["x", "z"], x: ["y", "z"] };

const NEAR = 7; // pixels from an edge of the box within which a drag moves the edge
const STILL = 3; // pixels by which the pointer may move during a click
const BOX = "#ffc54d";
const CROSS = "rgb(111 199 209 / 0.65)";

/**
 * Events: "look" (detail: voxels by axis), "box" (detail: ranges by axis). A pane keeps no state of its own: `show` sets what it
 * shows.
 */
export class Pane extends EventTarget {
  #axes;
  #canvas = document.createElement("canvas");
  #plane;
  /** @type {Shown} */
  #what = { index: 0, at: { x: 0, y: 0, z: 0 }, box: null, picture: null };
  /** @type {Map<number, Point>} */
  #pointers = new Map();
  #pinching = false;
  /** @type {Drag | null} */
  #drag = null;

  /**
   * @param {HTMLElement} place that the canvas fills
   * @param {Axis} axis
   * @param {Volume} volume
   */
  constructor(place, axis, { size, voxel, upright }) {
    super();
    this.axis = axis;
    this.#axes = ACROSS[axis];
    const [across, down] = this.#axes;
    this.#plane = new Plane({ columns: size[across], rows: size[down], voxel: [voxel[across], voxel[down]], upright });
    this.#canvas.tabIndex = 0;
    this.#canvas.setAttribute("role", "img");
    this.#canvas.setAttribute("aria-describedby", "viewer-keys");
    place.replaceChildren(this.#canvas);
    this.#listen();
    new ResizeObserver(() => this.#resize()).observe(place);
  }

  /**
   * Draw this. Until its picture is loaded, the previous picture stays.
   *
   * @param {Shown} what
   */
  show({ index, at, box, picture }) {
    this.#what = { index, at, box, picture: picture ?? this.#what.picture };
    this.#canvas.setAttribute("aria-label", this.#words());
    this.#canvas.toggleAttribute("data-busy", !picture);
    this.#draw();
  }

  // ---- drawing

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width || !height) return;
    Object.assign(this.#plane, { width, height });
    this.#canvas.width = Math.round(width * devicePixelRatio);
    this.#canvas.height = Math.round(height * devicePixelRatio);
    this.#draw();
  }

  #draw() {
    const { picture, box, at } = this.#what;
    const plane = this.#plane;
    const context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, plane.width, plane.height);
    const [left, first] = plane.toScreen([0, 0]);
    const [right, last] = plane.toScreen([plane.columns, plane.rows]);
    if (picture) {
      context.save();
      context.translate(left, first);
      context.scale(1, Math.sign(last - first)); // upright: row 0 is below
      context.imageSmoothingEnabled = plane.scale[0] < 3;
      context.imageSmoothingQuality = "high";
      context.drawImage(picture, 0, 0, right - left, Math.abs(last - first));
      context.restore();
    }
    const [across, down] = this.#axes;
    const [x, y] = plane.toScreen([at[across] + 0.5, at[down] + 0.5]);
    context.lineWidth = 1;
    context.strokeStyle = CROSS;
    context.beginPath();
    context.moveTo(Math.round(x) + 0.5, Math.min(first, last));
    context.lineTo(Math.round(x) + 0.5, Math.max(first, last));
    context.moveTo(left, Math.round(y) + 0.5);
    context.lineTo(right, Math.round(y) + 0.5);
    context.stroke();
    if (box) this.#drawBox(context, box);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Ranges} box
   */
  #drawBox(context, box) {
    const [x, y, width, height] = this.#onScreen(box);
    const [start, stop] = box[this.axis];
    const inside = start <= this.#what.index && this.#what.index < stop;
    context.lineWidth = 2;
    context.strokeStyle = BOX;
    context.setLineDash(inside ? [] : [6, 5]);
    context.strokeRect(x, y, width, height);
    context.setLineDash([]);
    if (!inside) return;
    context.fillStyle = "rgb(255 197 77 / 0.12)";
    context.fillRect(x, y, width, height);
  }

  /**
   * The box's left, top, width and height, in pixels.
   *
   * @param {Ranges} box
   */
  #onScreen(box) {
    const [across, down] = this.#axes.map((axis) => box[axis]);
    const [ax, ay] = this.#plane.toScreen([across[0], down[0]]);
    const [bx, by] = this.#plane.toScreen([across[1], down[1]]);
    return [Math.min(ax, bx), Math.min(ay, by), Math.abs(bx - ax), Math.abs(by - ay)];
  }

  #words() {
    const { index, box } = this.#what;
    const words = `Slice ${this.axis} = ${index}, ${this.#axes[0]} across, ${this.#axes[1]} ${this.#plane.upright ? "up" : "down"}.`;
    if (!box) return `${words} There is no box.`;
    const [start, stop] = box[this.axis];
    const ranges = this.#axes.map((axis) => `${axis} ${box[axis][0]} to ${box[axis][1]}`).join(", ");
    return `${words} The box ${start <= index && index < stop ? "is" : "isn't"} in it: ${ranges}.`;
  }

  // ---- mouse and fingers

  #listen() {
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#up(event, false));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("auxclick", (event) => event.preventDefault());
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button > 1) return;
    this.#canvas.setPointerCapture(event.pointerId);
    const point = place(event);
    this.#pointers.set(event.pointerId, point);
    if (this.#pointers.size === 2) {
      if (this.#drag?.moved && this.#drag.before) this.#tellBox(this.#drag.before); // undo: two fingers pinch, they don't draw
      this.#drag = null;
      this.#pinching = true;
    } else if (!this.#pinching) {
      const kind = event.button === 1 || event.shiftKey ? "pan" : this.#grip(point);
      this.#drag = { kind, from: point, last: point, before: this.#what.box, moved: false };
    }
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const point = place(event);
    if (this.#pinching) {
      this.#pinch(event.pointerId, point);
      return;
    }
    if (!this.#drag) {
      this.#canvas.dataset.grip = event.shiftKey ? "pan" : this.#grip(point);
      return;
    }
    const { from, last, kind } = this.#drag;
    this.#drag.moved ||= Math.hypot(point[0] - from[0], point[1] - from[1]) > STILL;
    if (!this.#drag.moved) return;
    this.#drag.last = point;
    if (kind === "pan") {
      this.#plane.pan([point[0] - last[0], point[1] - last[1]]);
      this.#draw();
    } else {
      this.#pull(this.#drag, point);
    }
  }

  /**
   * @param {PointerEvent} event
   * @param {boolean} [meant] false: the browser cancelled the pointer
   */
  #up(event, meant = true) {
    const drag = this.#drag;
    this.#pointers.delete(event.pointerId);
    if (!this.#pointers.size) this.#pinching = false;
    this.#drag = null;
    if (!drag || drag.moved || !meant || event.button !== 0) return;
    const [column, row] = this.#plane.toVoxel(place(event));
    this.#tellLook({ [this.#axes[0]]: Math.floor(column), [this.#axes[1]]: Math.floor(row) });
  }

  /**
   * @param {number} id of the pointer that moved
   * @param {Point} point where it is now
   */
  #pinch(id, point) {
    if (!this.#pointers.has(id) || this.#pointers.size < 2) return;
    const apart = () => {
      const [a, b] = [...this.#pointers.values()];
      const middle = /** @type {Point} */ ([(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]);
      return { distance: Math.hypot(a[0] - b[0], a[1] - b[1]) || 1, middle };
    };
    const before = apart();
    this.#pointers.set(id, point);
    const after = apart();
    this.#plane.magnify(after.distance / before.distance, after.middle);
    this.#plane.pan([after.middle[0] - before.middle[0], after.middle[1] - before.middle[1]]);
    this.#draw();
  }

  /**
   * What a drag from this point does: "n", "se" … move an edge, "move" the box, or draw a "new" one.
   *
   * @param {Point} point
   */
  #grip([x, y]) {
    if (!this.#what.box) return "new";
    const [left, top, width, height] = this.#onScreen(this.#what.box);
    /** @type {(value: number, edge: number) => boolean} */
    const near = (value, edge) => Math.abs(value - edge) <= NEAR;
    if (x < left - NEAR || x > left + width + NEAR || y < top - NEAR || y > top + height + NEAR) return "new";
    const vertical = near(y, top) ? "n" : near(y, top + height) ? "s" : "";
    const horizontal = near(x, left) ? "w" : near(x, left + width) ? "e" : "";
    return vertical + horizontal || "move";
  }

  /**
   * @param {Drag} drag
   * @param {Point} point where the pointer is now
   */
  #pull({ kind, from, before }, point) {
    const start = this.#plane.toVoxel(from);
    const now = this.#plane.toVoxel(point);
    const sizes = [this.#plane.columns, this.#plane.rows];
    /** @type {Partial<Ranges>} */
    const ranges = {};
    this.#axes.forEach((axis, n) => {
      if (kind === "new" || !before) ranges[axis] = between(start[n], now[n], sizes[n]);
      else if (kind === "move") ranges[axis] = moved(before[axis], Math.round(now[n] - start[n]), sizes[n]);
      else {
        /** @type {Record<string, 0 | 1>} */
        const edges = n === 0 ? { w: 0, e: 1 } : this.#plane.upright ? { n: 1, s: 0 } : { n: 0, s: 1 };
        const pulled = [...kind].find((letter) => letter in edges);
        if (pulled) ranges[axis] = between(before[axis][1 - edges[pulled]], now[n], sizes[n], edges[pulled]);
      }
    });
    this.#tellBox(ranges);
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    event.preventDefault();
    const turned = Math.sign(event.deltaY);
    if (event.ctrlKey || event.metaKey) {
      this.#plane.magnify(1.2 ** -turned, place(event));
      this.#draw();
    } else if (turned) {
      this.#step(turned);
    }
  }

  // ---- keys

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const far = event.shiftKey ? 10 : 1;
    /** @type {Point} */
    const middle = [this.#plane.width / 2, this.#plane.height / 2];
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowUp: () => this.#step(far),
      ArrowRight: () => this.#step(far),
      ArrowDown: () => this.#step(-far),
      ArrowLeft: () => this.#step(-far),
      PageUp: () => this.#step(10),
      PageDown: () => this.#step(-10),
      Home: () => this.#tellLook({ [this.axis]: 0 }),
      End: () => this.#tellLook({ [this.axis]: Infinity }),
      "+": () => this.#plane.magnify(1.25, middle),
      "=": () => this.#plane.magnify(1.25, middle),
      "-": () => this.#plane.magnify(0.8, middle),
      0: () => this.#plane.fit(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
    this.#draw();
  }

  /** @param {number} by how many slices */
  #step(by) {
    this.#tellLook({ [this.axis]: this.#what.index + by });
  }

  /** @param {Partial<Record<Axis, number>>} detail */
  #tellLook(detail) {
    this.dispatchEvent(new CustomEvent("look", { detail }));
  }

  /** @param {Partial<Ranges>} detail */
  #tellBox(detail) {
    this.dispatchEvent(new CustomEvent("box", { detail }));
  }
}

/**
 * The event's place on the canvas.
 *
 * @param {MouseEvent} event
 * @returns {Point}
 */
function place(event) {
  return [event.offsetX, event.offsetY];
}

/**
 * The range of whole voxels from one point to another, within the volume, at least one. With `end`, only that end moves: 0 is the
 * start, 1 the stop.
 *
 * @param {number} from
 * @param {number} to
 * @param {number} size of the volume along this axis
 * @param {0 | 1} [end]
 * @returns {Range}
 */
function between(from, to, size, end) {
  const low = Math.min(from, to);
  const high = Math.max(from, to);
  let start = Math.min(size - 1, Math.max(0, end === undefined ? Math.floor(low) : Math.round(low)));
  let stop = Math.min(size, Math.max(1, end === undefined ? Math.ceil(high) : Math.round(high)));
  if (start >= stop) [start, stop] = end === 0 ? [stop - 1, stop] : [start, start + 1];
  return [start, stop];
}

/**
 * The range, moved by `by` voxels, but not beyond the volume.
 *
 * @param {Range} range
 * @param {number} by
 * @param {number} size of the volume along this axis
 * @returns {Range}
 */
function moved([start, stop], by, size) {
  const way = Math.min(size - stop, Math.max(-start, by));
  return [start + way, stop + way];
}
