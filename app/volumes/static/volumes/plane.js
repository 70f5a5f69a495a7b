// Maps the voxels of a slice to pixels on the screen, and back. It needs no DOM.

/**
 * A place: across and down, in voxels or in pixels.
 *
 * @typedef {[number, number]} Point
 */

const MOST = 40; // the largest zoom

/**
 * A slice of `columns` × `rows` voxels on a picture of `width` × `height` pixels. `voxel` is the width and height of a voxel.
 * `upright`: row 0 is at the bottom.
 */
export class Plane {
  zoom = 1; // 1: the whole slice is visible
  width = 1;
  height = 1;

  /** @param {{columns: number, rows: number, voxel: Point, upright: boolean}} slice */
  constructor({ columns, rows, voxel, upright }) {
    this.columns = columns;
    this.rows = rows;
    this.voxel = voxel;
    this.upright = upright;
    /** @type {Point} */
    this.centre = this.#middle; // the voxel in the middle of the picture
  }

  /** Show the whole slice. */
  fit() {
    this.zoom = 1;
    this.centre = this.#middle;
  }

  /** @returns {Point} */
  get #middle() {
    return [this.columns / 2, this.rows / 2];
  }

  /**
   * Pixels per voxel, across and down.
   * @returns {Point}
   */
  get scale() {
    const [wide, high] = this.voxel;
    const whole = Math.min(this.width / (this.columns * wide), this.height / (this.rows * high));
    return [whole * this.zoom * wide, whole * this.zoom * high];
  }

  /**
   * Voxels, with fractions, to pixels.
   *
   * @param {Point} voxel
   * @returns {Point}
   */
  toScreen([column, row]) {
    const [across, down] = this.scale;
    const below = (row - this.centre[1]) * down;
    return [this.width / 2 + (column - this.centre[0]) * across, this.height / 2 + (this.upright ? -below : below)];
  }

  /**
   * Pixels to voxels, with fractions; outside the slice too.
   *
   * @param {Point} pixel
   * @returns {Point}
   */
  toVoxel([x, y]) {
    const [across, down] = this.scale;
    const below = (y - this.height / 2) / down;
    return [this.centre[0] + (x - this.width / 2) / across, this.centre[1] + (this.upright ? -below : below)];
  }

  /**
   * Zoom. The voxel at `point` stays there.
   *
   * @param {number} factor
   * @param {Point} point in pixels
   */
  magnify(factor, point) {
    const before = this.toVoxel(point);
    this.zoom = Math.min(MOST, Math.max(1, this.zoom * factor));
    const after = this.toVoxel(point);
    this.#look([this.centre[0] + before[0] - after[0], this.centre[1] + before[1] - after[1]]);
  }

  /**
   * Move the picture.
   *
   * @param {Point} way in pixels
   */
  pan([x, y]) {
    const [across, down] = this.scale;
    this.#look([this.centre[0] - x / across, this.centre[1] - (this.upright ? -y : y) / down]);
  }

  /**
   * Move a voxel to the centre, which stays within the slice.
   *
   * @param {Point} voxel
   */
  #look([column, row]) {
    /** @type {(value: number, size: number) => number} */
    const within = (value, size) => Math.min(size, Math.max(0, value));
    this.centre = this.zoom === 1 ? this.#middle : [within(column, this.columns), within(row, this.rows)];
  }
}
