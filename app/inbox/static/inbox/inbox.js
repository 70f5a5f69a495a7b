// The inbox. Each tab shows new messages, and the changes that were made in other tabs.

import "../common/buttons.js";
import { refresh } from "../common/refresh.js";
import { updates } from "../sluice_updates/page.js";

for (const event of ["new-message", "message-read", "messages-read", "message-deleted"]) updates.on(event, refresh);
