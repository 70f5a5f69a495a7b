// Work that may be asked for at any time, and of which only the last matters.

import { Backoff } from "../sluice_updates/backoff.js";

const GAP = 250; // milliseconds between two runs: a burst of updates is no burst of requests

/**
 * A function that does `work` when called; called while it is being done, once more afterwards, however often it was called.
 * So what is done last has begun after the last call. What failed is tried again, with back-off: the updates that asked for it
 * came by another way, and nothing else may come for long.
 *
 * @param {() => Promise<boolean>} work returns whether it is done; false: it is to be tried again
 */
export function once(work) {
  const backoff = new Backoff(1_000, 15_000);
  let running = false;
  let again = false;
  return async function run() {
    again = true;
    if (running) return;
    running = true;
    while (again) {
      again = false;
      const done = await work().catch(() => false);
      if (done) backoff.reset();
      else again = true;
      await new Promise((resolve) => setTimeout(resolve, done ? GAP : GAP + backoff.next()));
    }
    running = false;
  };
}

/**
 * Whether a request's answer, or null where there was none, is one that another try would not better.
 *
 * @param {Response | null} response
 */
export function isFinal(response) {
  return response !== null && response.status < 500 && ![408, 429].includes(response.status);
}
