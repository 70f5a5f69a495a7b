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
export function fetchPage(options?: {
    signal?: AbortSignal | undefined;
} | undefined): Promise<{
    page: Document;
    positions: Record<string, string>;
}>;
/**
 * The page's connection. It opens once the page's own modules and deferred scripts have run, so that their handlers miss
 * nothing.
 *
 * @type {Updates}
 */
export const updates: Updates;
import { Updates } from "./updates.js";
