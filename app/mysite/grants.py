"""The rights of each service's database role to this site's own tables.

Only `migrate` can use a table that is not listed here, so a new model needs a line. sluice_stack.grants has
the rights to the tables of Django and of the updates.
"""

from collections.abc import Mapping
from typing import Final

from sluice_stack.grants import READ, WRITE

# Role → table → privileges. The setting SLUICE_STACK_GRANTS names this mapping.
GRANTS: Final[Mapping[str, Mapping[str, str]]] = {
    "wsgi": {"inbox_message": WRITE, "volumes_crop": WRITE, "volumes_volume": WRITE},
    "asgi": {"volumes_volume": READ},
    "worker": {"volumes_volume": READ},
    "celery": {
        "auth_user": READ,
        "inbox_message": "SELECT, INSERT",
        # DELETE: without beat, `manage.py run_crops` removes the crops that users have deleted.
        "volumes_crop": "SELECT, UPDATE, DELETE",
        "volumes_volume": READ,
    },
    "beat": {
        "volumes_crop": "SELECT, UPDATE (handed_over_at, hand_overs), DELETE",
        "volumes_volume": READ,
    },
}
