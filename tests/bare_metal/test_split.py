"""The split's table, the same tests as against the containers."""

from e2e.test_split import *  # noqa: F403
