/**
 * Why a connection ended, or a request failed.
 *
 * @typedef {object} End
 * @property {number} code from the protocol's table of close codes; 1006 if the server gave none
 * @property {number} [status] the HTTP status, where the browser shows it to scripts; 0 for a redirect
 * @property {number} [retryAfter] the wait that the server asks for, in milliseconds
 * @property {boolean} [opened] whether the connection was opened
 * @property {boolean} [silent] whether it was ended because no frame arrived in time
 * @property {boolean} [foreign] whether the response is not the protocol's, such as a page of the site
 * @property {boolean} [full] whether no request was made, because other tabs use all places (slot.js)
 */
/**
 * An open connection.
 *
 * @typedef {object} Transport
 * @property {(() => void) | null} ask send a ping, which the server answers; null if the transport can't
 * @property {() => void} close close it; the listener is not called again
 */
/**
 * The callbacks of a transport: `open` when the server has accepted the request, `frame` for each frame, as text; `end`
 * once.
 *
 * @typedef {object} Listener
 * @property {() => void} open
 * @property {(text: string) => void} frame
 * @property {(end: End) => void} end
 */
/**
 * @param {URL} url
 * @param {Listener} listener
 * @returns {Transport}
 */
export function openWebSocket(url: URL, listener: Listener): Transport;
/**
 * Server-sent events, by fetch(). An EventSource hides the status, and reconnects on its own to its first URL.
 *
 * @param {URL} url
 * @param {Listener} listener
 * @param {import("./slot.js").Slot} slot
 * @returns {Transport}
 */
export function openEventStream(url: URL, listener: Listener, slot: import("./slot.js").Slot): Transport;
/**
 * Poll once. Returns the response's JSON, or why there is none.
 *
 * @param {URL} url
 * @param {AbortSignal} signal
 * @returns {Promise<{answer: any} | {end: End}>}
 */
export function poll(url: URL, signal: AbortSignal): Promise<{
    answer: any;
} | {
    end: End;
}>;
/**
 * Why a connection ended, or a request failed.
 */
export type End = {
    /**
     * from the protocol's table of close codes; 1006 if the server gave none
     */
    code: number;
    /**
     * the HTTP status, where the browser shows it to scripts; 0 for a redirect
     */
    status?: number | undefined;
    /**
     * the wait that the server asks for, in milliseconds
     */
    retryAfter?: number | undefined;
    /**
     * whether the connection was opened
     */
    opened?: boolean | undefined;
    /**
     * whether it was ended because no frame arrived in time
     */
    silent?: boolean | undefined;
    /**
     * whether the response is not the protocol's, such as a page of the site
     */
    foreign?: boolean | undefined;
    /**
     * whether no request was made, because other tabs use all places (slot.js)
     */
    full?: boolean | undefined;
};
/**
 * An open connection.
 */
export type Transport = {
    /**
     * send a ping, which the server answers; null if the transport can't
     */
    ask: (() => void) | null;
    /**
     * close it; the listener is not called again
     */
    close: () => void;
};
/**
 * The callbacks of a transport: `open` when the server has accepted the request, `frame` for each frame, as text; `end`
 * once.
 */
export type Listener = {
    open: () => void;
    frame: (text: string) => void;
    end: (end: End) => void;
};
