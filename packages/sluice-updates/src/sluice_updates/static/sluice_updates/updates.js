// Live updates for a page: by a WebSocket if possible, else by server-sent events, else by polling once a minute. The
// transport makes no difference to the page: each update arrives once, in order.
//
//   const updates = connect({ positions: { "user:7": "14-9f3ac1d20b7e4455" } });
//   updates.on("new-message", (payload) => …);
//   updates.addEventListener("lost", () => location.reload());
//
// A page with the template tag imports `updates` from page.js instead. docs/reference/protocol.md describes the wire,
// docs/reference/updates-js.md this module. It needs only the modules beside it, and no build step. Types are in the
// comments. Times are in milliseconds unless a name says seconds.

import { Backoff, Retries, Stopwatch } from "./backoff.js";
import { Connection, RETRY } from "./connection.js";
import { diagnose } from "./diagnosis.js";
import { Positions, offset } from "./positions.js";
import { Slot } from "./slot.js";
import { fetchState } from "./state.js";
import { poll } from "./transports.js";

/**
 * @typedef {import("./connection.js").Update} Update
 * @typedef {import("./connection.js").StreamState} StreamState
 * @typedef {import("./diagnosis.js").Diagnosis} Diagnosis
 * @typedef {import("./diagnosis.js").Round} Round
 * @typedef {import("./state.js").StateFunction} StateFunction
 * @typedef {import("./state.js").StreamPositions} StreamPositions
 * @typedef {import("./transports.js").End} End
 * @typedef {"websocket" | "sse"} Transport
 * @typedef {"catching-up" | "live" | "polling" | "offline" | "signed-out" | "stopped"} State
 * @typedef {(payload: any, update: Update) => void} Handler
 */

/**
 * `root`: the site's root, for /channels/. `poll`: the URL for polling, relative to the root. `positions`: by stream, as
 * read before the data that the page shows. `streams`: by default, those of `positions`; without any, the user's own
 * stream and `all`, or only `all` if nobody is signed in, from now on. `pollSeconds`: the time between two polls, where
 * no other transport works. `getState`: see there. `ready`: connect when this promise is settled, for instance when all
 * handlers are set. `state`: begin in this final state, and connect only when `reconnect` is called.
 *
 * @typedef {object} Options
 * @property {string | URL} [root]
 * @property {string | URL} [poll]
 * @property {Record<string, string>} [positions]
 * @property {string[]} [streams]
 * @property {number} [pollSeconds]
 * @property {StateFunction | string | URL | null} [getState]
 * @property {Promise<unknown>} [ready]
 * @property {"signed-out" | "stopped"} [state]
 */

/**
 * The events of Updates, by their names.
 *
 * @typedef {object} UpdatesEvents
 * @property {Event} state
 * @property {Event} diagnosis
 * @property {CustomEvent<{streams: string[]}>} lost
 * @property {CustomEvent<{streams: string[], data: any}>} restored
 * @property {CustomEvent<{what: "opening" | "hello" | "ended", transport: string, [detail: string]: any}>} connection
 */

/**
 * An EventTarget that knows the types of these events.
 *
 * @typedef {{
 *   addEventListener<Name extends keyof UpdatesEvents>(
 *     name: Name,
 *     listener: (event: UpdatesEvents[Name]) => void,
 *     options?: boolean | AddEventListenerOptions,
 *   ): void,
 * } & EventTarget} UpdatesTarget
 */

const WATCH = 5_000; // between two checks for silence
const LOST = 60_000; // the shortest time between two events "lost", at which a page reloads its state
const POLLS = 4; // the first polls of all pages are spread over this multiple of the time for their reconnects
const DIAGNOSE = 60_000; // between two diagnoses of the same failure
const STATE = 30_000; // to wait for getState

/**
 * Close codes after which nothing is tried again until the page is loaded again or calls `reconnect`, with the state.
 * @type {Map<number, State>}
 */
const FINAL = new Map([[4000, "stopped"], [4001, "signed-out"], [4003, "stopped"], [4009, "signed-out"]]);

/** Close codes before hello that the server itself sent: another transport would end the same way. */
const SERVERS_OWN = new Set([1011, 1012, 1013, 4008, 4010, 4013]);

/** Diagnoses that say: the server is well, and something in front of it prevents WebSockets. */
const PREVENTED = new Set(["frames-swallowed", "no-upgrade", "no-upgrade-to-daphne"]);

/**
 * Connect this page.
 *
 * @param {Options} [options]
 */
export function connect(options) {
  return new Updates(options);
}

/**
 * A page's updates. Events: "state" when `state` changes, "diagnosis" when `diagnosis` changes, "lost" when updates
 * can't be replayed, "restored" when getState has made up for them, "connection" for each step of a connection.
 */
export class Updates extends /** @type {new () => UpdatesTarget} */ (EventTarget) {
  /** @type {StateFunction | string | URL | null} */
  #getState;
  #root;
  #pollUrl;
  #streams;
  #positions;
  #pollEvery;
  /** @type {Map<string, Set<Handler>>} */
  #handlers = new Map();

  /**
   * The connection in use.
   * @type {Connection | null}
   */
  #current = null;
  /**
   * The connection that will replace it, before its hello.
   * @type {Connection | null}
   */
  #next = null;
  /**
   * The transport that received the last hello.
   * @type {Transport}
   */
  #best = "websocket";
  /**
   * The transport of the next attempt while there is no connection. Each attempt is by one transport: when all pages
   * of a site come back at once, the server gets one request from each.
   * @type {Transport}
   */
  #turn = "websocket";
  /** Whether a WebSocket has reached the server, and no diagnosis since then says that one can't. */
  #reached = false;
  /** The attempts that have failed in a row. */
  #failures = 0;
  /**
   * How they ended.
   * @type {Round}
   */
  #round = {};
  /** How often the open connections had to be replaced: the rights changed, or the page's positions were set. */
  #recalls = 0;
  #retries = new Retries();
  #climb = new Backoff(2_000, 60_000); // for a better transport; slower, since the current one works
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  #slot = new Slot();

  /** Whether all transports have failed since the last hello. */
  #failing = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pollTimer;
  /** @type {AbortController | null} */
  #polling = null;
  /** The time in which pages make their first poll when the server fails: longer on a site with many clients. */
  #spread = 0;
  /**
   * Whether the last poll succeeded; null before the first.
   * @type {boolean | null}
   */
  #polled = null;
  /** Whether the last poll failed because the server asked for a later one: once, that is no reason to be offline. */
  #postponed = false;
  #pollBackoff = new Backoff(500, 20_000);

  /**
   * The final state, once nothing is tried any more.
   * @type {State | null}
   */
  #over = null;
  /** Whether the browser has hidden the page (pagehide). */
  #away = false;
  /** @type {State} */
  #state = "catching-up";
  /** @type {Diagnosis | null} */
  #diagnosis = null;
  #diagnosed = { of: "", since: new Stopwatch(Infinity) };
  /**
   * Streams with a loss that the page doesn't know yet. With `getState`, their updates are withheld.
   * @type {Set<string>}
   */
  #lost = new Set();
  #lostTold = new Stopwatch(Infinity);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #lostTimer;
  /**
   * Since the first loss that getState has not made up for.
   * @type {Stopwatch | null}
   */
  #outdated = null;
  #restored = new Stopwatch(Infinity);
  /** @type {AbortController | null} */
  #restoring = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #restoreTimer;
  #restoreBackoff = new Backoff(1_000, 30_000);
  /** @type {string[]} */
  #denied = [];
  #listening = new AbortController();

  /** @param {Options} options */
  constructor({ root = "/", poll = "updates/", positions = {}, streams, pollSeconds = 60, getState, ready, state } = {}) {
    super();
    this.#getState = getState ?? null;
    this.#root = new URL(root, location.href);
    this.#pollUrl = new URL(poll, this.#root);
    this.#positions = new Positions(positions);
    this.#streams = streams ?? Object.keys(positions);
    this.#pollEvery = pollSeconds * 1000;
    if (state) this.#over = this.#state = state;
    else if (ready) ready.then(() => this.#begin(), () => this.#begin());
    else this.#begin();
  }

  // ---- the page's interface

  /**
   * Call `handler` for each update with this event name; "*": for every update. Returns a function that removes it.
   *
   * @param {string} event
   * @param {Handler} handler
   */
  on(event, handler) {
    const handlers = this.#handlers.get(event) ?? new Set();
    this.#handlers.set(event, handlers.add(handler));
    return () => void handlers.delete(handler);
  }

  /**
   * How up to date the page is.
   * @returns {State}
   */
  get state() {
    return this.#state;
  }

  /**
   * The transport in use.
   * @returns {"websocket" | "sse" | "polling" | null}
   */
  get transport() {
    return this.#current?.name ?? (this.#failing && !this.#over ? "polling" : null);
  }

  /** For the operator: why there is no WebSocket, and what to check; null while there is no failure. */
  get diagnosis() {
    return this.#diagnosis;
  }

  /** The site's root, with which this page's own addresses begin. */
  get root() {
    return String(this.#root);
  }

  /** The time between two polls, in seconds. */
  get pollSeconds() {
    return this.#pollEvery / 1000;
  }

  /** The page's positions, by stream. */
  get positions() {
    return this.#positions.all();
  }

  /** The requested streams that this user may not read. */
  get denied() {
    return [...this.#denied];
  }

  /**
   * How to fetch the page's state after a loss; null: the event "lost" tells the page. It may be set at any time.
   *
   * @returns {StateFunction | string | URL | null}
   */
  get getState() {
    return this.#getState;
  }

  set getState(getState) {
    this.#getState = getState;
    clearTimeout(this.#lostTimer);
    this.#restore();
  }

  /** Reconnect now, also after a final state; for instance, after the user has signed in. */
  reconnect() {
    this.#hangUp();
    this.#over = null;
    this.#retries.reset();
    this.#begin();
    this.#say();
  }

  /** Close the connection for good. */
  close() {
    this.#finish("stopped");
  }

  // ---- connecting

  #begin() {
    if (this.#over) return;
    this.#listen();
    this.#attempt();
    this.#restore();
  }

  #attempt() {
    clearTimeout(this.#retryTimer);
    const wanted = this.#wanted();
    if (wanted && !this.#next && !this.#over && !this.#away) this.#open(wanted);
  }

  /** Whether the current connection must be replaced. */
  get #recalled() {
    return this.#current !== null && this.#current.recalls < this.#recalls;
  }

  /** @returns {Transport | null} */
  #wanted() {
    if (!this.#current) return this.#turn;
    if (this.#recalled) return this.#current.name;
    return this.#current.name === "websocket" ? null : "websocket";
  }

  /** @param {Transport} name */
  #open(name) {
    const path = name === "sse" ? "channels/updates/sse" : "channels/updates/";
    this.#tell({ what: "opening", transport: name, since: this.positions });
    this.#next = new Connection(name, this.#url(new URL(path, this.#root)), {
      hello: (connection, streams) => {
        this.#spread = Math.min(this.#pollEvery, POLLS * Math.max(0, connection.retry - RETRY));
        this.#adopt(connection, streams);
      },
      update: (connection, update) => this.#apply(update, connection),
      end: (connection, end) => this.#ended(connection, end),
    }, this.#slot);
    this.#next.recalls = this.#recalls;
  }

  /**
   * @param {Connection} connection that has received hello
   * @param {Record<string, StreamState>} streams
   */
  #adopt(connection, streams) {
    this.#tell({ what: "hello", transport: connection.name, streams });
    this.#current?.close();
    this.#current = connection;
    this.#next = null;
    this.#best = this.#turn = connection.name;
    this.#failures = 0;
    this.#failing = false;
    this.#polled = null;
    this.#stopPolling();
    if (connection.name === "websocket") {
      this.#reached = true;
      this.#round = {};
      this.#slot.release();
      this.#climb.reset();
      this.#conclude(null);
    } else {
      this.#round = { websocket: this.#round.websocket };
      this.#explain();
    }
    connection.behind = this.#settle(streams);
    this.#improve();
    this.#say();
  }

  /**
   * @param {Connection} connection
   * @param {End} end
   */
  #ended(connection, end) {
    const { name, greeted } = connection;
    this.#tell({ what: "ended", transport: name, ...end });
    const final = FINAL.get(end.code);
    if (final) {
      this.#finish(final);
      return;
    }
    if (connection === this.#next) {
      this.#next = null;
      this.#failed(name, end);
    } else {
      this.#current = null;
    }
    // A candidate that is still connecting has its own deadline.
    if (!this.#next) this.#retry(end, greeted && { held: greeted.elapsed, retry: connection.retry });
    this.#say();
  }

  /**
   * An attempt failed: choose the next transport. After two, or if the server itself refused, poll too, unless there is
   * a connection.
   *
   * @param {Transport} name
   * @param {End} end
   */
  #failed(name, end) {
    const refused = SERVERS_OWN.has(end.code);
    this.#round = { ...this.#round, [name]: end };
    if (refused && name === "websocket") this.#reached = true;
    if (this.#current) {
      this.#explain();
      return;
    }
    this.#failures += 1;
    if (name === "sse") this.#slot.release();
    // A proxy may refuse or hold back this transport. Where a WebSocket has reached the server, it's the server.
    if (!refused) this.#turn = name === "websocket" && !this.#reached ? "sse" : "websocket";
    if (this.#failures < 2 && !refused) return;
    this.#explain();
    if (this.#failing) return;
    this.#failing = true;
    this.#pollTimer = setTimeout(() => this.#poll(), Math.random() * this.#spread);
  }

  /**
   * @param {End} end
   * @param {{held: number, retry: number} | null} greeted
   */
  #retry(end, greeted) {
    if (this.#current && !this.#recalled && ![4013, 1013].includes(end.code)) {
      this.#improve();
      return;
    }
    // A WebSocket's script can't see the status 429, but the diagnosis has seen it.
    const limited = end.code === 1006 && this.#diagnosis?.code === "too-many-from-address";
    const wait = this.#retries.after(limited ? { ...end, code: 4013 } : end, greeted);
    // A foreign response is from the site itself, or from a rule of the operator's: it won't change soon.
    this.#schedule(Math.max(end.foreign ? this.#pollEvery : 0, wait));
  }

  /** Schedule a replacement for a connection that is not the best transport, or that must be replaced. */
  #improve() {
    if (!this.#current || this.#next) return;
    if (this.#recalled && this.#current.caughtUp) this.#schedule(this.#retries.recall());
    else if (this.#current.name !== "websocket") this.#schedule(this.#climb.next());
  }

  /** @param {number} wait */
  #schedule(wait) {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#attempt(), wait);
  }

  /** Retry at once: the network is back, or the page is visible again. */
  #wake() {
    if (this.#over || this.#away) return;
    this.#retries.reset();
    this.#climb.reset();
    this.#turn = this.#best;
    this.#current?.check();
    if (!this.#restoring) this.#restore();
    if (this.#next || this.#current?.name === "websocket") return;
    this.#attempt();
    if (this.#failing && !this.#polling) this.#poll();
  }

  // ---- polling

  async #poll() {
    this.#stopPolling();
    const polling = new AbortController();
    this.#polling = polling;
    const asked = await poll(this.#url(this.#pollUrl), polling.signal);
    if (polling.signal.aborted) return;
    this.#polling = null;
    const wait = "answer" in asked ? this.#read(asked.answer) : this.#refused(asked.end);
    this.#say();
    if (this.#failing && !this.#over) this.#pollTimer = setTimeout(() => this.#poll(), wait);
  }

  /**
   * Apply a poll's response. Returns the wait until the next poll.
   *
   * @param {{streams: Record<string, StreamState>, updates: Update[], more: boolean}} answer
   */
  #read({ streams, updates, more }) {
    this.#polled = true;
    this.#postponed = false;
    this.#tell({ what: "hello", transport: "polling", streams });
    this.#settle(streams);
    const states = Object.values(streams);
    if (states.length && states.every(({ denied }) => denied)) {
      this.#finish("stopped");
      return 0;
    }
    const whole = updates.every((update) => this.#apply(update, null));
    if (!whole) return this.#pollBackoff.next();
    this.#pollBackoff.reset();
    return more ? 0 : this.#pollEvery * (0.9 + 0.2 * Math.random());
  }

  /**
   * @param {End} end
   * @returns {number} the wait until the next poll
   */
  #refused(end) {
    this.#polled = this.#polled === true && end.status === 503 && !this.#postponed;
    this.#postponed = true;
    this.#tell({ what: "ended", transport: "polling", ...end });
    const final = FINAL.get(end.code);
    if (final) this.#finish(final);
    if (end.foreign) return this.#pollEvery;
    const asked = end.code === 4013 ? Math.max(30_000, end.retryAfter ?? 0) : (end.retryAfter ?? 0);
    return asked + Math.min(this.#pollBackoff.next(), this.#pollEvery);
  }

  #stopPolling() {
    clearTimeout(this.#pollTimer);
    this.#polling?.abort();
    this.#polling = null;
  }

  // ---- updates

  /**
   * Apply the server's state of each stream.
   *
   * @param {Record<string, StreamState>} streams
   * @returns {Map<string, number>} the offsets that the replay will reach
   */
  #settle(streams) {
    const behind = new Map();
    const lost = [];
    this.#denied = [];
    for (const [stream, state] of Object.entries(streams)) {
      const known = this.#positions.get(stream);
      if (state.denied) {
        this.#denied.push(stream); // keep its position: it may be allowed again
      } else if (state.recovered === false) {
        this.#positions.move(stream, state.head);
        lost.push(stream);
      } else if (known === undefined) {
        this.#positions.move(stream, state.head);
      } else if (offset(state.head) > offset(known)) {
        behind.set(stream, offset(state.head));
      }
    }
    if (lost.length) this.#lose(lost);
    return behind;
  }

  /**
   * Hand an update to the page, if it is the next one.
   *
   * @param {Update} update
   * @param {Connection | null} connection that it came by
   * @returns {boolean} false if an earlier update is missing
   */
  #apply(update, connection) {
    const step = this.#positions.step(update.stream, update.position);
    if (step === "next") this.#dispatch(update);
    if (connection) this.#progress(update, connection);
    return step !== "gap";
  }

  /** @param {Update} update */
  #dispatch(update) {
    for (const event of this.#isWithheld(update.stream) ? [] : [update.event, "*"]) {
      for (const handler of this.#handlers.get(event) ?? []) {
        try {
          handler(update.payload, update);
        } catch (error) {
          reportError(error); // an error of the page's own: the update counts as applied
        }
      }
    }
    if (update.event === "streams-changed" && this.#current) this.#replace();
  }

  /** Replace the open connections, without a gap between the old one and the new one. */
  #replace() {
    this.#recalls += 1;
    this.#improve();
  }

  /**
   * @param {Update} update
   * @param {Connection} connection
   */
  #progress({ stream, position }, { behind, caughtUp }) {
    if (caughtUp || !(offset(position) >= (behind.get(stream) ?? Infinity))) return;
    behind.delete(stream);
    if (behind.size) return;
    if (this.#recalled) this.#improve();
    this.#say();
  }

  // ---- losses

  /**
   * Updates of these streams can't be replayed. What getState is about to return may be from before that.
   *
   * @param {string[]} streams
   */
  #lose(streams) {
    for (const stream of streams) this.#lost.add(stream);
    if (!this.#getState) {
      this.#report();
      return;
    }
    // All pages lose at once. On a large site they fetch within a time that grows with their number. Where each new
    // state is lost again, the web server and Daphne use different databases.
    const wait = this.#outdated ? this.#restoreBackoff.next() : Math.random() * this.#spread;
    this.#outdated ??= new Stopwatch();
    this.#stopRestoring();
    this.#restoreTimer = setTimeout(() => this.#restore(), Math.max(wait, LOST - this.#restored.elapsed));
  }

  /** Tell the page of the losses: at most once a minute, then of all of them. */
  #report() {
    clearTimeout(this.#lostTimer);
    this.#lostTimer = setTimeout(() => {
      const detail = { streams: [...this.#lost] };
      if (!this.#getState) this.#lost.clear();
      this.#lostTold.restart();
      this.dispatchEvent(new CustomEvent("lost", { detail, cancelable: true }));
    }, Math.max(0, LOST - this.#lostTold.elapsed));
  }

  /**
   * Whether the page's handlers don't get this stream's updates: the state that getState returns has them, or they
   * follow it.
   *
   * @param {string} stream
   */
  #isWithheld(stream) {
    return this.#getState !== null && this.#lost.has(stream);
  }

  /** Make up for the losses, by the page's getState. */
  async #restore() {
    this.#stopRestoring();
    if (!this.#lost.size || this.#over || this.#away) return;
    if (!this.#getState) {
      this.#outdated = null;
      this.#report();
      this.#say();
      return;
    }
    this.#outdated ??= new Stopwatch();
    const restoring = new AbortController();
    this.#restoring = restoring;
    const losses = { streams: [...this.#lost], signal: restoring.signal };
    let state;
    try {
      state = await fetchState(this.#getState, losses, STATE);
    } catch (error) {
      if (this.#restoring === restoring) this.#failedToRestore(error);
    }
    if (!state || this.#restoring !== restoring) return; // a later loss, or the page's end
    this.#restoring = null;
    clearTimeout(this.#lostTimer);
    this.#lost.clear();
    this.#outdated = null;
    this.#restored.restart();
    this.#restoreBackoff.reset();
    this.#move(state.positions);
    this.dispatchEvent(new CustomEvent("restored", { detail: { streams: losses.streams, data: state.data } }));
    this.#say();
  }

  /** @param {unknown} error */
  #failedToRestore(error) {
    this.#restoring?.abort();
    this.#restoring = null;
    console.warn("updates.js: getState failed, and is called again.", error);
    if (this.#outdated && this.#outdated.elapsed >= LOST) this.#report();
    this.#restoreTimer = setTimeout(() => this.#restore(), this.#restoreBackoff.next());
  }

  #stopRestoring() {
    clearTimeout(this.#restoreTimer);
    this.#restoring?.abort();
    this.#restoring = null;
  }

  /**
   * Set the positions to those of the page's new state. Where the connection is elsewhere, a new one judges them and
   * brings what follows.
   *
   * @param {StreamPositions} positions of streams that the page follows, and perhaps others
   */
  #move(positions) {
    let moved = false;
    for (const [stream, position] of Object.entries(positions)) {
      const known = this.#positions.get(stream);
      if (known === undefined || known === position) continue;
      this.#positions.move(stream, position);
      moved = true;
    }
    if (!moved) return;
    this.#replace();
    if (this.#failing) this.#poll();
  }

  // ---- the page's life cycle

  #listen() {
    this.#listening.abort();
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    /** @type {(target: EventTarget, event: string, react: (event: any) => void) => void} */
    const when = (target, event, react) => target.addEventListener(event, react, { signal });
    when(window, "online", () => this.#wake());
    when(window, "offline", () => this.#current?.check());
    when(document, "visibilitychange", () => document.visibilityState === "visible" && this.#wake());
    when(document, "resume", () => this.#wake());
    // A page in the back/forward cache holds no connection. When it is restored, it continues from its positions.
    when(window, "pagehide", () => {
      this.#away = true;
      this.#hangUp();
    });
    when(window, "pageshow", ({ persisted }) => {
      if (!persisted) return;
      this.#away = false;
      this.#attempt();
      this.#restore();
      this.#say();
    });
    const watch = setInterval(() => this.#current?.watch(), WATCH);
    signal.addEventListener("abort", () => clearInterval(watch));
  }

  #hangUp() {
    clearTimeout(this.#retryTimer);
    this.#stopPolling();
    this.#stopRestoring();
    this.#current?.close();
    this.#next?.close();
    this.#current = this.#next = null;
    this.#turn = this.#best;
    this.#failures = 0;
    this.#failing = false;
    this.#polled = null;
    this.#slot.release();
  }

  /** @param {State} state */
  #finish(state) {
    this.#over = state;
    clearTimeout(this.#lostTimer);
    this.#hangUp();
    this.#listening.abort();
    this.#say();
  }

  // ---- events

  #say() {
    const state = this.#judge();
    if (state === this.#state) return;
    this.#state = state;
    this.dispatchEvent(new Event("state"));
  }

  /** @returns {State} */
  #judge() {
    if (this.#over) return this.#over;
    const outdated = this.#outdated !== null;
    if (this.#current) return this.#current.caughtUp && !outdated ? "live" : "catching-up";
    if (!this.#failing || this.#polled === null) return "catching-up";
    if (!this.#polled) return "offline";
    return outdated ? "catching-up" : "polling";
  }

  /** @param {object} detail */
  #tell(detail) {
    this.dispatchEvent(new CustomEvent("connection", { detail }));
  }

  /** Find out why there is no WebSocket: once a minute, or at once if the failure differs from the last one. */
  async #explain() {
    const round = this.#round;
    const of = JSON.stringify(round);
    if (!round.websocket || (of === this.#diagnosed.of && this.#diagnosed.since.elapsed < DIAGNOSE)) return;
    this.#diagnosed = { of, since: new Stopwatch() };
    const diagnosis = await diagnose(this.#root, round);
    if (this.#diagnosed.of !== of) return;
    this.#conclude(diagnosis);
    if (PREVENTED.has(diagnosis.code) && this.#reached) {
      this.#reached = false; // this network differs from the one where a WebSocket worked
      this.#turn = "sse";
    }
  }

  /** @param {Diagnosis | null} diagnosis */
  #conclude(diagnosis) {
    if (!diagnosis) this.#diagnosed = { of: "", since: new Stopwatch(Infinity) };
    if (diagnosis?.code === this.#diagnosis?.code) return;
    this.#diagnosis = diagnosis;
    if (diagnosis) console.warn(`updates.js: ${diagnosis.text} Check: ${diagnosis.setting}`);
    this.dispatchEvent(new Event("diagnosis"));
  }

  /**
   * A transport's URL, with the page's positions. Nothing in it needs escaping, so the longest allowed list fits.
   *
   * @param {URL} address
   */
  #url(address) {
    const url = new URL(address);
    const since = String(this.#positions);
    const parameters = [this.#streams.length && `streams=${this.#streams.join(",")}`, since && `since=${since}`];
    url.search = parameters.filter(Boolean).join("&");
    return url;
  }
}
