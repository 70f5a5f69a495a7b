"""docs/reference/symptoms.md: each symptom has all its parts, and tests that reproduce and prove it."""

from __future__ import annotations

import ast
import functools
import itertools
import re

import pytest

from harness.compose import SOURCE
from harness.symptoms import FIELDS, PAGE, Proof, symptoms

TESTS = re.compile(r"`((?:packages/[\w-]+/)?tests/[\w/]+\.py)::(test_\w+)`")


@pytest.mark.parametrize("heading", symptoms())
def test_it_has_the_symptom_the_cause_the_proof_the_fix_and_its_tests(heading: str) -> None:
    symptom = symptoms()[heading]
    assert list(symptom) == FIELDS
    assert all(text.strip() for text in symptom.values())
    assert TESTS.findall(symptom["Test"])
    for path, name in TESTS.findall(symptom["Test"]):
        assert name in functions_of(path), f"{path} has no {name}"


@pytest.mark.parametrize("heading", symptoms())
def test_its_proof_is_run_with_the_fault_and_on_a_healthy_system(heading: str) -> None:
    """The page names these tests. There are no exceptions."""
    assert not any(" " in span for span in Proof.of(heading).remarks), "no test runs this command"
    named = TESTS.findall(symptoms()[heading]["Test"])
    for check in ("assert_proved", "assert_refuted"):
        assert any(heading in calls(path, name, check) for path, name in named), f"no {check} in {named}"


def test_each_test_of_a_symptom_is_named_on_the_page_and_reads_it() -> None:
    """These tests compare the page's quotes with the servers' output."""
    named = {pair for symptom in symptoms().values() for pair in TESTS.findall(symptom["Test"])}
    read = set()
    for file in sorted((SOURCE / "tests/config").glob("test_symptoms_*.py")):
        path = f"tests/config/{file.name}"
        if file.name != "test_symptoms_page.py":
            for name in functions_of(path):
                assert (path, name) in named or not name.startswith("test_"), name
                read |= calls(path, name, "assert_seen")
    assert read == {
        heading
        for heading, symptom in symptoms().items()
        if "tests/config/test_symptoms_" in symptom["Test"]
        and "`" in symptom["Symptom"]  # it quotes at least one text
    }


def test_the_list_at_the_top_has_them_all_and_no_other() -> None:
    listed = re.findall(r"^\| \[(.+?)\]\(#(.+?)\)", PAGE.read_text(), re.MULTILINE)
    assert [heading for heading, _ in listed] == list(symptoms())
    for heading, anchor in listed:
        assert anchor == re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-"), heading


@functools.cache
def functions_of(path: str) -> dict[str, ast.AST]:
    """The file's functions by name, each including its nested functions."""
    tree = ast.parse((SOURCE / path).read_text())
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def calls(path: str, name: str, check: str) -> set[str]:
    """Headings for which the test calls `check`, with the heading as an argument or as the value of a
    name.
    """
    nodes = list(ast.walk(functions_of(path)[name]))
    named: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Assign):
            (target,), value = node.targets, node.value
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                named |= _texts(target.elts, value.elts)
            else:
                named |= _texts([target], [value])
    found = set()
    for node in nodes:
        if isinstance(node, ast.Call):
            words = [node.func, *node.args]  # also in a thread: to_thread(check, heading, …)
            for function, heading in itertools.pairwise(words):
                if isinstance(function, ast.Name) and function.id == check:
                    found.add(
                        named[heading.id] if isinstance(heading, ast.Name) else ast.literal_eval(heading)
                    )
    return found


def _texts(targets: list[ast.expr], values: list[ast.expr]) -> dict[str, str]:
    return {
        target.id: value.value
        for target, value in zip(targets, values, strict=True)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str)
    }
