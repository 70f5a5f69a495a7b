"""Lines are added to Python files and taken out again, and the files have the same bytes as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice_updates.project.source import MARK, Source, Uneditable

PATH = Path("project.py")
LINE = 'APPS = [*APPS, "updates"]'


def source(text: str) -> Source:
    return Source(PATH, text.encode())


FILES = {
    "a list": "APPS = [\n    'a',\n]\nB = 1\n",
    "one line": "APPS = ['a']\n",
    "no line end": "APPS = ['a']",
    "empty lines at the end": "APPS = ['a']\n\n\n",
    "DOS": "APPS = [\r\n    'a',\r\n]\r\nB = 1\r\n",
    "DOS without the last line end": "APPS = [\r\n    'a',\r\n]",
    "after a semicolon": "APPS = ['a']; B = [\n    1,\n]\n",
    "in a condition": "if True:\n    APPS = ['a']\nelse:\n    APPS = []\nB = 1\n",
    "changed later": "APPS = ['a']\nAPPS += ['b']\nAPPS.append('c')\nB = 1\n",
    "a byte order mark": "\ufeffAPPS = ['a']\n",
    "a form feed": "APPS = ['a']\n\x0c\nB = 1\n",
    "text that looks like a mark": f"A = '{MARK}'\nAPPS = ['a']\n",
    "a comment that begins like a mark": f"APPS = ['a']  {MARK}ial apps\n",
    "tabs": "if True:\n\tAPPS = ['a']\n",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_what_was_added_is_removed_to_the_same_bytes(text: str) -> None:
    before = source(text)
    after = before.after_last_binding("APPS")
    assert after is not None
    edited = before.with_lines([(after, [LINE]), (before.after_imports(), ["import os"])])
    assert edited.is_marked
    values: dict[str, list[str]] = {}
    exec(compile(edited.data, "project.py", "exec"), values)
    assert values["APPS"] and values["APPS"][-1] == "updates"
    assert edited.without_marked().data == before.data


def test_latin_1_stays_latin_1() -> None:
    data = "# coding: latin-1\nAPPS = ['é']\n".encode("latin-1")
    before = Source(PATH, data)
    edited = before.with_lines([(2, [LINE])])
    assert edited.data.startswith(data)
    assert edited.without_marked().data == data


def test_a_statement_that_a_formatter_wrapped_is_removed() -> None:
    text = f"A = [1]\nA = [\n    2,\n    *A,\n]  {MARK}\nB = 1\n"
    assert source(text).without_marked().data == b"A = [1]\nB = 1\n"


def test_an_element_on_a_line_of_its_own_is_removed() -> None:
    text = f"A = [\n    1,\n    2,  {MARK}\n]\n"
    assert source(text).without_marked().data == b"A = [\n    1,\n]\n"


def test_of_an_import_that_was_joined_with_the_projects_own_the_used_names_stay() -> None:
    text = f"from django.urls import include, path, re_path  {MARK}\nA = [path(1), re_path(2)]\n"
    assert (
        source(text).without_marked().data
        == b"from django.urls import path, re_path\nA = [path(1), re_path(2)]\n"
    )


def test_a_marked_line_without_which_the_rest_is_not_python_is_named() -> None:
    with pytest.raises(Uneditable, match="can't be parsed"):
        source(f"A = [  {MARK}\n    1,\n]\n").without_marked()


@pytest.mark.parametrize("data", [b"A = [\n", b"\xff\xfe", b"A = '\0'\n", b"A = 1\rB = 2\n"])
def test_what_is_not_python_is_refused(data: bytes) -> None:
    with pytest.raises(Uneditable):
        Source(PATH, data)


def test_the_imports_end_before_other_statements() -> None:
    assert (
        source('"""Doc."""\n\nimport a\nfrom b import (\n    c,\n)\n\nx = 1\nimport d\n').after_imports() == 6
    )
    assert source("x = 1\nimport d\n").after_imports() == 0
