// The list of crops: bars that move while a crop is cut; all else is the server's page again.

import "../common/buttons.js";
import { find } from "../common/find.js";
import { updates } from "../common/live.js";
import { refresh } from "../common/refresh.js";

updates.on("crop-deleted", refresh);
updates.on("crop-progress", ({ crop_id: id, state, progress }) => {
  const row = document.getElementById(`crop-${id}`);
  // One that isn't here by now, though its beginning was told, is on another page of the list.
  if (!row && state === "running" && progress > 0) return;
  if (state !== "running" || row?.dataset.state !== "running") {
    refresh();
    return;
  }
  find("progress", HTMLProgressElement, row).value = progress;
  find(".percent", HTMLElement, row).textContent = `${progress} %`;
});
