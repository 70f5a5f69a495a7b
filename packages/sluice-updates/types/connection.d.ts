export const RETRY: 2000;
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
     * @param {"websocket" | "sse"} name the transport
     * @param {URL} url
     * @param {User} user
     * @param {import("./slot.js").Slot} slot
     */
    constructor(name: "websocket" | "sse", url: URL, user: User, slot: import("./slot.js").Slot);
    /**
     * Since hello; null before it.
     * @type {Stopwatch | null}
     */
    greeted: Stopwatch | null;
    /** The window for reconnecting after a restart, in milliseconds, from hello. */
    retry: number;
    /**
     * The heads that the replay has not reached yet: offsets by stream.
     * @type {Map<string, number>}
     */
    behind: Map<string, number>;
    /** How many changes of our rights the server had announced when this connection was opened. */
    recalls: number;
    name: "websocket" | "sse";
    /** Whether the replay is complete. */
    get caughtUp(): boolean;
    /** End the connection if it has been silent for too long. Call it every few seconds. */
    watch(): void;
    /** Send a ping, where the transport can, and expect a frame. Call it when the connection may be dead. */
    check(): void;
    /** Close it; `end` is not called. */
    close(): void;
    #private;
}
/**
 * A frame that carries an update.
 */
export type Update = {
    event: string;
    payload: any;
    stream: string;
    position: string;
};
/**
 * The state of one stream, in hello and in a poll's response.
 */
export type StreamState = {
    head: string;
    recovered?: boolean;
    denied?: undefined;
} | {
    denied: true;
};
/**
 * The callbacks of a connection's user. `update` returns false if an earlier update is missing.
 */
export type User = {
    hello: (connection: Connection, streams: Record<string, StreamState>) => void;
    update: (connection: Connection, update: Update) => boolean;
    /**
     * called once, but not after close()
     */
    end: (connection: Connection, end: import("./transports.js").End) => void;
};
import { Stopwatch } from "./backoff.js";
