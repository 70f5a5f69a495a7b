"""The stack's settings and one setting of the project."""

import dataclasses

from sluice_stack.environment import OPERATOR, parsers, setting
from sluice_stack.environment import Environment as StackEnvironment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment(StackEnvironment):
    page_size: int = setting("50", parsers.whole(1, 500), OPERATOR, "wsgi", "Rows of a page.")
