// The three ways to updates, as the protocol has them. What they carry is read elsewhere.

/**
 * Why a connection is over, or a request failed.
 *
 * @typedef {object} End
 * @property {number} code of the protocol's table; 1006 where nobody gave one
 * @property {number} [status] of HTTP, where the browser lets a script see it; 0 for a redirect
 * @property {number} [retryAfter] what the server asks for, in milliseconds
 * @property {boolean} [opened] whether the connection was made at all
 * @property {boolean} [silent] whether it was given up because nothing came
 * @property {boolean} [foreign] whether something answered that doesn't know the protocol, such as a page
 * @property {boolean} [full] whether it was not tried, since this browser's other tabs use all that there may be
 */

/**
 * An open way.
 *
 * @typedef {object} Transport
 * @property {(() => void) | null} ask have the server say something; null where that can't be done
 * @property {() => void} close leave; nothing is told any more
 */

/**
 * What is told of it: each frame as text, and once the end.
 *
 * @typedef {object} Listener
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
  socket.onopen = () => (opened = true);
  socket.onmessage = ({ data }) => listener.frame(data);
  socket.onclose = ({ code }) => listener.end({ code, opened });
  return {
    ask() {
      if (socket.readyState === WebSocket.OPEN) socket.send('{"type": "ping"}');
    },
    close() {
      socket.onmessage = socket.onclose = null;
      socket.close(1000);
    },
  };
}

/**
 * Server-sent events, by fetch: an EventSource hides the status, and reconnects when it likes, to its first address.
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
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done || signal.aborted) return { code: 1006, opened: true };
    const events = (rest + value).split(/\r?\n\r?\n/);
    rest = events.pop() ?? "";
    for (const event of events) {
      const { name, data } = parseEvent(event);
      if (name === "close") return { code: JSON.parse(data).code, opened: true };
      if (data && !signal.aborted) listener.frame(data);
    }
  }
}

/**
 * The two fields that matter here of one server-sent event.
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
 * Ask once. Returns the answer, or why there is none.
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

/** The close code that says the same as a status. */
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
