// The list of crops. Progress moves the bars; any other update fetches the page again.

import "../common/buttons.js";
import { find } from "../common/find.js";
import { refresh } from "../common/refresh.js";
import { updates } from "../sluice_updates/page.js";

updates.on("crop-deleted", refresh);
updates.on("crop-progress", ({ crop_id: id, state, progress }) => {
  const row = document.getElementById(`crop-${id}`);
  // Its start was announced before, so a crop that isn't here is on another page of the list.
  if (!row && state === "running" && progress > 0) return;
  if (state !== "running" || row?.dataset.state !== "running") {
    refresh();
    return;
  }
  find("progress", HTMLProgressElement, row).value = progress;
  find(".percent", HTMLElement, row).textContent = `${progress} %`;
});
