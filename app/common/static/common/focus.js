// Keeps the focus of users of keyboards and screen readers while a list changes. Otherwise the focus returns to the beginning of
// the page when the focused element is removed.

import { find } from "./find.js";

/**
 * Remember where in `part` the focus is. Returns a function to call after `part` has changed. If the focus is lost then, it goes to
 * the first of these that exists: the same control, its card, the same control of the next card, that of the previous card, the
 * page's heading. Cards and the heading must have tabindex="-1".
 *
 * @param {HTMLElement} part
 * @returns {() => void}
 */
export function keepFocus(part) {
  const focused = document.activeElement;
  if (!focused || !part.contains(focused)) return () => {};
  const card = focused.closest(".cards > li");
  const ids = [...(card?.parentElement?.children ?? [])].map(({ id }) => id);
  const place = card ? ids.indexOf(card.id) : -1;
  const nearest = [...ids.slice(place + 1), ...ids.slice(0, Math.max(place, 0)).reverse()];

  return () => {
    if (isHeld()) return;
    const known = focused.id && document.getElementById(focused.id);
    (known || (card && document.getElementById(card.id)) || neighbour(focused.id, nearest) || heading()).focus();
  };
}

/** Focus the page's heading, if nothing has the focus. */
export function toHeading() {
  if (!isHeld()) heading().focus();
}

function isHeld() {
  return document.activeElement !== null && document.activeElement !== document.body;
}

/**
 * The control that corresponds to `id` ("delete-6" to "delete-7"), in the first of the cards that still exist; or else that card.
 *
 * @param {string} id
 * @param {string[]} cards by their ids
 */
function neighbour(id, cards) {
  const card = cards.map((name) => document.getElementById(name)).find((found) => found);
  return card && (document.getElementById(id.replace(/\d+$/, card.id.match(/\d+$/)?.[0] ?? "")) || card);
}

function heading() {
  return find("main h1", HTMLElement);
}
