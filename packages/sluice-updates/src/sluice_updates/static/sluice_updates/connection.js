// One connection, from the request to its end. It waits for hello, detects silence, and reads frames.

import { Stopwatch } from "./backoff.js";
import { openEventStream, openWebSocket } from "./transports.js";

const ADMISSION = 10_000; // milliseconds to wait for the server to accept: it may let clients wait for up to 8 s
const HELLO = 5_000; // to wait for hello after that; then a proxy is assumed to hold frames back
const ANSWER = 5_000; // to wait for any frame after a ping
export const RETRY = 2_000; // the shortest window for reconnecting after a restart
const GRACE = 10_000; // of silence, beyond the server's interval between pings

/**
 * A frame that carries an update.
 *
 * @typedef {{event: string, payload: any, stream: string, position: string}} Update
 */

/**
 * The state of one stream, in hello and in a poll's response.
 *
 * @typedef {{head: string, recovered?: boolean, denied?: undefined} | {denied: true}} StreamState
 */

/**
 * The callbacks of a connection's user. `update` returns false if an earlier update is missing.
 *
 * @typedef {object} User
 * @property {(connection: Connection, streams: Record<string, StreamState>) => void} hello
 * @property {(connection: Connection, update: Update) => boolean} update
 * @property {(connection: Connection, end: import("./transports.js").End) => void} end called once, but not after close()
 */

export class Connection {
  /**
   * Since hello; null before it.
   * @type {Stopwatch | null}
   */
  greeted = null;
  /** The window for reconnecting after a restart, in milliseconds, from hello. */
  retry = RETRY;
  /**
   * The heads that the replay has not reached yet: offsets by stream.
   * @type {Map<string, number>}
   */
  behind = new Map();
  /** How many changes of our rights the server had announced when this connection was opened. */
  recalls = 0;

  #user;
  #transport;
  #heard = new Stopwatch();
  #patience = Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #deadline;
  #over = false;

  /**
   * @param {"websocket" | "sse"} name the transport
   * @param {URL} url
   * @param {User} user
   * @param {import("./slot.js").Slot} slot
   */
  constructor(name, url, user, slot) {
    this.name = name;
    this.#user = user;
    const listener = {
      open: () => this.greeted || this.#over || this.#expect(HELLO),
      frame: (/** @type {string} */ text) => this.#read(text),
      end: (/** @type {import("./transports.js").End} */ end) => this.#end(end),
    };
    this.#transport = name === "websocket" ? openWebSocket(url, listener) : openEventStream(url, listener, slot);
    this.#expect(ADMISSION);
  }

  /** Whether the replay is complete. */
  get caughtUp() {
    return this.greeted !== null && this.behind.size === 0;
  }

  /** End the connection if it has been silent for too long. Call it every few seconds. */
  watch() {
    if (this.#heard.elapsed > this.#patience) this.#end({ code: 1006, silent: true });
  }

  /** Send a ping, where the transport can, and expect a frame. Call it when the connection may be dead. */
  check() {
    this.watch();
    if (this.#over || !this.greeted || !this.#transport.ask || this.#deadline !== undefined) return;
    this.#transport.ask();
    this.#expect(ANSWER);
  }

  /** Close it; `end` is not called. */
  close() {
    this.#over = true;
    clearTimeout(this.#deadline);
    this.#transport.close();
  }

  /** @param {string} text */
  #read(text) {
    if (this.#over) return;
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      this.#end({ code: 1006, opened: true });
      return;
    }
    this.#heard.restart();
    if (frame.event === "hello") {
      this.#expect(null);
      this.#greet(frame.payload);
    } else if (this.greeted) {
      this.#expect(null);
      if (frame.stream && !this.#user.update(this, frame)) this.#end({ code: 1006, opened: true });
    }
  }

  /** @param {{streams: Record<string, StreamState>, ping: number, retry: number}} payload */
  #greet({ streams, ping, retry }) {
    this.greeted = new Stopwatch();
    this.retry = retry;
    this.#patience = ping * 1000 + GRACE;
    this.#user.hello(this, streams);
  }

  /**
   * Set the time within which a frame must arrive; null: no limit.
   *
   * @param {number | null} milliseconds
   */
  #expect(milliseconds) {
    clearTimeout(this.#deadline);
    this.#deadline = undefined;
    if (milliseconds === null) return;
    this.#deadline = setTimeout(() => this.#end({ code: 1006, silent: true }), milliseconds);
  }

  /** @param {import("./transports.js").End} end */
  #end(end) {
    if (this.#over) return;
    this.close();
    this.#user.end(this, end);
  }
}
