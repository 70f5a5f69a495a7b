"""Reads directives from the output of `nginx -T`, which contains all configuration files.

https://nginx.org/en/docs/switches.html
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"""\s+|\#[^\n]*"""
    r"""|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'"""
    r"""|(?P<mark>[{};])"""
    r"""|(?P<word>(?:\\.|\$\{|[^\s;{\\])+)""",
    re.DOTALL,
)


def numbers(text: str, name: str) -> list[int]:
    """All values of a directive that takes one number, from every block and file."""
    found: list[int] = []
    words: list[str] = []
    for token in _TOKEN.finditer(text):
        if token["word"]:
            words.append(token["word"])
        elif token["mark"]:
            if len(words) == 2 and words[0] == name and words[1].isdigit():
                found.append(int(words[1]))
            words = []
    return found
