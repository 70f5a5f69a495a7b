// New messages, live: by a WebSocket, and by asking every so often while there is none.
//
// A page that changes with updates carries the streams' positions from before its data was read (data-positions).
// From there on each update is applied once, in order; see "Pages" in the protocol.

const page = document.body.dataset;
const root = new URL(page.root, location.href);
const positions = JSON.parse(page.positions);
const pollMilliseconds = Number(page.pollSeconds) * 1000;
const noRetry = new Set([4000, 4001, 4003, 4009]);

let silence = 0; // the timer that ends a connection on which nothing comes any more
let live = false;
let attempts = 0;

function say(text) {
  document.getElementById("connection").textContent = text;
}

/** An update is applied once: the next offset, and no other. Returns false on a gap. */
function apply(update) {
  const offset = Number(update.position.split("-")[0]);
  const known = Number((positions[update.stream] ?? "0-0").split("-")[0]);
  if (offset <= known) return true;
  if (offset > known + 1) return false;
  positions[update.stream] = update.position;
  if (update.event === "new-message") announce(update.payload);
  return true;
}

function announce({ message_title: title }) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = new URL("messages/", root);
  link.textContent = `New message: ${title}`; // text, never markup
  item.append(link);
  document.getElementById("news").prepend(item);
  refresh();
}

/** Fetch this page again and put its live part in the place of ours. */
async function refresh() {
  const part = document.getElementById("live");
  if (!part) return;
  const response = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!response?.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("live");
  if (fresh) part.replaceChildren(...document.importNode(fresh, true).childNodes);
}

/** Take over what the server says of each stream: on `recovered: false` something is missing that can't be replayed. */
function settle(streams) {
  let lost = false;
  for (const [name, stream] of Object.entries(streams)) {
    if (stream.denied) delete positions[name];
    else if (stream.recovered === false) {
      positions[name] = stream.head;
      lost = true;
    }
  }
  if (lost) refresh();
}

function query() {
  const since = Object.entries(positions).map(([stream, position]) => `${stream}/${position}`);
  return new URLSearchParams({ streams: Object.keys(positions).join(","), since: since.join(",") });
}

function connect() {
  const url = new URL(`channels/updates/?${query()}`, root);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url, "sluice.v1");
  let patience = 10_000;

  const listen = () => {
    clearTimeout(silence);
    silence = setTimeout(() => closed({ code: 1006 }), patience);
  };
  const closed = ({ code }) => {
    clearTimeout(silence);
    socket.onclose = socket.onmessage = null;
    socket.close();
    live = false;
    if (noRetry.has(code)) {
      say(code === 4001 || code === 4009 ? "You are signed out. Sign in again to go on." : "Live news ended. Reload the page.");
      return;
    }
    say(`Not connected; asking every ${page.pollSeconds} s.`);
    attempts += 1;
    setTimeout(connect, Math.random() * Math.min(20_000, 500 * 2 ** attempts));
  };

  listen();
  socket.onclose = closed;
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.event === "hello") {
      patience = (frame.payload.ping + 10) * 1000;
      attempts = 0;
      live = true;
      settle(frame.payload.streams);
      say("Live.");
    } else if (frame.stream && !apply(frame)) {
      closed({ code: 1006 });
      return;
    }
    listen();
  };
}

async function poll() {
  setTimeout(poll, pollMilliseconds);
  if (live) return;
  for (let more = true; more && !live; ) {
    const response = await fetch(new URL(`updates/?${query()}`, root)).catch(() => null);
    if (response?.status === 401) say("You are signed out. Sign in again to go on.");
    if (!response?.ok) return;
    const answer = await response.json();
    settle(answer.streams);
    more = answer.updates.every(apply) && answer.more;
  }
}

connect();
setTimeout(poll, pollMilliseconds);
