// The inbox. Each tab shows new messages, and the changes that were made in other tabs.

import "../common/buttons.js";
import { updates } from "../common/live.js";
import { refresh } from "../common/refresh.js";

for (const event of ["new-message", "message-read", "messages-read", "message-deleted"]) updates.on(event, refresh);
