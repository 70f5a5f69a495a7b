// When to try again. Times are in milliseconds.

const SETTLED = 10_000; // a connection that held so long after its hello was a good one
const FAR = 30_000; // where the server says that there are too many of us

/** Full jitter: a random time between nothing and a limit that doubles with each attempt. */
export class Backoff {
  #attempts = 0;

  /**
   * @param {number} first the first limit
   * @param {number} longest the last one
   */
  constructor(first = 500, longest = 20_000) {
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

/** How long a client stays away after a connection has ended: the protocol's table of close codes. */
export class Retries {
  #backoff = new Backoff();
  #recalled = new Stopwatch(Infinity);

  reset() {
    this.#backoff.reset();
  }

  /**
   * The wait after a connection that ended, or never came to be.
   *
   * @param {import("./transports.js").End} end
   * @param {{held: number, retry: number} | null} greeted if it had said hello: for how long it held, and the window
   *   that the server wants its clients to come back in after a restart
   */
  after(end, greeted) {
    if (greeted && greeted.held >= SETTLED) this.reset();
    if (end.code === 1012 && greeted) return Math.random() * greeted.retry;
    if (end.code === 4010) return this.recall();
    const wait = this.#backoff.next();
    if (end.code === 4013 || end.status === 429) return Math.max(FAR, end.retryAfter ?? 0) + wait;
    // nginx has nobody to pass us on to; it says for how long that may well be so.
    if (end.status === 503) return (end.retryAfter ?? FAR) + wait;
    return Math.max(end.retryAfter ?? 0, wait);
  }

  /** The wait before connecting anew because the server asks for it: none, but a second time within 10 s. */
  recall() {
    const again = this.#recalled.elapsed < SETTLED;
    this.#recalled.restart();
    return again ? this.#backoff.next() : 0;
  }
}

/**
 * What time has passed, sleep included: the one clock stands still while a machine sleeps, and the other may be set.
 */
export class Stopwatch {
  #ticks = performance.now();
  #time = Date.now();

  /** @param {number} [already] what is to count as passed */
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
