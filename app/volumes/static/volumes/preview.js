// A preview of the middle of the box while it is drawn, over its own WebSocket (docs/reference/previews.md). It is optional:
// without a WebSocket there is no preview, and everything else works.

const AGAIN = 5_000; // milliseconds until a retry after a socket has closed
const NEVER = new Set([4000, 4001, 4003, 4009]);

/** Event "picture": detail has `png` (a data: URL), `index`, `width`, `height`, and `milliseconds` since the request. */
export class Preview extends EventTarget {
  #url;
  #allowed;
  /** @type {WebSocket | null} */
  #socket = null;
  #notBefore = 0;
  #request = 0;
  #latest = ""; // the last request, as JSON
  #asked = 0;

  /**
   * @param {URL} url of the socket
   * @param {() => boolean} allowed whether a socket is likely to work; otherwise none is opened
   */
  constructor(url, allowed) {
    super();
    this.#url = url;
    this.#allowed = allowed;
  }

  /**
   * Ask for a picture. Responses to older requests are ignored.
   *
   * @param {import("./box.js").Ranges} box
   */
  ask(box) {
    this.#request += 1;
    this.#latest = JSON.stringify({ request: this.#request, box });
    this.#asked = performance.now();
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(this.#latest);
    else this.#open();
  }

  #open() {
    if (this.#socket || performance.now() < this.#notBefore || !this.#allowed()) return;
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => socket.send(this.#latest);
    socket.onmessage = ({ data }) => this.#read(JSON.parse(data));
    socket.onclose = ({ code }) => {
      this.#socket = null;
      this.#notBefore = NEVER.has(code) ? Infinity : performance.now() + AGAIN;
      this.dispatchEvent(new Event("none"));
    };
  }

  /** @param {{event: string, payload: any}} frame */
  #read({ event, payload }) {
    if (payload.request !== this.#request) return; // of an older box
    if (event !== "preview") {
      this.dispatchEvent(new Event("none"));
      return;
    }
    const { png, width, height, index } = payload;
    const milliseconds = performance.now() - this.#asked;
    const detail = { png: `data:image/png;base64,${png}`, width, height, index, milliseconds };
    this.dispatchEvent(new CustomEvent("picture", { detail }));
  }
}
