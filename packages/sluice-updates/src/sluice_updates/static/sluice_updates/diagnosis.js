// Finds out why there is no WebSocket, and words it for the operator. Browsers don't tell a script why an upgrade was
// refused. So this sends plain requests to the same server and concludes from the responses.

const PATIENCE = 5_000; // milliseconds, for each request

/**
 * `code` is for programs, `text` for people. `setting` names what to check. docs/reference/updates-js.md lists them all.
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
 * A response. `json` is null if the body is not JSON.
 *
 * @typedef {{status: number, type: string, text: string, json: any}} Answer
 */

/** @type {Record<string, [text: string, setting: string]>} */
export const KNOWN = {
  unreachable: ["No server answers at this address.", "nginx, and the network in front of it"],
  "host-refused": [
    "The site refuses this host name (421).",
    "SITE_URL; on a host without containers, $sluice_names in the place file",
  ],
  "wrong-root": ["The site is not at the path that this page uses (404).", "connect()'s root; URL_PREFIX"],
  "not-daphne": [
    "Requests for /channels/ reach the site, or a server in front of it, instead of Daphne.",
    "nginx: pass /channels/ to Daphne, in the site's server",
  ],
  "daphne-down": [
    "Daphne is not running, or nginx can't reach it (502, 503 or 504).",
    "the service asgi and its log; ASGI_ADDRESS",
  ],
  "daphne-deaf": [
    "Daphne runs but can't deliver updates, or is stopping.",
    "the service asgi: DATABASE_URL, LAYER_URL",
  ],
  "database-down": ["Daphne can't query its database (1013).", "the service postgres; asgi's DATABASE_URL"],
  "too-many-at-once": [
    "More clients come at once than Daphne can accept; it gives each a time to return (1013).",
    "nothing, unless it lasts; then the CPU of the service asgi, and the number of its replicas",
  ],
  restarting: ["Daphne is restarting (1012).", "nothing, unless it lasts; then the log of the service asgi"],
  "server-error": ["Daphne failed (1011).", "the log of the service asgi"],
  "too-many-connections": [
    "This person, or this address without a sign-in, has too many connections (4013).",
    "UPDATES_MAX_CONNECTIONS_PER_USER; SLUICE_UPDATES_MAX_CONNECTIONS_PER_ADDRESS",
  ],
  "too-many-from-address": [
    "This address has too many connections, or opens them too fast (429).",
    "CHANNELS_PER_ADDRESS, CHANNELS_PER_ADDRESS_SECOND",
  ],
  "origin-refused": ["Daphne refuses this page's Origin (403).", "SITE_URL: its scheme, host and port"],
  "frames-swallowed": [
    "A WebSocket's frames don't arrive: a proxy holds them back.",
    "the proxy in front of nginx: let WebSockets pass, unbuffered",
  ],
  "no-upgrade": [
    "The Upgrade header does not arrive: a proxy in front of nginx removes it.",
    "the proxy in front of nginx: HTTP/1.1, and pass Upgrade and Connection on",
  ],
  "no-upgrade-to-daphne": [
    "Requests for /channels/ reach Daphne without their Upgrade header.",
    "nginx: proxy_http_version 1.1, and pass Upgrade and Connection on",
  ],
};

/**
 * @param {URL} root the site's root
 * @param {Round} round how the attempts ended; the WebSocket, at least, failed
 * @returns {Promise<Diagnosis>}
 */
export async function diagnose(root, round) {
  const code = said(round) ?? (await asked(root, round));
  const [text, setting] = KNOWN[code];
  const buffered = round.sse?.silent ? " Server-sent events are held back too: something buffers responses." : "";
  return { code, text: text + buffered, setting };
}

/**
 * The code for what the server itself reported, or null.
 *
 * @param {Round} round
 */
function said({ websocket, sse }) {
  for (const end of [websocket, sse]) {
    if (end?.status === 429) return "too-many-from-address";
    if (end?.code === 4013) return "too-many-connections";
    if (end?.code === 1011) return "server-error";
    if (end?.code === 1012) return "restarting";
    if (end?.code === 1013) return end.retryAfter === undefined ? "database-down" : "too-many-at-once";
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
 * @returns {Promise<Answer | null>} null if there was no response
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
