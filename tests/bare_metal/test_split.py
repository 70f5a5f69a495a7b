"""The routing table: the same tests as for the containers."""

from e2e.test_split import *  # noqa: F403
