// The page's position in each stream.

/**
 * The number in a position: `14-9f3ac1d20b7e4455` is 14, and `0-0`, before the first update, is 0.
 *
 * @param {string} position
 */
export function offset(position) {
  return Number(position.slice(0, position.indexOf("-")));
}

/** A page's positions, by stream. All transports share them. */
export class Positions {
  /** @type {Map<string, string>} */
  #known;

  /** @param {Record<string, string>} initial */
  constructor(initial) {
    this.#known = new Map(Object.entries(initial));
  }

  /** @param {string} stream */
  get(stream) {
    return this.#known.get(stream);
  }

  /**
   * Set a position, whatever the last one was. Only updates after it are applied.
   *
   * @param {string} stream
   * @param {string} position
   */
  move(stream, position) {
    this.#known.set(stream, position);
  }

  /**
   * Advance to an update. "next": the position has moved, apply the update; "double": it was applied before; "gap": an
   * earlier update is missing, and the position has not moved.
   *
   * @param {string} stream
   * @param {string} position
   * @returns {"next" | "double" | "gap"}
   */
  step(stream, position) {
    const known = this.#known.get(stream);
    if (known === undefined) return "gap";
    const ahead = offset(position) - offset(known);
    if (ahead <= 0) return "double";
    if (ahead > 1) return "gap";
    this.#known.set(stream, position);
    return "next";
  }

  /** As an object. */
  all() {
    return Object.fromEntries(this.#known);
  }

  /** In the syntax of the parameter `since`. */
  toString() {
    return [...this.#known].map(([stream, position]) => `${stream}/${position}`).join(",");
  }
}
