// Fetches this page again and applies the changes in its live part, #live. So the server's template is the only one.

import { keepFocus } from "./focus.js";
import { isFinal, once } from "./once.js";

/** @param {ParentNode} within */
const tokens = (within) =>
  /** @type {NodeListOf<HTMLInputElement>} */ (within.querySelectorAll('input[name="csrfmiddlewaretoken"]'));

/**
 * Update #live to its state after the call. A page of older rows stays on these rows.
 */
export const refresh = once(async () => {
  if (!document.getElementById("live")) return true;
  const response = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!response?.ok || response.redirected) return isFinal(response); // redirected: signed out, which the connection shows
  show(new DOMParser().parseFromString(await response.text(), "text/html"));
  return true;
});

/**
 * Change #live to that of a fresh page. Elements with an id are kept where possible, with the focus.
 *
 * @param {Document} page
 */
export function show(page) {
  const part = document.getElementById("live");
  const fresh = page.getElementById("live");
  if (!part || !fresh) return;
  const token = tokens(document)[0]?.value; // each response has another one; keep ours, so that forms don't differ
  for (const input of tokens(fresh)) input.setAttribute("value", token ?? input.value);
  const giveFocus = keepFocus(part);
  renew(part, document.adoptNode(fresh));
  giveFocus();
}

/**
 * Change `old` to `fresh`, and keep what is equal.
 *
 * @param {Element} old
 * @param {Element} fresh
 */
function renew(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  const keyed = [...old.children, ...fresh.children].every(({ id }) => id);
  if (old.tagName !== fresh.tagName || !keyed || !fresh.children.length || !old.children.length) {
    old.replaceWith(fresh);
    return;
  }
  for (const { name, value } of fresh.attributes) old.setAttribute(name, value);
  const kept = new Map([...old.children].map((child) => [child.id, child]));
  let before = null; // goes from the end to the beginning, so that a new child is inserted before the next one
  for (const child of [...fresh.children].reverse()) {
    const known = kept.get(child.id);
    if (!known) {
      old.insertBefore(child, before);
      before = child;
      continue;
    }
    kept.delete(child.id);
    if (known.nextElementSibling !== before) old.insertBefore(known, before);
    renew(known, child);
    before = document.getElementById(child.id);
  }
  for (const child of kept.values()) child.remove();
}
