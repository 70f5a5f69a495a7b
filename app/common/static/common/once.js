// Coalesces calls: of several calls of a function while it runs, only the last one matters.

import { Backoff } from "../sluice_updates/backoff.js";

const GAP = 250; // milliseconds between two runs, so that a burst of updates makes no burst of requests

/**
 * Returns a function that does `work`. If it is called while `work` runs, `work` runs once more afterwards, even after several
 * calls. So the last run begins after the last call. Failed work is retried with back-off, since no other update may follow.
 *
 * @param {() => Promise<boolean>} work resolves to whether it is done; false: retry
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
 * Whether a retry of the request is useless. No response (null) may be retried.
 *
 * @param {Response | null} response
 */
export function isFinal(response) {
  return response !== null && response.status < 500 && ![408, 429].includes(response.status);
}
