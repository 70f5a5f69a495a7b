// One connection, from the request to its end: hello in time, no silence that lasts, frames read.

import { Stopwatch } from "./backoff.js";
import { openEventStream, openWebSocket } from "./transports.js";

const HELLO = 5_000; // milliseconds for hello, before something on the way is held to swallow frames
const ANSWER = 5_000; // for any frame, once one was asked for
const GRACE = 10_000; // on top of the server's own interval of pings

/**
 * A frame that carries an update.
 *
 * @typedef {{event: string, payload: any, stream: string, position: string}} Update
 */

/**
 * What hello, and a poll, says of one stream.
 *
 * @typedef {{head: string, recovered?: boolean, denied?: undefined} | {denied: true}} StreamState
 */

/**
 * Whoever uses a connection. `update` returns whether it could be applied; if not, something before it is missing.
 *
 * @typedef {object} User
 * @property {(connection: Connection, streams: Record<string, StreamState>) => void} hello
 * @property {(connection: Connection, update: Update) => boolean} update
 * @property {(connection: Connection, end: import("./transports.js").End) => void} end once, unless it was closed before
 */

export class Connection {
  /**
   * Since hello; null before it.
   * @type {Stopwatch | null}
   */
  greeted = null;
  /** Hello's window for coming back after a restart, in milliseconds. */
  retry = 2_000;
  /**
   * Heads that the replay has yet to reach: offsets by stream.
   * @type {Map<string, number>}
   */
  behind = new Map();
  /** How often the server had asked to judge our rights anew when this was opened. */
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
      frame: (/** @type {string} */ text) => this.#read(text),
      end: (/** @type {import("./transports.js").End} */ end) => this.#end(end),
    };
    this.#transport = name === "websocket" ? openWebSocket(url, listener) : openEventStream(url, listener, slot);
    this.#expect(HELLO);
  }

  /** Whether there is nothing more of the replay to come. */
  get caughtUp() {
    return this.greeted !== null && this.behind.size === 0;
  }

  /** To be called every few seconds: ends a connection on which nothing comes any more. */
  watch() {
    if (this.#heard.elapsed > this.#patience) this.#end({ code: 1006, silent: true });
  }

  /** To be called when there is reason to doubt it: have the server say something, where that can be done. */
  check() {
    this.watch();
    if (this.#over || !this.greeted || !this.#transport.ask || this.#deadline !== undefined) return;
    this.#transport.ask();
    this.#expect(ANSWER);
  }

  /** Leave. */
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

  /** Set the time within which a frame must come; null: none.
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
