/**
 * Call the page's getState, and return the new positions. `data` is the response, if getState is or returns a URL.
 * Rejects if there is no valid answer within this time.
 *
 * @param {import("./updates.js").StateFunction | string | URL} getState
 * @param {import("./updates.js").Losses} losses
 * @param {number} milliseconds
 * @returns {Promise<{positions: Record<string, string>, data: any}>}
 */
export function fetchState(getState: import("./updates.js").StateFunction | string | URL, losses: import("./updates.js").Losses, milliseconds: number): Promise<{
    positions: Record<string, string>;
    data: any;
}>;
