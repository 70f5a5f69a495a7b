"""The commands of a page of docs/how-to/, as they stand there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.compose import SOURCE

_PARTS = re.compile(r"^(#{2,3} [^\n]*)$|^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Guide:
    """Blocks that begin with ```bash, by the heading that they stand below, in the order of the page."""

    page: Path
    blocks: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, name: str) -> Guide:
        page = SOURCE / "docs/how-to" / name
        title, blocks = "", []
        for heading, commands in _PARTS.findall(page.read_text()):
            if heading:
                title = heading.lstrip("# ")
            else:
                blocks.append((title, commands))
        return cls(page, tuple(blocks))

    @property
    def titles(self) -> list[str]:
        """Of headings that have commands."""
        return list(dict.fromkeys(title for title, _ in self.blocks))

    def of(self, title: str) -> list[str]:
        """The blocks below a heading."""
        found = [commands for heading, commands in self.blocks if heading == title]
        assert found, f"{self.page.name} has no commands below {title!r}; it has {self.titles}"
        return found


def with_values(block: str, **values: str) -> str:
    """The block with other values in its assignments, each of which must stand in it once."""
    for name, value in values.items():
        block, count = re.subn(rf"^{name}=\S*", f"{name}={value}", block, flags=re.MULTILINE)
        assert count == 1, f"{name}= stands {count} times in {block!r}"
    return block
