// The updates of every page of a signed-in user: shows the state of the connection, announces new messages, and counts unread ones.
// The tag {% sluice_updates %} in base.html connects the page; every script imports `updates` from page.js.

import { fetchPage, updates } from "../sluice_updates/page.js";
import { find } from "./find.js";
import { toHeading } from "./focus.js";
import { isFinal, once } from "./once.js";
import { show } from "./refresh.js";

/** @type {Record<import("../sluice_updates/updates.js").State, string>} */
const words = {
  "catching-up": "Connecting …",
  live: "Live.",
  polling: `Not connected; polling every ${updates.pollSeconds} s.`,
  offline: "The site can't be reached; retrying.",
  "signed-out": "You are signed out. Sign in again.",
  stopped: "This page gets no more updates. Reload it.",
};

function sayState() {
  const connection = find("#connection", HTMLElement);
  connection.dataset.state = updates.state;
  connection.textContent = words[updates.state];
}

/** Fetch the number of unread messages. A count kept here would be wrong after an update that the page already contains. */
const recount = once(async () => {
  const response = await fetch(new URL("messages/unread/", updates.root)).catch(() => null);
  if (!response?.ok) return isFinal(response);
  const { unread } = await response.json();
  find("#unread", HTMLElement).hidden = unread === 0;
  find("#unread .number", HTMLElement).textContent = unread;
  document.title = (unread ? `(${unread}) ` : "") + document.title.replace(/^\(\d+\) /, "");
  return true;
});

// ---- announcements, at the page's foot

const SHOWN = 3;
const news = find("#news", HTMLUListElement);

/** @param {{message_id: number, message_title: string}} payload */
function announce({ message_id: id, message_title: title }) {
  const item = document.createElement("li");
  item.dataset.message = String(id);
  const link = document.createElement("a");
  link.href = String(new URL(`messages/#message-${id}`, updates.root));
  link.textContent = `New message: ${title}`; // text, never markup
  const close = document.createElement("button");
  close.type = "button";
  close.className = "close";
  close.setAttribute("aria-label", "Dismiss");
  close.addEventListener("click", () => {
    const other = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    if (other) find(".close", HTMLElement, other).focus();
    toHeading();
  });
  item.append(link, close);
  news.prepend(item);
  for (const old of [...news.children].slice(SHOWN)) old.remove();
}

/**
 * Remove the announcements of messages that were read or deleted, here or in another tab.
 *
 * @param {(id: number) => boolean} isMeant
 */
function putAway(isMeant) {
  for (const item of news.querySelectorAll("li")) if (isMeant(Number(item.dataset.message))) item.remove();
}

updates.on("new-message", announce);
updates.on("message-read", ({ message_id, read }) => putAway((id) => read && id === message_id));
updates.on("messages-read", ({ up_to }) => putAway((id) => id <= up_to));
updates.on("message-deleted", ({ message_id }) => putAway((id) => id === message_id));
for (const event of ["new-message", "message-read", "messages-read", "message-deleted"]) updates.on(event, recount);
updates.addEventListener("state", sayState);
updates.getState = async ({ signal }) => {
  const { page, positions } = await fetchPage({ signal });
  show(page);
  recount();
  return positions;
};
sayState();
