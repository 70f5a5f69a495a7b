// The box of a crop. The form's six fields are the truth. The panes draw the box from the fields, and change them.

import { find } from "../common/find.js";

/**
 * @typedef {"x" | "y" | "z"} Axis
 * @typedef {[start: number, stop: number]} Range half-open, in voxels
 * @typedef {Record<Axis, Range>} Ranges
 */

/** @type {Axis[]} */
export const AXES = ["x", "y", "z"];

/**
 * An object with a value for each axis.
 *
 * @template T
 * @param {(axis: Axis) => T} value
 * @returns {Record<Axis, T>}
 */
export function byAxis(value) {
  return { x: value("x"), y: value("y"), z: value("z") };
}

/** Reads and writes the fields of a form as a box. Event "change": the user has typed, or `set` was called. */
export class Box extends EventTarget {
  #fields;
  #size;

  /**
   * @param {HTMLFormElement} form with the fields x0, x1, y0 … z1
   * @param {Record<Axis, number>} size of the volume
   */
  constructor(form, size) {
    super();
    this.#size = size;
    this.#fields = byAxis((axis) => [0, 1].map((end) => find(`[name="${axis}${end}"]`, HTMLInputElement, form)));
    form.addEventListener("input", () => this.dispatchEvent(new Event("change")));
  }

  /**
   * The box in the fields; null if it isn't a valid box in this volume.
   * @returns {Ranges | null}
   */
  get ranges() {
    const ranges = byAxis((axis) => {
      const [start, stop] = this.#fields[axis].map(({ value }) => (/^\d+$/.test(value.trim()) ? Number(value) : NaN));
      return /** @type {Range} */ ([start, stop]);
    });
    return AXES.every((axis) => 0 <= ranges[axis][0] && ranges[axis][0] < ranges[axis][1] && ranges[axis][1] <= this.#size[axis])
      ? ranges
      : null;
  }

  /** @param {Partial<Ranges>} ranges the other axes stay */
  set(ranges) {
    for (const axis of AXES) {
      ranges[axis]?.forEach((edge, end) => {
        this.#fields[axis][end].value = String(edge);
      });
    }
    this.dispatchEvent(new Event("change"));
  }

  /** The number of voxels in the box; 0 if it isn't valid. */
  get voxels() {
    const { ranges } = this;
    return ranges ? AXES.reduce((product, axis) => product * (ranges[axis][1] - ranges[axis][0]), 1) : 0;
  }
}
