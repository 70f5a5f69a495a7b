// Fetches and caches the pictures of the slices along one axis, one request at a time. While a user moves through a volume, only
// the last wanted slice is fetched, and then its neighbours.

import { Backoff } from "../sluice_updates/backoff.js";

const PIXELS = 24 * 2 ** 20; // the cache for one axis: all slices of an ordinary volume, or a few of a large one
const AHEAD = 4; // how many neighbours are fetched in advance

/** Events: "picture": the wanted slice is loaded; "failed": detail is the error as a sentence. */
export class Slices extends EventTarget {
  #url;
  #last;
  /** @type {Map<string, ImageBitmap>} by URL, the oldest first */
  #kept = new Map();
  #wanted = 0;
  #direction = 1;
  #fetching = false;
  #backoff = new Backoff(500, 5_000);

  /**
   * @param {(index: number) => string} url of a slice; changes with the contrast
   * @param {number} count of slices
   */
  constructor(url, count) {
    super();
    this.#url = url;
    this.#last = count - 1;
  }

  /**
   * The picture of the slice, or null if it isn't loaded.
   *
   * @param {number} index
   */
  get(index) {
    return this.#kept.get(this.#url(index)) ?? null;
  }

  /**
   * Set the wanted slice.
   *
   * @param {number} index
   */
  want(index) {
    if (index !== this.#wanted) this.#direction = Math.sign(index - this.#wanted);
    this.#wanted = index;
    this.#fetch();
  }

  async #fetch() {
    if (this.#fetching) return;
    this.#fetching = true;
    for (let index = this.#next(); index !== null; index = this.#next()) {
      try {
        await this.#load(index);
        this.#backoff.reset();
      } catch (error) {
        if (this.get(this.#wanted)) break; // a neighbour failed; retry when it is wanted
        const { message, cause } = /** @type {{message: string, cause?: {final: boolean}}} */ (error);
        this.dispatchEvent(new CustomEvent("failed", { detail: message }));
        if (cause?.final) break;
        await new Promise((resolve) => setTimeout(resolve, this.#backoff.next()));
      }
    }
    this.#fetching = false;
  }

  /** The next slice to load: the wanted one, then neighbours in the direction of movement, then the one behind. */
  #next() {
    const order = [this.#wanted];
    for (let step = 1; step <= AHEAD; step += 1) order.push(this.#wanted + this.#direction * step);
    order.push(this.#wanted - this.#direction);
    return order.find((index) => 0 <= index && index <= this.#last && !this.get(index)) ?? null;
  }

  /** @param {number} index */
  async #load(index) {
    const url = this.#url(index);
    const response = await fetch(url).catch(() => null);
    if (!response) throw new Error("The site can't be reached.");
    if (!response.ok) {
      const answer = await response.json().catch(() => null);
      const final = response.status < 500 && ![408, 429].includes(response.status);
      throw new Error(answer?.error?.detail ?? `The picture can't be loaded (${response.status}).`, { cause: { final } });
    }
    this.#keep(url, await createImageBitmap(await response.blob()));
    if (url === this.#url(this.#wanted)) this.dispatchEvent(new Event("picture"));
  }

  /**
   * @param {string} url
   * @param {ImageBitmap} picture
   */
  #keep(url, picture) {
    this.#kept.set(url, picture);
    let pixels = 0;
    for (const [key, { width, height }] of [...this.#kept].reverse()) {
      pixels += width * height;
      // It is not closed, since it may be shown.
      if (pixels > PIXELS && key !== url) this.#kept.delete(key);
    }
  }
}
