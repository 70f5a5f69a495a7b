// Fetches a page's state again, after updates that can't be replayed. (It doesn't name updates.js, not even in a comment:
// Django's static files with hashed names forbid a circle.)

/**
 * Positions by stream, which the server has read before the state that they belong to.
 *
 * @typedef {Record<string, string>} StreamPositions
 */

/**
 * The streams whose updates can't be replayed. `signal` is aborted when the new state is of no use any more.
 *
 * @typedef {{streams: string[], signal: AbortSignal}} Losses
 */

/**
 * It shows the page's new state and returns its positions. Or it returns a URL: the response is JSON with `positions`,
 * and comes with the event "restored". If it rejects, it is called again.
 *
 * @typedef {(losses: Losses) => StreamPositions | string | URL | Promise<StreamPositions | string | URL>} StateFunction
 */

const POSITION = /^(0-0|[1-9][0-9]{0,15}-[0-9a-f]{16})$/;

/**
 * Call the page's getState, and return the new positions. `data` is the response, if getState is or returns a URL.
 * Rejects if there is no valid answer within this time.
 *
 * @param {StateFunction | string | URL} getState
 * @param {Losses} losses
 * @param {number} milliseconds
 * @returns {Promise<{positions: StreamPositions, data: any}>}
 */
export async function fetchState(getState, losses, milliseconds) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const tooLate = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${milliseconds / 1000} s`)), milliseconds);
  });
  try {
    const answer = await Promise.race([ask(getState, losses), tooLate]);
    return { positions: valid(answer.positions, losses.streams), data: answer.data };
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @param {StateFunction | string | URL} getState
 * @param {Losses} losses
 * @returns {Promise<{positions: any, data?: any}>}
 */
async function ask(getState, losses) {
  const answer = typeof getState === "function" ? await getState(losses) : getState;
  if (typeof answer !== "string" && !(answer instanceof URL)) return { positions: answer };
  const url = new URL(answer, document.baseURI);
  const headers = { Accept: "application/json" };
  const response = await fetch(url, { headers, cache: "no-store", redirect: "manual", signal: losses.signal });
  if (!response.ok) throw new Error(`${url} answers ${response.status || "a redirect"}`);
  const data = await response.json();
  return { positions: data?.positions, data };
}

/**
 * Those of the positions that are valid. Throws an Error if one of the streams has none.
 *
 * @param {any} positions
 * @param {string[]} streams
 * @returns {StreamPositions}
 */
function valid(positions, streams) {
  const found = Object.entries(positions ?? {}).filter(([, position]) => POSITION.test(position));
  const result = Object.fromEntries(found);
  const missing = streams.filter((stream) => !Object.hasOwn(result, stream));
  if (missing.length) throw new Error(`it has no position of ${missing.join(", ")}`);
  return result;
}
