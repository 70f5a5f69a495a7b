// The page on how updates reach this browser, and what fails: the diagnosis of updates.js, and the server's health checks.

import { updates } from "../sluice_updates/page.js";
import { find } from "./find.js";

/** @typedef {[name: string, words: string, status?: string]} Fact */

/** @param {string} id */
const $ = (id) => find(`#${id}`, HTMLElement);

/** @type {Record<import("../sluice_updates/updates.js").State, [mood: string, words: string]>} */
const VERDICTS = {
  "catching-up": ["waiting", "Connecting."],
  live: ["good", "Updates arrive at once."],
  polling: ["fair", `Updates arrive every ${updates.pollSeconds} seconds, by polling.`],
  offline: ["bad", "The site can't be reached. This page keeps retrying."],
  "signed-out": ["bad", "You are signed out. Sign in again to get updates."],
  stopped: ["bad", "This page gets no more updates. Reload it."],
};
const TRANSPORTS = { websocket: "WebSocket", sse: "server-sent events", polling: "polling" };

/**
 * The text for a part of the server, by its state.
 * @type {Record<string, [title: string, words: Record<string, string>]>}
 */
const PARTS = {
  database: ["Database", { up: "answers", down: "can't be reached, so no page works. Check the service postgres and DATABASE_URL" }],
  publisher: ["Broker for wake-ups", {
    up: "answers",
    down: "can't be reached, so updates take up to a second. Check the service rabbitmq and PUBLISHER_URL",
    off: "is not used: the database itself tells of each update",
  }],
  tasks: ["Broker for crops", {
    up: "answers",
    down: "can't be reached, so crops wait; none is lost. Check the service rabbitmq and TASKS_URL",
    off: "is not configured, so crops wait for manage.py run_crops. To change that, set TASKS_URL",
  }],
};
/** @type {Record<string, string>} */
const DAPHNE = {
  ok: "delivers at once",
  degraded: "delivers within a second. Check the service rabbitmq and LAYER_URL, or what makes the database tell of updates",
  deaf: "can't deliver updates. Check the services asgi, postgres and rabbitmq",
  stopping: "is stopping or restarting",
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
    ["Transport", updates.transport ? TRANSPORTS[updates.transport] : "none at the moment"],
    ["Diagnosis", diagnosis?.code ?? "no problem"],
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
    verdict($("server-verdict"), "bad", "It does not answer. Check the services nginx and wsgi.");
    facts($("server-facts"), []);
    return;
  }
  /** @type {Required<Fact>[]} */
  const parts = Object.entries(PARTS).map(([name, [title, words]]) => {
    const { status, milliseconds } = ready[name] ?? {};
    const time = status === "up" ? ` in ${milliseconds} ms` : "";
    return [title, (words[status] ?? "unknown") + time, status];
  });
  const state = daphne?.status ?? "none";
  parts.push(["Daphne", DAPHNE[state] ?? "does not answer, so updates arrive by polling. Check the service asgi and ASGI_ADDRESS", state]);
  facts($("server-facts"), parts);
  const wrong = parts.filter(([, , status]) => !["up", "ok", "off"].includes(status));
  const mood = MOODS[ready.status] ?? "bad";
  if (wrong.length) {
    const names = wrong.map(([title]) => title).join(", ");
    verdict($("server-verdict"), mood === "bad" ? "bad" : "fair", `There is a problem with: ${names}.`);
  } else {
    verdict($("server-verdict"), mood, "All parts work.");
  }
}

/**
 * The JSON in the response, or null if there is none.
 *
 * @param {string} path
 */
async function ask(path) {
  try {
    const response = await fetch(new URL(path, updates.root), { cache: "no-store", signal: AbortSignal.timeout(8000) });
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
