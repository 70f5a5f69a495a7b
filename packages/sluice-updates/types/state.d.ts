/**
 * Call the page's getState, and return the new positions. `data` is the response, if getState is or returns a URL.
 * Rejects if there is no valid answer within this time.
 *
 * @param {StateFunction | string | URL} getState
 * @param {Losses} losses
 * @param {number} milliseconds
 * @returns {Promise<{positions: StreamPositions, data: any}>}
 */
export function fetchState(getState: StateFunction | string | URL, losses: Losses, milliseconds: number): Promise<{
    positions: StreamPositions;
    data: any;
}>;
/**
 * Positions by stream, which the server has read before the state that they belong to.
 */
export type StreamPositions = Record<string, string>;
/**
 * The streams whose updates can't be replayed. `signal` is aborted when the new state is of no use any more.
 */
export type Losses = {
    streams: string[];
    signal: AbortSignal;
};
/**
 * It shows the page's new state and returns its positions. Or it returns a URL: the response is JSON with `positions`,
 * and comes with the event "restored". If it rejects, it is called again.
 */
export type StateFunction = (losses: Losses) => StreamPositions | string | URL | Promise<StreamPositions | string | URL>;
