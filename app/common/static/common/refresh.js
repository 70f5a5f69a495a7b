// Fetch this page again and take over what has changed in its live part, #live: the server's template stays the only one.

import { keepFocus } from "./focus.js";
import { isFinal, once } from "./once.js";

/** @param {ParentNode} within */
const tokens = (within) =>
  /** @type {NodeListOf<HTMLInputElement>} */ (within.querySelectorAll('input[name="csrfmiddlewaretoken"]'));

/**
 * What is in #live as of a moment after the call, of the page that is looked at: one of older ones stays that. Elements with an id
 * stay the same ones, with the focus, where they can.
 */
export const refresh = once(async () => {
  const part = document.getElementById("live");
  if (!part) return true;
  const response = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!response?.ok || response.redirected) return isFinal(response); // signed out: the connection says so
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("live");
  if (!fresh) return true;
  const token = tokens(document)[0]?.value; // each page has another one; all are good
  for (const input of tokens(fresh)) input.setAttribute("value", token ?? input.value);
  const giveFocus = keepFocus(part);
  renew(part, document.adoptNode(fresh));
  giveFocus();
  return true;
});

/**
 * Make `old` what `fresh` is, and leave alone what is equal.
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
  let before = null; // from the end, so that what is new is put before what is there
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
