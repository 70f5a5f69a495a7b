"""Rights by Django's groups: members of the group named 9 may read project:9.

Everybody may read a page, also anonymous readers, unless a group is called like the page's stream.
"""

import time
from typing import Any

from django.contrib.auth.models import Group

from sluice_updates.rights import default_may_read


def may_read(user: Any, stream: str) -> bool:
    if stream.startswith("project:"):
        return user.groups.filter(name=stream.removeprefix("project:")).exists()
    if stream.startswith("page:"):
        return not Group.objects.filter(name=stream).exists()
    if stream == "slow":
        time.sleep(0.05)
    if stream == "broken":
        raise RuntimeError("told to fail")
    return default_may_read(user, stream)
