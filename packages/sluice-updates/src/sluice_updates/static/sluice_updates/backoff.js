// When to try again. Times are in milliseconds.

const SETTLED = 10_000; // a connection that lasts this long after its hello counts as a success
const FAR = 30_000; // the shortest wait after the server refused one connection too many

/** Exponential backoff with full jitter: a random time between zero and a limit that doubles with each attempt. */
export class Backoff {
  #attempts = 0;

  /**
   * @param {number} first the first limit
   * @param {number} longest the largest limit
   */
  constructor(first = 500, longest = 10_000) {
    this.first = first;
    this.longest = longest;
  }

  next() {
    const limit = Math.min(this.longest, this.first * 2 ** this.#attempts);
    this.#attempts += 1;
    return Math.random() * limit;
  }

  reset() {
    this.#attempts = 0;
  }
}

/** How long to wait after a connection has ended, by the protocol's table of close codes. */
export class Retries {
  #backoff = new Backoff();
  #recalled = new Stopwatch(Infinity);

  reset() {
    this.#backoff.reset();
  }

  /**
   * The wait after a connection that ended, or that never opened.
   *
   * @param {import("./transports.js").End} end
   * @param {{held: number, retry: number} | null} greeted if it had received hello: how long it lasted, and the
   *   window within which the server wants its clients back after a restart
   */
  after(end, greeted) {
    if (greeted && greeted.held >= SETTLED) this.reset();
    if (end.code === 1012 && greeted) return Math.random() * greeted.retry;
    if (end.code === 4010) return this.recall();
    // Too many clients at once: the server gives each its own time.
    if (end.code === 1013 && end.retryAfter !== undefined) return end.retryAfter;
    const wait = this.#backoff.next();
    if (end.code === 4013 || end.status === 429) return Math.max(FAR, end.retryAfter ?? 0) + wait;
    // nginx has no server to pass the request to. Its Retry-After says for how long.
    if (end.status === 503) return (end.retryAfter ?? FAR) + wait;
    return Math.max(end.retryAfter ?? 0, wait);
  }

  /** The wait before reconnecting at the server's request: none, except for a second request within 10 s. */
  recall() {
    const again = this.#recalled.elapsed < SETTLED;
    this.#recalled.restart();
    return again ? this.#backoff.next() : 0;
  }
}

/**
 * Measures elapsed time, including the time that the machine sleeps. Of the two clocks, one stops during sleep and the
 * other may be set by hand; the larger difference counts.
 */
export class Stopwatch {
  #ticks = performance.now();
  #time = Date.now();

  /** @param {number} [already] milliseconds that count as elapsed at the start */
  constructor(already = 0) {
    this.#ticks -= already;
  }

  get elapsed() {
    return Math.max(performance.now() - this.#ticks, Date.now() - this.#time);
  }

  restart() {
    this.#ticks = performance.now();
    this.#time = Date.now();
  }
}
