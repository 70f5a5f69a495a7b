// Limits the number of event streams in one browser.
//
// Over HTTP/1.1 a browser opens at most six connections to a host, all tabs together. If event streams took all six, no
// page could load. So tabs share four places, and a tab without a place polls. (WebSockets don't count among the six.
// Browsers have locks only with HTTPS and on localhost; elsewhere there is no limit.)

const PLACES = 4;

/** This tab's place, if it holds one. */
export class Slot {
  /** @type {(() => void) | null} */
  #release = null;
  #wanted = false;

  /** Take a free place, unless one is held. Returns whether an event stream may be opened now. */
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

/** Whether the page was loaded over HTTP/2 or later, where all streams share one connection. */
function hasManyConnections() {
  const [navigation] = performance.getEntriesByType("navigation");
  const protocol = /** @type {any} */ (navigation)?.nextHopProtocol ?? "";
  return /^h[23]/.test(protocol);
}
