// The protocol's three transports. connection.js and updates.js read the frames.

/**
 * Why a connection ended, or a request failed.
 *
 * @typedef {object} End
 * @property {number} code from the protocol's table of close codes; 1006 if the server gave none
 * @property {number} [status] the HTTP status, where the browser shows it to scripts; 0 for a redirect
 * @property {number} [retryAfter] the wait that the server asks for, in milliseconds
 * @property {boolean} [opened] whether the connection was opened
 * @property {boolean} [silent] whether it was ended because no frame arrived in time
 * @property {boolean} [foreign] whether the response is not the protocol's, such as a page of the site
 * @property {boolean} [full] whether no request was made, because other tabs use all places (slot.js)
 */

/**
 * An open connection.
 *
 * @typedef {object} Transport
 * @property {(() => void) | null} ask send a ping, which the server answers; null if the transport can't
 * @property {() => void} close close it; the listener is not called again
 */

/**
 * The callbacks of a transport: `open` when the server has accepted the request, `frame` for each frame, as text; `end`
 * once.
 *
 * @typedef {object} Listener
 * @property {() => void} open
 * @property {(text: string) => void} frame
 * @property {(end: End) => void} end
 */

/**
 * @param {URL} url
 * @param {Listener} listener
 * @returns {Transport}
 */
export function openWebSocket(url, listener) {
  const address = new URL(url);
  address.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(address, "sluice.v1");
  let opened = false;
  socket.onopen = () => {
    opened = true;
    listener.open();
  };
  socket.onmessage = ({ data }) => listener.frame(data);
  socket.onclose = ({ code, reason }) => {
    const [, retry] = /^retry=([0-9]+)$/.exec(reason) ?? [];
    listener.end({ code, opened, ...(retry && { retryAfter: Number(retry) }) });
  };
  return {
    ask() {
      if (socket.readyState === WebSocket.OPEN) socket.send('{"type": "ping"}');
    },
    close() {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    },
  };
}

/**
 * Server-sent events, by fetch(). An EventSource hides the status, and reconnects on its own to its first URL.
 *
 * @param {URL} url
 * @param {Listener} listener
 * @param {import("./slot.js").Slot} slot
 * @returns {Transport}
 */
export function openEventStream(url, listener, slot) {
  const leaving = new AbortController();
  readEventStream(url, leaving.signal, listener, slot)
    .catch(() => ({ code: 1006 }))
    .then((end) => leaving.signal.aborted || listener.end(end));
  return { ask: null, close: () => leaving.abort() };
}

/**
 * @param {URL} url
 * @param {AbortSignal} signal
 * @param {Listener} listener
 * @param {import("./slot.js").Slot} slot
 * @returns {Promise<End>}
 */
async function readEventStream(url, signal, listener, slot) {
  if (!(await slot.take())) return { code: 1006, full: true };
  const response = await get(url, signal, "text/event-stream");
  if (response.status !== 200 || !isA(response, "text/event-stream") || !response.body) {
    return refusal(response);
  }
  if (!signal.aborted) listener.open();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done || signal.aborted) return { code: 1006, opened: true };
    const events = (rest + value).split(/\r?\n\r?\n/);
    rest = events.pop() ?? "";
    for (const event of events) {
      const { name, data } = parseEvent(event);
      if (name === "close") {
        const { code, retry } = JSON.parse(data);
        return { code, opened: true, ...(retry !== undefined && { retryAfter: retry }) };
      }
      if (data && !signal.aborted) listener.frame(data);
    }
  }
}

/**
 * The fields `event` and `data` of a server-sent event.
 *
 * @param {string} text
 */
function parseEvent(text) {
  let name = "";
  const data = [];
  for (const line of text.split(/\r?\n/)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (field === "event") name = value;
    if (field === "data") data.push(value);
  }
  return { name, data: data.join("\n") };
}

/**
 * Poll once. Returns the response's JSON, or why there is none.
 *
 * @param {URL} url
 * @param {AbortSignal} signal
 * @returns {Promise<{answer: any} | {end: End}>}
 */
export async function poll(url, signal) {
  try {
    const response = await get(url, signal, "application/json");
    if (response.status !== 200 || !isA(response, "application/json")) return { end: refusal(response) };
    return { answer: await response.json() };
  } catch {
    return { end: { code: 1006 } };
  }
}

/** HTTP status → the close code with the same meaning. */
const CODES = new Map([[400, 4000], [401, 4001], [414, 4000], [429, 4013]]);

/**
 * @param {Response} response
 * @returns {End}
 */
function refusal(response) {
  response.body?.cancel().catch(() => {});
  const seconds = Number(response.headers.get("Retry-After") || NaN);
  return {
    code: CODES.get(response.status) ?? 1006,
    status: response.status,
    foreign: response.status < 500 && !CODES.has(response.status),
    ...(seconds >= 0 && { retryAfter: seconds * 1000 }),
  };
}

/**
 * @param {URL} url
 * @param {AbortSignal} signal
 * @param {string} type
 */
function get(url, signal, type) {
  return fetch(url, { headers: { Accept: type }, cache: "no-store", redirect: "manual", signal });
}

/**
 * @param {Response} response
 * @param {string} type
 */
function isA(response, type) {
  return (response.headers.get("Content-Type") ?? "").startsWith(type);
}
