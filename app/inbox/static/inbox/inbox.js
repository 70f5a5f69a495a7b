// The inbox, in all of a person's tabs: whatever happens to a message in one of them, or comes in, is seen in the others.

import "../common/buttons.js";
import { updates } from "../common/live.js";
import { refresh } from "../common/refresh.js";

for (const event of ["new-message", "message-read", "messages-read", "message-deleted"]) updates.on(event, refresh);
