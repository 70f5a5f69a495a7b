// Buttons in #live that change something. Their forms are sent without leaving the page, and screen readers announce the result.
// Without this script they are plain forms.

import { find } from "./find.js";
import { refresh } from "./refresh.js";

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || !form.closest("#live")) return;
  event.preventDefault();
  const button = event.submitter;
  if (button?.ariaDisabled) return; // it is being sent, or there is nothing to do
  button?.setAttribute("aria-disabled", "true");
  say("", "");
  const why = await send(form);
  button?.removeAttribute("aria-disabled");
  say(why, why ? "" : form.dataset.done);
  await refresh(); // without waiting for the update, which may come later, or not at all
});

/**
 * Send a form. Returns the error as a sentence, or "".
 *
 * @param {HTMLFormElement} form without files
 */
async function send(form) {
  try {
    const fields = /** @type {[string, string][]} */ ([...new FormData(form)]);
    const response = await fetch(form.action, { method: "POST", body: new URLSearchParams(fields) });
    if (response.ok) return "";
    const { error } = await response.json();
    return `${error.detail.charAt(0).toUpperCase()}${error.detail.slice(1)}.`;
  } catch {
    return "The site can't be reached. Try again.";
  }
}

/**
 * Show an error to everybody. A success is visible on the page, so it is announced to screen readers only.
 *
 * @param {string} wrong
 * @param {string} [done]
 */
function say(wrong, done = "") {
  find("#done", HTMLElement).textContent = done;
  const notes = find("#notes", HTMLElement);
  if (!wrong) {
    notes.replaceChildren();
    return;
  }
  const note = document.createElement("p");
  note.className = "note bad";
  note.setAttribute("role", "alert");
  note.textContent = wrong;
  notes.replaceChildren(note);
}
