// The box that a crop is cut out of. The form's six fields are the truth; pictures of it are drawn from them and change them.

export const AXES = ["x", "y", "z"];

/** @typedef {Record<"x" | "y" | "z", [start: number, stop: number]>} Ranges half-open, in voxels */

/** The fields of a form, read and written as a box. Event "change": somebody typed, or `set` was called. */
export class Box extends EventTarget {
  #fields;
  #size;

  /**
   * @param {HTMLFormElement} form with the fields x0, x1, y0 … z1
   * @param {Record<string, number>} size of the volume
   */
  constructor(form, size) {
    super();
    this.#size = size;
    this.#fields = AXES.flatMap((axis) => [0, 1].map((end) => form.elements.namedItem(`${axis}${end}`)));
    form.addEventListener("input", () => this.dispatchEvent(new Event("change")));
  }

  /** What the fields say; null if that is no box in this volume. @returns {Ranges | null} */
  get ranges() {
    const [x0, x1, y0, y1, z0, z1] = this.#fields.map(({ value }) => (/^\d+$/.test(value.trim()) ? Number(value) : NaN));
    const ranges = { x: [x0, x1], y: [y0, y1], z: [z0, z1] };
    return AXES.every((axis) => 0 <= ranges[axis][0] && ranges[axis][0] < ranges[axis][1] && ranges[axis][1] <= this.#size[axis])
      ? ranges
      : null;
  }

  /** @param {Partial<Ranges>} ranges the others stay */
  set(ranges) {
    for (const [axis, range] of Object.entries(ranges)) {
      const first = 2 * AXES.indexOf(axis);
      for (const end of [0, 1]) this.#fields[first + end].value = range[end];
    }
    this.dispatchEvent(new Event("change"));
  }

  /** How many voxels are in it; 0 if it is none. */
  get voxels() {
    const { ranges } = this;
    return ranges ? AXES.reduce((product, axis) => product * (ranges[axis][1] - ranges[axis][0]), 1) : 0;
  }
}
