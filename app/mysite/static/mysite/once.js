// Work that may be asked for at any time, and of which only the last matters.

/**
 * A function that does `work` when called; called while it is being done, once more afterwards, however often it was called.
 * So what is done last has begun after the last call.
 *
 * @param {() => Promise<void>} work
 */
export function once(work) {
  let running = false;
  let again = false;
  return async function run() {
    again = true;
    if (running) return;
    running = true;
    try {
      while (again) {
        again = false;
        await work();
      }
    } finally {
      running = false;
    }
  };
}
