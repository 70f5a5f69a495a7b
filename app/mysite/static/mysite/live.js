// What the site's pages do with updates: say how current they are, announce messages, refresh what they show.
//
// A page that changes with updates carries the streams' positions from before its data was read (data-positions);
// see "Pages" in the protocol.

import { connect } from "../updates/updates.js";

const page = document.body.dataset;
const root = new URL(page.root, location.href);
const updates = connect({ root, positions: JSON.parse(page.positions), pollSeconds: Number(page.pollSeconds) });

const words = {
  "catching-up": "Connecting …",
  live: "Live.",
  polling: `Not connected; asking every ${page.pollSeconds} s.`,
  offline: "The site can't be reached; trying again.",
  "signed-out": "You are signed out. Sign in again to go on.",
  stopped: "Live news ended. Reload the page.",
};

updates.addEventListener("state", () => {
  document.getElementById("connection").textContent = words[updates.state];
});
updates.addEventListener("lost", refresh);
updates.on("new-message", ({ message_title: title }) => {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = new URL("messages/", root);
  link.textContent = `New message: ${title}`; // text, never markup
  item.append(link);
  document.getElementById("news").prepend(item);
  refresh();
});

/** Fetch this page again and put its live part in the place of ours. */
async function refresh() {
  const part = document.getElementById("live");
  if (!part) return;
  const response = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!response?.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("live");
  if (fresh) part.replaceChildren(...document.importNode(fresh, true).childNodes);
}
