"""nginx's configuration as it uses it, out of `nginx -T`, which writes all files, one after the other.

https://nginx.org/en/docs/switches.html
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_FILE: Final = re.compile(r"^# configuration file (\S+):\n", re.MULTILINE)
_TOKEN: Final = re.compile(
    r"""\s+|\#[^\n]*"""
    r"""|(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
    r"""|(?P<mark>[{};])"""
    r"""|(?P<word>(?:\\.|\$\{|[^\s;{\\])+)""",
    re.DOTALL,
)
_DEPTH: Final = 8  # of files in files, and of variables in variables
# In a map's block, what is no value of the variable.
_MAPS_OWN: Final = ("hostnames", "volatile")


@dataclass(frozen=True)
class Directive:
    """Its name and arguments; `block` has what stands between its braces."""

    words: tuple[str, ...]
    block: tuple[Directive, ...] = ()

    @property
    def name(self) -> str:
        return self.words[0]


class Configuration:
    """What the main file says, with all that it includes in its place."""

    def __init__(self, text: str) -> None:
        """`text`: as nginx -T writes it."""
        parts = _FILE.split(text)
        self._files = dict(zip(parts[1::2], parts[2::2], strict=True))
        main = parts[1] if len(parts) > 1 else ""
        self._folder = os.path.dirname(main)
        self._all = self._of_file(main, 0)

    def named(self, *names: str) -> Iterator[Directive]:
        """The directives of these names, wherever they stand."""
        return (one for one in _walk(self._all) if one.name in names)

    def passed_on(self, *, below: str) -> set[str]:
        """Where the locations pass requests on to in whose name this text stands: HOST:PORT, HOST, unix:PATH.

        A name is replaced by the addresses of its `upstream`, a variable by all that it may be.
        """
        return {
            place
            for location in self.named("location")
            if any(below in word for word in location.words[1:])
            for directive in _walk(location.block)
            if directive.name == "proxy_pass" and len(directive.words) > 1
            for address in self._values(directive.words[1], 0)
            for place in self._servers(_place(address))
        }

    def _of_file(self, path: str, depth: int) -> tuple[Directive, ...]:
        text = self._files.get(path, "")
        return tuple(self._with_included(_parsed(_tokens(text)), depth))

    def _with_included(self, directives: list[Directive], depth: int) -> Iterator[Directive]:
        for one in directives:
            if one.name == "include" and len(one.words) == 2 and depth < _DEPTH:
                pattern = os.path.join(self._folder, one.words[1])
                for path in sorted(fnmatch.filter(self._files, pattern)):
                    yield from self._of_file(path, depth + 1)
            else:
                yield Directive(one.words, tuple(self._with_included(list(one.block), depth)))

    def _values(self, text: str, depth: int) -> set[str]:
        """All that a text with variables may be, as far as maps and `set` say; else it stays as it is."""
        found = re.search(r"\$\{?(\w+)\}?", text)
        if found is None or depth == _DEPTH:
            return {text}
        values = self._of_variable(found[1])
        if not values:
            return {text}
        return {
            whole
            for value in values
            for whole in self._values(text[: found.start()] + value + text[found.end() :], depth + 1)
        }

    def _of_variable(self, name: str) -> set[str]:
        values = {one.words[2] for one in self.named("set") if one.words[1:2] == (f"${name}",)}
        for one in self.named("map", "geo", "split_clients"):
            if one.words[-1] == f"${name}":
                values |= {
                    entry.words[1]
                    for entry in one.block
                    if len(entry.words) > 1 and entry.name not in _MAPS_OWN
                }
        return values

    def _servers(self, place: str) -> set[str]:
        for one in self.named("upstream"):
            if one.words[1:] == (place,):
                return {entry.words[1] for entry in one.block if entry.name == "server"}
        return {place}


def _place(address: str) -> str:
    """Of proxy_pass's argument, without the scheme and the path."""
    place = re.sub(r"^https?://", "", address)
    if place.startswith("unix:"):
        return ":".join(place.split(":")[:2])
    return place.partition("/")[0]


def _walk(directives: tuple[Directive, ...]) -> Iterator[Directive]:
    for one in directives:
        yield one
        yield from _walk(one.block)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Kind and text: a "mark" is a brace or a semicolon, a "word" is without its quotes."""
    for found in _TOKEN.finditer(text):
        if found["mark"]:
            yield "mark", found["mark"]
        elif found["quoted"]:
            yield "word", re.sub(r"\\([\"'\\])", r"\1", found["quoted"][1:-1])
        elif found["word"]:
            yield "word", found["word"]


def _parsed(tokens: Iterator[tuple[str, str]]) -> list[Directive]:
    """Up to the brace that closes the block, or to the end."""
    found: list[Directive] = []
    words: list[str] = []
    for kind, text in tokens:
        if kind == "word":
            words.append(text)
        elif text == "}":
            break
        elif text == "{":
            found.append(Directive((*words,) or ("",), tuple(_parsed(tokens))))
            words = []
        elif words:
            found.append(Directive((*words,)))
            words = []
    return found
