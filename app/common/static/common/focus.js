// The focus of whoever works by keys or listens, while a list changes under it. Without this it falls to the page's beginning
// whenever what has it goes.

import { find } from "./find.js";

/**
 * Note where in `part` the focus is. To be called when `part` has changed: the function that is returned. If the focus was lost with
 * what had it, it goes to the same control; to its card, where that has the control no more; to the same control of the next
 * card, or else of the one before; or to the page's heading. Cards, and the heading, have tabindex="-1".
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

/** Give the focus to the page's heading, if nothing has it. */
export function toHeading() {
  if (!isHeld()) heading().focus();
}

function isHeld() {
  return document.activeElement !== null && document.activeElement !== document.body;
}

/**
 * The control of the first of the cards that are left, by which it is the same as `id`: "delete-7", "delete-6"; or else that card.
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
