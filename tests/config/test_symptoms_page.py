"""docs/reference/symptoms.md: each symptom has all its parts, and a test that there is."""

from __future__ import annotations

import ast
import re

import pytest

from config.nginx_lab import SOURCE
from config.symptoms_lab import FIELDS, PAGE, symptoms

TESTS = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@pytest.mark.parametrize("heading", symptoms())
def test_it_says_what_is_seen_why_how_to_prove_and_cure_it_and_which_test_makes_it(heading: str) -> None:
    symptom = symptoms()[heading]
    assert list(symptom) == FIELDS
    assert all(text.strip() for text in symptom.values())
    named = TESTS.findall(symptom["Test"])
    assert named
    for path, name in named:
        tree = ast.parse((SOURCE / path).read_text())
        functions = {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in functions, f"{path} has no {name}"


def test_each_test_of_a_symptom_is_named_on_the_page_and_reads_it() -> None:
    """What is quoted there is compared with what the servers said."""
    named = {pair for symptom in symptoms().values() for pair in TESTS.findall(symptom["Test"])}
    read = {heading for heading in symptoms() if heading in _headings_that_tests_read()}
    for path in sorted((SOURCE / "tests/config").glob("test_symptoms_[hlp]*.py")):
        if path.name == "test_symptoms_page.py":
            continue
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE):
            assert (f"tests/config/{path.name}", name) in named, name
    assert read == {
        heading for heading, symptom in symptoms().items() if "tests/config/test_symptoms_" in symptom["Test"]
    }


def test_the_list_at_the_top_has_them_all_and_no_other() -> None:
    listed = re.findall(r"^\| \[(.+?)\]\(#(.+?)\)", PAGE.read_text(), re.MULTILINE)
    assert [heading for heading, _ in listed] == list(symptoms())
    for heading, anchor in listed:
        assert anchor == re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-"), heading


def _headings_that_tests_read() -> set[str]:
    text = "".join(path.read_text() for path in (SOURCE / "tests/config").glob("test_symptoms_*.py"))
    return set(re.findall(r'assert_seen\(\s*"([^"]+)"', text))
