"""The commands of a page in docs/how-to/."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.compose import SOURCE

_PARTS = re.compile(r"^(#{2,3} [^\n]*)$|^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LEFT_OUT = re.compile(r"^\| (.+?) \| (.+?) \| `(.+?)` \|$", re.MULTILINE)


@dataclass(frozen=True)
class Guide:
    """The page's ```bash blocks in order, each with its heading ("" before the first heading).

    `code`: the other blocks, with their language.
    """

    page: Path
    blocks: tuple[tuple[str, str], ...]
    code: tuple[tuple[str, str, str], ...]

    @classmethod
    def read(cls, name: str) -> Guide:
        page = SOURCE / "docs/how-to" / name
        title, blocks, code = "", [], []
        for heading, language, text in _PARTS.findall(page.read_text()):
            if heading:
                title = heading.lstrip("# ")
            elif language == "bash":
                blocks.append((title, text))
            else:
                code.append((title, language, text))
        return cls(page, tuple(blocks), tuple(code))

    @property
    def titles(self) -> list[str]:
        """The headings that have commands."""
        return list(dict.fromkeys(title for title, _ in self.blocks))

    def of(self, title: str) -> list[str]:
        """The blocks below a heading."""
        found = [commands for heading, commands in self.blocks if heading == title]
        assert found, f"{self.page.name} has no commands below {title!r}; it has {self.titles}"
        return found

    def snippet(self, title: str, language: str) -> str:
        """The only block of that language below a heading."""
        (found,) = [text for heading, kind, text in self.code if (heading, kind) == (title, language)]
        return found

    def left_out(self) -> dict[str, tuple[str, str]]:
        """By skipped step: where one notices it and what one sees, from the page's table."""
        rows = _LEFT_OUT.findall(self.page.read_text().partition("\n## If a step is skipped\n")[2])
        return {step: (where, what) for step, where, what in rows}


def with_values(block: str, **values: str) -> str:
    """Replace the values of assignments in the block. Each name must be assigned once."""
    for name, value in values.items():
        block, count = re.subn(rf"^{name}=\S*", f"{name}={value}", block, flags=re.MULTILINE)
        assert count == 1, f"{name}= occurs {count} times in {block!r}"
    return block
