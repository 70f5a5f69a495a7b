/** Exponential backoff with full jitter: a random time between zero and a limit that doubles with each attempt. */
export class Backoff {
    /**
     * @param {number} first the first limit
     * @param {number} longest the largest limit
     */
    constructor(first?: number, longest?: number);
    first: number;
    longest: number;
    next(): number;
    reset(): void;
    #private;
}
/** How long to wait after a connection has ended, by the protocol's table of close codes. */
export class Retries {
    reset(): void;
    /**
     * The wait after a connection that ended, or that never opened.
     *
     * @param {import("./transports.js").End} end
     * @param {{held: number, retry: number} | null} greeted if it had received hello: how long it lasted, and the
     *   window within which the server wants its clients back after a restart
     */
    after(end: import("./transports.js").End, greeted: {
        held: number;
        retry: number;
    } | null): number;
    /** The wait before reconnecting at the server's request: none, except for a second request within 10 s. */
    recall(): number;
    #private;
}
/**
 * Measures elapsed time, including the time that the machine sleeps. Of the two clocks, one stops during sleep and the
 * other may be set by hand; the larger difference counts.
 */
export class Stopwatch {
    /** @param {number} [already] milliseconds that count as elapsed at the start */
    constructor(already?: number | undefined);
    get elapsed(): number;
    restart(): void;
    #private;
}
