/**
 * Connect this page.
 *
 * @param {Options} [options]
 */
export function connect(options?: Options | undefined): Updates;
declare const Updates_base: new () => UpdatesTarget;
/**
 * A page's updates. Events: "state" when `state` changes, "diagnosis" when `diagnosis` changes, "lost" when updates
 * can't be replayed, "restored" when getState has made up for them, "connection" for each step of a connection.
 */
export class Updates extends Updates_base {
    /** @param {Options} options */
    constructor({ root, poll, positions, streams, pollSeconds, getState, ready, state }?: Options);
    /**
     * Call `handler` for each update with this event name; "*": for every update. Returns a function that removes it.
     *
     * @param {string} event
     * @param {Handler} handler
     */
    on(event: string, handler: Handler): () => undefined;
    /**
     * How up to date the page is.
     * @returns {State}
     */
    get state(): State;
    /**
     * The transport in use.
     * @returns {"websocket" | "sse" | "polling" | null}
     */
    get transport(): "websocket" | "sse" | "polling" | null;
    /** For the operator: why there is no WebSocket, and what to check; null while there is no failure. */
    get diagnosis(): import("./diagnosis.js").Diagnosis | null;
    /** The site's root, with which this page's own addresses begin. */
    get root(): string;
    /** The time between two polls, in seconds. */
    get pollSeconds(): number;
    /** The page's positions, by stream. */
    get positions(): {
        [k: string]: string;
    };
    /** The requested streams that this user may not read. */
    get denied(): string[];
    set getState(arg: string | URL | import("./state.js").StateFunction | null);
    /**
     * How to fetch the page's state after a loss; null: the event "lost" tells the page. It may be set at any time.
     *
     * @returns {StateFunction | string | URL | null}
     */
    get getState(): string | URL | import("./state.js").StateFunction | null;
    /** Reconnect now, also after a final state; for instance, after the user has signed in. */
    reconnect(): void;
    /** Close the connection for good. */
    close(): void;
    #private;
}
export type Update = import("./connection.js").Update;
export type StreamState = import("./connection.js").StreamState;
export type Diagnosis = import("./diagnosis.js").Diagnosis;
export type Round = import("./diagnosis.js").Round;
export type StateFunction = import("./state.js").StateFunction;
export type StreamPositions = import("./state.js").StreamPositions;
export type End = import("./transports.js").End;
export type Transport = "websocket" | "sse";
export type State = "catching-up" | "live" | "polling" | "offline" | "signed-out" | "stopped";
export type Handler = (payload: any, update: Update) => void;
/**
 * `root`: the site's root, for /channels/. `poll`: the URL for polling, relative to the root. `positions`: by stream, as
 * read before the data that the page shows. `streams`: by default, those of `positions`; without any, the user's own
 * stream and `all`, or only `all` if nobody is signed in, from now on. `pollSeconds`: the time between two polls, where
 * no other transport works. `getState`: see there. `ready`: connect when this promise is settled, for instance when all
 * handlers are set. `state`: begin in this final state, and connect only when `reconnect` is called.
 */
export type Options = {
    root?: string | URL | undefined;
    poll?: string | URL | undefined;
    positions?: Record<string, string> | undefined;
    streams?: string[] | undefined;
    pollSeconds?: number | undefined;
    getState?: string | URL | import("./state.js").StateFunction | null | undefined;
    ready?: Promise<unknown> | undefined;
    state?: "stopped" | "signed-out" | undefined;
};
/**
 * The events of Updates, by their names.
 */
export type UpdatesEvents = {
    state: Event;
    diagnosis: Event;
    lost: CustomEvent<{
        streams: string[];
    }>;
    restored: CustomEvent<{
        streams: string[];
        data: any;
    }>;
    connection: CustomEvent<{
        [detail: string]: any;
        what: "opening" | "hello" | "ended";
        transport: string;
    }>;
};
/**
 * An EventTarget that knows the types of these events.
 */
export type UpdatesTarget = {
    addEventListener<Name extends keyof UpdatesEvents>(name: Name, listener: (event: UpdatesEvents[Name]) => void, options?: boolean | AddEventListenerOptions): void;
} & EventTarget;
export {};
