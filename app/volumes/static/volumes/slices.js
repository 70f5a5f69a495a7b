// Pictures of one axis's slices, fetched from the site and kept. One request at a time: while somebody moves through a volume,
// only the slice that is wanted last is asked for, and then its neighbours.

import { Backoff } from "../sluice_updates/backoff.js";

const PIXELS = 24 * 2 ** 20; // kept for one axis: the slices of an ordinary volume, or a few of a large one
const AHEAD = 4; // neighbours that are fetched while nothing else is

/** Events: "picture" when the wanted slice is there; "failed" with a sentence. */
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
   * The picture of the slice, if it is there.
   *
   * @param {number} index
   */
  get(index) {
    return this.#kept.get(this.#url(index)) ?? null;
  }

  /**
   * From now on this one is wanted.
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
        if (this.get(this.#wanted)) break; // a neighbour: there is time until somebody goes there
        const { message, cause } = /** @type {{message: string, cause?: {final: boolean}}} */ (error);
        this.dispatchEvent(new CustomEvent("failed", { detail: message }));
        if (cause?.final) break;
        await new Promise((resolve) => setTimeout(resolve, this.#backoff.next()));
      }
    }
    this.#fetching = false;
  }

  /** The wanted one, or else the nearest neighbour that isn't there, those ahead first. */
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
    if (!response) throw new Error("The site can't be reached just now.");
    if (!response.ok) {
      const answer = await response.json().catch(() => null);
      const final = response.status < 500 && ![408, 429].includes(response.status);
      throw new Error(answer?.error?.detail ?? `The picture can't be had (${response.status}).`, { cause: { final } });
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
      // Not closed: it may be the one that is still shown.
      if (pixels > PIXELS && key !== url) this.#kept.delete(key);
    }
  }
}
