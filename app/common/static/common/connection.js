// The page that says in words how updates reach this browser, and what is wrong where they don't as they should: what
// updates.js has found out from here, and what the server says of its parts.

import { find } from "./find.js";
import { root, updates } from "./live.js";

/** @typedef {[name: string, words: string, status?: string]} Fact */

/** @param {string} id */
const $ = (id) => find(`#${id}`, HTMLElement);

/** @type {Record<import("../sluice_updates/updates.js").State, [mood: string, words: string]>} */
const VERDICTS = {
  "catching-up": ["waiting", "Connecting: news will come in a moment."],
  live: ["good", "News comes at once."],
  polling: ["fair", `News comes every ${document.body.dataset.pollSeconds} seconds, by asking for it.`],
  offline: ["bad", "The site can't be reached from here. It is tried again and again."],
  "signed-out": ["bad", "You are signed out. Sign in again to go on."],
  stopped: ["bad", "News has ended for this page. Reload it."],
};
const TRANSPORTS = { websocket: "WebSocket", sse: "server-sent events", polling: "asking for it (polling)" };

/**
 * What is said of a part of the server, by its state.
 * @type {Record<string, [title: string, words: Record<string, string>]>}
 */
const PARTS = {
  database: ["Database", { up: "answers", down: "can't be reached: pages can't be made. Look at: the service postgres, DATABASE_URL" }],
  publisher: ["Broker for wake-ups", {
    up: "answers",
    down: "can't be reached: news comes up to a second later. Look at: the service rabbitmq, PUBLISHER_URL",
    off: "is not configured: news comes up to a second later. To change that: PUBLISHER_URL",
  }],
  tasks: ["Broker for crops", {
    up: "answers",
    down: "can't be reached: crops wait, none is lost. Look at: the service rabbitmq, TASKS_URL",
    off: "is not configured: crops wait for manage.py run_crops. To change that: TASKS_URL",
  }],
};
/** @type {Record<string, string>} */
const DAPHNE = {
  ok: "delivers at once",
  degraded: "delivers from the database, up to a second later. Look at: the service rabbitmq, LAYER_URL",
  deaf: "can deliver nothing. Look at: the services asgi, postgres and rabbitmq",
  stopping: "is being stopped, or restarts",
};

/** @type {Record<string, string>} */
const MOODS = { ok: "good", degraded: "fair", unavailable: "bad" };

// ---- this browser

function showBrowser() {
  const [mood, words] = VERDICTS[updates.state];
  const slower = updates.state === "live" && updates.diagnosis;
  verdict($("verdict"), slower ? "fair" : mood, words);
  const { diagnosis } = updates;
  $("advice").hidden = !diagnosis;
  $("advice-text").textContent = diagnosis ? `There is no WebSocket. ${diagnosis.text}` : "";
  $("advice-setting").hidden = !diagnosis?.setting;
  find("#advice-setting code", HTMLElement).textContent = diagnosis?.setting ?? "";
  facts($("browser-facts"), [
    ["Way", updates.transport ? TRANSPORTS[updates.transport] : "none just now"],
    ["Diagnosis", diagnosis?.code ?? "nothing is wrong"],
    ...Object.entries(updates.positions).map(([stream, position]) => /** @type {Fact} */ ([
      `Stream ${stream}`,
      position === "0-0" ? "no update yet" : `up to update ${position.split("-")[0]}`,
    ])),
  ]);
}

// ---- the server

async function askServer() {
  const [ready, daphne] = await Promise.all([ask("readyz"), ask("channels/healthz")]);
  if (!ready) {
    verdict($("server-verdict"), "bad", "It does not answer. Look at: the service wsgi, nginx.");
    facts($("server-facts"), []);
    return;
  }
  /** @type {Required<Fact>[]} */
  const parts = Object.entries(PARTS).map(([name, [title, words]]) => {
    const { status, milliseconds } = ready[name] ?? {};
    const time = status === "up" ? ` in ${milliseconds} ms` : "";
    return [title, (words[status] ?? "says nothing") + time, status];
  });
  const state = daphne?.status ?? "none";
  parts.push(["Daphne", DAPHNE[state] ?? "does not answer: news comes by polling. Look at: the service asgi, ASGI_ADDRESS", state]);
  facts($("server-facts"), parts);
  const wrong = parts.filter(([, , status]) => !["up", "ok", "off"].includes(status));
  const mood = MOODS[ready.status] ?? "bad";
  if (wrong.length) {
    const names = wrong.map(([title]) => title).join(", ");
    verdict($("server-verdict"), mood === "bad" ? "bad" : "fair", `Not as it should be: ${names}.`);
  } else {
    verdict($("server-verdict"), mood, "All of its parts answer.");
  }
}

/**
 * The answer's JSON, or null if there is none.
 *
 * @param {string} path
 */
async function ask(path) {
  try {
    const response = await fetch(new URL(path, root), { cache: "no-store", signal: AbortSignal.timeout(8000) });
    return await response.json();
  } catch {
    return null;
  }
}

// ---- the page

/**
 * @param {HTMLElement} element
 * @param {string} mood
 * @param {string} words
 */
function verdict(element, mood, words) {
  element.dataset.state = mood;
  element.textContent = words;
}

/**
 * @param {HTMLElement} list
 * @param {Fact[]} rows
 */
function facts(list, rows) {
  list.replaceChildren(
    ...rows.map(([name, words, status]) => {
      const row = document.createElement("div");
      if (status) row.dataset.status = status;
      const term = document.createElement("dt");
      term.textContent = name;
      const meaning = document.createElement("dd");
      meaning.textContent = words;
      row.append(term, meaning);
      return row;
    }),
  );
}

for (const event of ["state", "diagnosis", "connection"]) updates.addEventListener(event, showBrowser);
updates.on("*", showBrowser);
updates.addEventListener("state", askServer);
$("ask-again").hidden = false;
$("ask-again").addEventListener("click", askServer);
showBrowser();
askServer();
