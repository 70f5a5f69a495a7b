// Live updates for a page: by a WebSocket if possible, else by server-sent events, else by polling once a minute. The
// transport makes no difference to the page: each update arrives once, in order.
//
//   const updates = connect({ positions: { "user:7": "14-9f3ac1d20b7e4455" } });
//   updates.on("new-message", (payload) => …);
//   updates.addEventListener("lost", () => location.reload());
//
// docs/reference/protocol.md describes the wire, docs/reference/updates-js.md this module. It needs only the modules
// beside it, and no build step. Types are in the comments. Times are in milliseconds unless a name says seconds.

import { Backoff, Retries, Stopwatch } from "./backoff.js";
import { Connection, RETRY } from "./connection.js";
import { diagnose } from "./diagnosis.js";
import { Positions, offset } from "./positions.js";
import { Slot } from "./slot.js";
import { poll } from "./transports.js";

/**
 * @typedef {import("./connection.js").Update} Update
 * @typedef {import("./connection.js").StreamState} StreamState
 * @typedef {import("./diagnosis.js").Diagnosis} Diagnosis
 * @typedef {import("./diagnosis.js").Round} Round
 * @typedef {import("./transports.js").End} End
 * @typedef {"catching-up" | "live" | "polling" | "offline" | "signed-out" | "stopped"} State
 * @typedef {(payload: any, update: Update) => void} Handler
 */

/**
 * `root`: the site's root. `positions`: by stream, as read before the data that the page shows. `streams`: by default,
 * those of `positions`; without any, the user's own stream and `all`, from now on; if nobody is signed in, `all`.
 * `pollSeconds`: the time between two polls, where no other transport works.
 *
 * @typedef {object} Options
 * @property {string | URL} [root]
 * @property {Record<string, string>} [positions]
 * @property {string[]} [streams]
 * @property {number} [pollSeconds]
 */

const WATCH = 5_000; // between two checks for silence
const LOST = 60_000; // the shortest time between two events "lost", at which a page reloads its state
const POLLS = 4; // the first polls of all pages are spread over this multiple of the time for their reconnects
const DIAGNOSE = 60_000; // between two diagnoses of the same failure

/**
 * Close codes after which nothing is tried again until the page is loaded again or calls `reconnect`, with the state.
 * @type {Map<number, State>}
 */
const FINAL = new Map([[4000, "stopped"], [4001, "signed-out"], [4003, "stopped"], [4009, "signed-out"]]);

/** Close codes before hello that the server itself sent: another transport would end the same way. */
const SERVERS_OWN = new Set([1011, 1012, 1013, 4008, 4010, 4013]);

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
 * can't be replayed, "connection" for each step of a connection.
 */
export class Updates extends EventTarget {
  #root;
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
  /** Whether server-sent events worked where the last WebSocket failed. */
  #fellBack = false;
  /** How many changes of our rights the server has announced. */
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
  /** @type {Set<string>} */
  #lost = new Set();
  #lostTold = new Stopwatch(Infinity);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #lostTimer;
  /** @type {string[]} */
  #denied = [];
  #listening = new AbortController();

  /** @param {Options} options */
  constructor({ root = "/", positions = {}, streams, pollSeconds = 60 } = {}) {
    super();
    this.#root = new URL(root, location.href);
    this.#positions = new Positions(positions);
    this.#streams = streams ?? Object.keys(positions);
    this.#pollEvery = pollSeconds * 1000;
    this.#listen();
    this.#attempt();
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

  /** The page's positions, by stream. */
  get positions() {
    return this.#positions.all();
  }

  /** The requested streams that this user may not read. */
  get denied() {
    return [...this.#denied];
  }

  /** Reconnect now, also after a final state; for instance, after the user has signed in. */
  reconnect() {
    this.#hangUp();
    this.#over = null;
    this.#listen();
    this.#retries.reset();
    this.#attempt();
    this.#say();
  }

  /** Close the connection for good. */
  close() {
    this.#finish("stopped");
  }

  // ---- connecting

  /** Try, in turn, the transports that are better than the current one, until one receives hello. */
  #attempt() {
    clearTimeout(this.#retryTimer);
    if (!this.#next && !this.#over && !this.#away) this.#try(this.#wanted(), {});
  }

  /** Whether our rights have changed since the current connection was opened. */
  get #recalled() {
    return this.#current !== null && this.#current.recalls < this.#recalls;
  }

  /** @returns {("websocket" | "sse")[]} */
  #wanted() {
    if (!this.#current) return this.#fellBack ? ["sse", "websocket"] : ["websocket", "sse"];
    if (this.#current.name === "websocket") return this.#recalled ? ["websocket"] : [];
    return this.#recalled ? ["websocket", "sse"] : ["websocket"];
  }

  /**
   * @param {("websocket" | "sse")[]} names
   * @param {Round} round how the others ended
   */
  #try([name, ...others], round) {
    if (!name) return;
    const path = name === "sse" ? "channels/updates/sse" : "channels/updates/";
    this.#tell({ what: "opening", transport: name, since: this.positions });
    this.#next = new Connection(name, this.#url(path), {
      hello: (connection, streams) => {
        this.#spread = Math.min(this.#pollEvery, POLLS * Math.max(0, connection.retry - RETRY));
        this.#adopt(connection, streams, round);
      },
      update: (connection, update) => this.#apply(update, connection),
      end: (connection, end) => this.#ended(connection, end, others, round),
    }, this.#slot);
    this.#next.recalls = this.#recalls;
  }

  /**
   * @param {Connection} connection that has received hello
   * @param {Record<string, StreamState>} streams
   * @param {Round} round how the transports ended that were tried before it
   */
  #adopt(connection, streams, round) {
    this.#tell({ what: "hello", transport: connection.name, streams });
    this.#current?.close();
    this.#current = connection;
    this.#next = null;
    this.#fellBack = connection.name === "sse";
    this.#failing = false;
    this.#polled = null;
    this.#stopPolling();
    if (connection.name === "websocket") {
      this.#slot.release();
      this.#climb.reset();
      this.#conclude(null);
    } else {
      this.#explain(round);
    }
    connection.behind = this.#settle(streams);
    this.#improve();
    this.#say();
  }

  /**
   * @param {Connection} connection
   * @param {End} end
   * @param {("websocket" | "sse")[]} others the transports still to try
   * @param {Round} round
   */
  #ended(connection, end, others, round) {
    const { name, greeted } = connection;
    this.#tell({ what: "ended", transport: name, ...end });
    const final = FINAL.get(end.code);
    if (final) {
      this.#finish(final);
      return;
    }
    const candidate = connection === this.#next;
    if (candidate) this.#next = null;
    else this.#current = null;
    round = { ...round, [name]: end };
    // A proxy may refuse or hold back this transport, or no server answers. A code of the server's own is final.
    if (candidate && others.length && !SERVERS_OWN.has(end.code)) {
      this.#try(others, round);
      return;
    }
    if (candidate) this.#failed(round);
    // A candidate that is still connecting has its own deadline.
    if (!this.#next) this.#retry(end, greeted && { held: greeted.elapsed, retry: connection.retry }, round);
    this.#say();
  }

  /**
   * All transports failed: poll, unless there is a connection.
   *
   * @param {Round} round
   */
  #failed(round) {
    this.#explain(round);
    if (this.#current) return;
    this.#slot.release();
    if (this.#failing) return;
    this.#failing = true;
    this.#pollTimer = setTimeout(() => this.#poll(), Math.random() * this.#spread);
  }

  /**
   * @param {End} end
   * @param {{held: number, retry: number} | null} greeted
   * @param {Round} round
   */
  #retry(end, greeted, round) {
    if (this.#current && !this.#recalled && ![4013, 1013].includes(end.code)) {
      this.#improve();
      return;
    }
    // The response is from the site itself, or from a rule of the operator's: it won't change soon.
    const settled = Object.values(round).some(({ foreign }) => foreign);
    this.#schedule(Math.max(settled ? this.#pollEvery : 0, this.#retries.after(end, greeted)));
  }

  /** Schedule a replacement for a connection that is not the best transport, or predates a change of rights. */
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
    this.#current?.check();
    if (this.#next || this.#current?.name === "websocket") return;
    this.#attempt();
    if (this.#failing && !this.#polling) this.#poll();
  }

  // ---- polling

  async #poll() {
    this.#stopPolling();
    const polling = new AbortController();
    this.#polling = polling;
    const asked = await poll(this.#url("updates/"), polling.signal);
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
    this.#polled = false;
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
    for (const event of [update.event, "*"]) {
      for (const handler of this.#handlers.get(event) ?? []) {
        try {
          handler(update.payload, update);
        } catch (error) {
          reportError(error); // an error of the page's own: the update counts as applied
        }
      }
    }
    if (update.event === "streams-changed" && this.#current) {
      this.#recalls += 1;
      this.#improve();
    }
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

  /**
   * Tell the page that updates of these streams can't be replayed: at most once a minute, then for all of them.
   *
   * @param {string[]} streams
   */
  #lose(streams) {
    for (const stream of streams) this.#lost.add(stream);
    clearTimeout(this.#lostTimer);
    this.#lostTimer = setTimeout(() => {
      const detail = { streams: [...this.#lost] };
      this.#lost.clear();
      this.#lostTold.restart();
      this.dispatchEvent(new CustomEvent("lost", { detail }));
    }, Math.max(0, LOST - this.#lostTold.elapsed));
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
      this.#say();
    });
    const watch = setInterval(() => this.#current?.watch(), WATCH);
    signal.addEventListener("abort", () => clearInterval(watch));
  }

  #hangUp() {
    clearTimeout(this.#retryTimer);
    this.#stopPolling();
    this.#current?.close();
    this.#next?.close();
    this.#current = this.#next = null;
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
    if (this.#current) return this.#current.caughtUp ? "live" : "catching-up";
    if (!this.#failing || this.#polled === null) return "catching-up";
    return this.#polled ? "polling" : "offline";
  }

  /** @param {object} detail */
  #tell(detail) {
    this.dispatchEvent(new CustomEvent("connection", { detail }));
  }

  /**
   * Find out why there is no WebSocket: once a minute, or at once if the failure differs from the last one.
   *
   * @param {Round} round
   */
  async #explain(round) {
    const of = JSON.stringify(round);
    if (!round.websocket || (of === this.#diagnosed.of && this.#diagnosed.since.elapsed < DIAGNOSE)) return;
    this.#diagnosed = { of, since: new Stopwatch() };
    const diagnosis = await diagnose(this.#root, round);
    if (this.#diagnosed.of === of) this.#conclude(diagnosis);
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
   * @param {string} path
   */
  #url(path) {
    const url = new URL(path, this.#root);
    const since = String(this.#positions);
    const parameters = [this.#streams.length && `streams=${this.#streams.join(",")}`, since && `since=${since}`];
    url.search = parameters.filter(Boolean).join("&");
    return url;
  }
}
