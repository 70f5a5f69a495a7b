"""The names of streams: `user:<id>` for one person, `project:<id>` for a group, `all` for everybody."""

import re
from typing import Final

ALL: Final = "all"
# Nobody follows it. An update of it tells the hub that the rights of anonymous readers changed.
ANONYMOUS: Final = "anonymous"
_PERSONAL: Final = "user:"
NAME: Final = re.compile(r"[a-z]+(:[A-Za-z0-9_-]{1,64})?")
# The protocol does not limit the part before the colon; the table does.
MAX_NAME_LENGTH: Final = 200


def user_stream(user_id: object) -> str:
    """The stream of one person, by the primary key: `user:7`."""
    return f"{_PERSONAL}{user_id}"


def project_stream(project_id: object) -> str:
    """The stream of a group of people, by the group's identifier: `project:9`."""
    return f"project:{project_id}"


def default_streams(user_id: object) -> list[str]:
    """The streams of a client that names none. None: nobody is signed in."""
    return [ALL] if user_id is None else [user_stream(user_id), ALL]


def is_personal(name: str) -> bool:
    """Whether this is the stream of a single person: `user:` and an id."""
    return name.startswith(_PERSONAL)


def is_valid(name: str) -> bool:
    """Whether this is a valid name. The stream need not exist."""
    return NAME.fullmatch(name) is not None
