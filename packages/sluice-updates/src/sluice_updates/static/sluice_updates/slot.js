// How many event streams one browser may hold.
//
// Over HTTP/1.1 a browser opens six connections to a host and no more, all tabs together; event streams that took all of
// them would leave none to load a page with. So tabs share four places, and a tab that gets none of them polls.
// (Sockets don't count among the six. Without HTTPS, other than on localhost, browsers have no locks: there is no limit.)

const PLACES = 4;

/** One of the places, while it is held. */
export class Slot {
  /** @type {(() => void) | null} */
  #release = null;
  #wanted = false;

  /** Take a place, if one is free and none is held yet. Returns whether there may be an event stream now. */
  async take() {
    this.#wanted = true;
    if (this.#release || !navigator.locks || hasManyConnections()) return true;
    for (let place = 1; place <= PLACES; place += 1) {
      if (await this.#hold(`updates.js event stream ${place}`)) return true;
    }
    return false;
  }

  release() {
    this.#wanted = false;
    this.#release?.();
    this.#release = null;
  }

  /**
   * @param {string} name
   * @returns {Promise<boolean>}
   */
  #hold(name) {
    return new Promise((resolve) => {
      navigator.locks.request(name, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        if (lock === null || !this.#wanted) return undefined;
        return new Promise((release) => (this.#release = () => release(undefined)));
      });
    });
  }
}

/** Whether the site is loaded over HTTP/2 or later, where streams share one connection. */
function hasManyConnections() {
  const [navigation] = performance.getEntriesByType("navigation");
  const protocol = /** @type {any} */ (navigation)?.nextHopProtocol ?? "";
  return /^h[23]/.test(protocol);
}
