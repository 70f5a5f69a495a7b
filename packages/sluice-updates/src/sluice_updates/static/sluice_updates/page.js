// The connection of a page with the template tag {% sluice_updates %}. All modules of the page import and share it:
//
//   updates.on("new-message", (payload) => …);
//
// Each update is also an event of the document, for scripts that are not modules: `sluice:new-message`, with the update
// as its detail. docs/reference/updates-js.md describes both.

import { Updates } from "./updates.js";

const ID = "sluice-updates"; // of the element with the page's data: sluice_updates/page.py
const RELOAD = 60_000; // the shortest time between two loads of the page

// A page may load this module twice: by its name with a hash and without, or in a bundle of its own.
const KEY = Symbol.for("sluice_updates.page");

/**
 * The page's connection. It opens once the page's own modules and deferred scripts have run, so that their handlers miss
 * nothing.
 *
 * @type {Updates}
 */
export const updates = (/** @type {any} */ (document)[KEY] ??= start(read(document)));

/**
 * Fetch this page again. For `getState` on a page that the server renders:
 *
 *   updates.getState = async ({ signal }) => {
 *     const { page, positions } = await fetchPage({ signal });
 *     document.getElementById("notes").replaceWith(page.getElementById("notes"));
 *     return positions;
 *   };
 *
 * @param {{signal?: AbortSignal}} [options]
 * @returns {Promise<{page: Document, positions: Record<string, string>}>} rejects if there is no such page any more
 */
export async function fetchPage(options = {}) {
  const headers = { Accept: "text/html" };
  const response = await fetch(location.href, { ...options, headers, cache: "no-store", redirect: "manual" });
  if (!response.ok) throw new Error(`${location.href} answers ${response.status || "a redirect"}`);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  return { page, positions: read(page).positions };
}

/**
 * @param {Document} page
 * @returns {import("./updates.js").Options & {positions: Record<string, string>, reload: boolean}}
 */
function read(page) {
  const text = page.getElementById(ID)?.textContent;
  if (!text) throw new Error("This page has no {% sluice_updates %}: put the tag into its template.");
  return JSON.parse(text);
}

/** @param {import("./updates.js").Options & {reload: boolean}} data */
function start({ reload, ...options }) {
  const updates = new Updates({ ...options, ready: scriptsHaveRun() });
  updates.on("*", (_, update) => {
    document.dispatchEvent(new CustomEvent(`sluice:${update.event}`, { detail: update, bubbles: true }));
  });
  // After all listeners of the page: one of them may have prevented it.
  updates.addEventListener("lost", (event) => {
    if (reload) setTimeout(() => event.defaultPrevented || loadAgain());
  });
  return updates;
}

/** When the document is parsed, and its modules and deferred scripts have run. */
function scriptsHaveRun() {
  return new Promise((resolve) => {
    if (document.readyState === "complete") resolve(undefined);
    document.addEventListener("DOMContentLoaded", resolve, { once: true });
    window.addEventListener("load", resolve, { once: true }); // this module was imported between the two events
  });
}

/** Load the page again. A page that was just loaded that way waits, or it would go on without end. */
function loadAgain() {
  const [navigation] = performance.getEntriesByType("navigation");
  const isAgain = /** @type {any} */ (navigation)?.type === "reload";
  setTimeout(() => location.reload(), isAgain ? Math.max(0, RELOAD - performance.now()) : 0);
}
