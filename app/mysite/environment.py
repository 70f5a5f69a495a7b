"""This site's own settings for operators, in addition to the stack's.

After a change, run `scripts/environment-reference`: it updates docs/reference/environment.md and
.env.example. CONTRIBUTING.md lists what else a new setting needs.
"""

import dataclasses

from sluice_stack.environment import INTERNAL, OPERATOR, parsers, setting
from sluice_stack.environment import Environment as StackEnvironment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment(StackEnvironment):
    """The stack's settings and the site's."""

    # fmt: off
    crop_max_voxels: int = setting("134217728", parsers.whole(1, 2**40), OPERATOR, "wsgi", """
        The largest crop, in voxels. The default is 512³.""")
    crop_quota_mb: int = setting("10240", parsers.whole(1, 10**9), OPERATOR, "wsgi", """
        Disk space for one user's crops, in MB. An order that would exceed it is refused.""")
    crop_retention_days: int = setting("14", parsers.whole(1, 36500), OPERATOR, "wsgi beat", """
        Days after which a finished crop is deleted.""")
    poll_seconds: int = setting("60", parsers.whole(1, 3600), OPERATOR, "wsgi", """
        How often a page without a live connection polls for updates, in seconds.""")

    volumes_root: str = setting("", parsers.path, INTERNAL, "wsgi worker celery migrate", """
        The folder of image volumes. Empty: `/var/lib/sluice/volumes`; with `DEBUG=yes`: `var/volumes` of the
        checkout.""")
    # fmt: on
