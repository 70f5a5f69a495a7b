// Why there is no WebSocket, in words for the operator. A script isn't told why an upgrade was refused, so this asks the
// same server plain questions and concludes from the answers.

const PATIENCE = 5_000; // milliseconds, for each question

/**
 * `code` is for programs, `text` for people, `setting` is what to look at: docs/reference/updates-js.md has them all.
 *
 * @typedef {{code: string, text: string, setting: string}} Diagnosis
 */

/**
 * How the attempts of one round ended.
 *
 * @typedef {import("./transports.js").End} End
 * @typedef {{websocket?: End, sse?: End, polling?: End}} Round
 */

/**
 * An answer to a question. `json`: null if it isn't.
 *
 * @typedef {{status: number, type: string, text: string, json: any}} Answer
 */

/** @type {Record<string, [text: string, setting: string]>} */
export const KNOWN = {
  unreachable: ["Nothing answers at this address.", "nginx, and the network up to it"],
  "host-refused": ["The site doesn't know itself by this name (421).", "SITE_URL; on a host, $sluice_names in the place file"],
  "wrong-root": ["The site isn't where this page looks for it (404).", "connect()'s root; URL_PREFIX"],
  "not-daphne": [
    "/channels/ is not answered by Daphne, but by the site itself or something in front of it.",
    "nginx: include snippets/sluice/channels.conf in the site's server",
  ],
  "daphne-down": ["Daphne is not there (502, 503 or 504).", "the service asgi and its log; ASGI_ADDRESS"],
  "daphne-deaf": ["Daphne runs, but can deliver nothing, or stops.", "the service asgi: DATABASE_URL, LAYER_URL"],
  "database-down": ["Daphne can't ask its database (1013).", "the service postgres; asgi's DATABASE_URL"],
  restarting: ["Daphne restarts (1012).", "nothing, unless it goes on: the log of the service asgi"],
  "server-error": ["Daphne failed (1011).", "the log of the service asgi"],
  "too-many-connections": ["This person has too many connections (4013).", "UPDATES_MAX_CONNECTIONS_PER_USER"],
  "too-many-from-address": [
    "This address has too many connections, or makes them too fast (429).",
    "CHANNELS_PER_ADDRESS, CHANNELS_PER_ADDRESS_SECOND",
  ],
  "origin-refused": ["Daphne doesn't take this page's Origin for the site's own (403).", "SITE_URL: its scheme, host and port"],
  "frames-swallowed": [
    "A WebSocket's frames don't come through, though something on the way may accept it.",
    "the proxy in front of nginx: let WebSockets pass, unbuffered",
  ],
  "no-upgrade": [
    "No upgrade header arrives: something in front of nginx takes it out.",
    "the proxy in front of nginx: HTTP/1.1, and pass Upgrade and Connection on",
  ],
  "no-upgrade-to-daphne": [
    "Requests for /channels/ come to Daphne without their upgrade header.",
    "nginx: include snippets/sluice/channels.conf; or proxy_http_version 1.1, and pass Upgrade and Connection on",
  ],
};

/**
 * @param {URL} root where the site begins
 * @param {Round} round of which the WebSocket, at least, failed
 * @returns {Promise<Diagnosis>}
 */
export async function diagnose(root, round) {
  const code = said(round) ?? (await asked(root, round));
  const [text, setting] = KNOWN[code];
  const buffered = round.sse?.silent ? " Server-sent events are held back as well: something buffers responses." : "";
  return { code, text: text + buffered, setting };
}

/**
 * What the server said itself, or null.
 *
 * @param {Round} round
 */
function said({ websocket, sse }) {
  for (const end of [websocket, sse]) {
    if (end?.status === 429) return "too-many-from-address";
    if (end?.code === 4013) return "too-many-connections";
    if (end?.code === 1011) return "server-error";
    if (end?.code === 1012) return "restarting";
    if (end?.code === 1013) return "database-down";
  }
  return null;
}

/**
 * @param {URL} root
 * @param {Round} round
 */
async function asked(root, { websocket }) {
  const health = await ask(new URL(`channels/healthz?origin=${encodeURIComponent(location.origin)}`, root));
  if (!health) return "unreachable";
  if (health.status === 421) return "host-refused";
  if (health.status === 429) return "too-many-from-address";
  if (!health.json?.status) {
    if (health.status >= 502) return "daphne-down";
    return health.text.startsWith("404: nothing is here") ? "wrong-root" : "not-daphne";
  }
  if (health.status !== 200) return "daphne-deaf";
  if (health.json.origin === "refused") return "origin-refused";
  if (websocket?.opened || websocket?.silent) return "frames-swallowed";
  const plain = await ask(new URL("channels/updates/", root));
  if (!plain) return "unreachable";
  if (plain.status === 426) return "no-upgrade";
  return plain.type.startsWith("text/plain") || plain.status === 400 ? "no-upgrade-to-daphne" : "not-daphne";
}

/**
 * @param {URL} url
 * @returns {Promise<Answer | null>} null if nobody answered
 */
async function ask(url) {
  try {
    const response = await fetch(url, { cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(PATIENCE) });
    const text = await response.text();
    const type = response.headers.get("Content-Type") ?? "";
    return { status: response.status, type, text, json: type.startsWith("application/json") ? JSON.parse(text) : null };
  } catch {
    return null;
  }
}
