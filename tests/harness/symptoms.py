"""Reads docs/reference/symptoms.md: each symptom, and the command that proves its cause."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.compose import SOURCE, Compose
from harness.waiting import wait_until

PAGE = SOURCE / "docs/reference/symptoms.md"
FIELDS = ["Symptom", "Cause", "Proof", "Fix", "Test"]

Shell = Callable[[str], str]
"""Runs a script with bash and returns its output."""

Places = Mapping[str, str]
"""Replacements for the page's addresses, files and numbers, in its commands, functions and promised outputs.
Each key must occur there.
"""

OWN_DAPHNES = {"pgrep": f"pgrep --parent {os.getpid()}"}
"""Only the Daphnes that this test started: other tests may run some on the same machine."""


def symptoms() -> dict[str, dict[str, str]]:
    """The page's symptoms by heading, each with its fields."""
    found = {}
    for section in re.split(r"^### ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        parts = re.split(
            r"^\*\*(\w+):\*\*\s+", re.split(r"^## ", text, flags=re.MULTILINE)[0], flags=re.MULTILINE
        )
        found[heading.strip()] = dict(zip(parts[1::2], parts[2::2], strict=True))
    return found


def assert_seen(heading: str, text: str) -> None:
    """Assert that the text contains every quote under `Symptom`. `…` matches anything."""
    quoted = re.findall(r"`([^`]+)`", symptoms()[heading]["Symptom"])
    assert quoted, f"the symptom quotes nothing: {heading}"
    for words in quoted:
        assert _is_in(words, text), f"{words!r} is not in the output: {text[-3000:]!r}"


# --- proofs -------------------------------------------------------------------------------------------------


_BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SENTENCE_END = re.compile(r"\.(?:\s|$)")


@dataclass(frozen=True)
class Proof:
    """The content of a `Proof` field: a block with the command, and two sentences: "With the fault, it prints
    `WORDS` or `WORDS`." "When healthy, it prints `WORDS`."

    "nothing", as the first word or after "or", means empty output. `shows` and `well`: the command prints one
    of each. `remarks`: quotes outside of the command and these two sentences.
    """

    command: str
    shows: tuple[str, ...]
    well: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, heading: str) -> Proof:
        spans: list[str] = []

        def number(found: re.Match[str]) -> str:
            spans.append(found[1])
            return f"`{len(spans) - 1}`"

        def quoted(text: str) -> tuple[str, ...]:
            return tuple(
                spans[int(span)] if span else ""
                for span in re.findall(r"`(\d+)`|(?:^|\bor )nothing\b", text.lstrip(", "))
            )

        before, block, after = _BLOCK.split(symptoms()[heading]["Proof"])
        text = re.sub(r"`([^`]+)`", number, f"{before}\n{after}").replace("\n", " ")
        first, _, told = text.partition(" With the fault, it prints ")
        told, _, healthy = told.partition(" When healthy, it prints ")
        shows, *more = _SENTENCE_END.split(told, maxsplit=1)
        well, *rest = _SENTENCE_END.split(healthy, maxsplit=1)
        remarks = quoted(" ".join([first, *more, *rest]))
        proof = cls(block.strip(), quoted(shows), quoted(well), remarks)
        assert proof.command, f"the proof has no block with a command: {heading}"
        assert proof.shows, f"the proof does not quote the output with the fault: {heading}"
        assert proof.well, f"the proof does not quote the output when healthy: {heading}"
        assert not set(proof.shows) & set(proof.well), (
            f"the output with the fault and when healthy is the same: {heading}"
        )
        return proof


def functions() -> str:
    """The shell functions at the top of the page, which its commands use."""
    (block,) = _BLOCK.findall(PAGE.read_text().partition("\n### ")[0])
    return str(block)


def in_containers(heading: str, project: Compose) -> dict[str, str]:
    """The replacements that the page's table gives for commands in containers, for this proof and a stack's
    project.
    """
    compose = f"docker compose --file {project.folder}/compose.yaml --project-name {project.name}"
    rows = dict(re.findall(r"^\| `(.+?)` \| `(.+?)` \|$", PAGE.read_text(), re.MULTILINE))
    command = Proof.of(heading).command
    return {host: there.replace("docker compose", compose) for host, there in rows.items() if host in command}


def local_shell(script: str) -> str:
    """Run a script on this machine, in the repository's folder."""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=SOURCE,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    return done.stdout


def assert_proved(heading: str, places: Places, *, shell: Shell = local_shell, which: str = "") -> None:
    """Assert that the page's command proves the cause. `which`: only the promised outputs that contain this
    word count.
    """
    script, proof = _placed(heading, places)
    shows = [words for words in proof.shows if which in words]
    assert shows, f"{which} is in none of {proof.shows}"
    _wait_for(shell, script, lambda said: _says(said, shows), shows)


def assert_refuted(heading: str, places: Places, *, shell: Shell = local_shell) -> None:
    """Assert that the command prints the page's healthy output on a healthy system, and nothing that proves
    the fault.
    """
    script, proof = _placed(heading, places)
    said = _wait_for(shell, script, lambda said: _says(said, proof.well), proof.well)
    assert not _says(said, proof.shows), f"{proof.command}\nprints the same on a healthy system: {said!r}"


def assert_not_proved(heading: str, places: Places, *, shell: Shell = local_shell) -> None:
    """Assert that the command does not prove this cause when another cause has the same symptom."""
    script, proof = _placed(heading, places)
    said = shell(script)
    assert not _says(said, proof.shows), f"{proof.command}\nprints the same for another cause: {said!r}"


def _wait_for(shell: Shell, script: str, wanted: Callable[[str], bool], words: object) -> str:
    """Repeat the script until its output is as wanted, and return the output. A server may write its log
    after its response.
    """
    said = [""]

    def ask() -> bool:
        said[0] = shell(script)
        return wanted(said[0])

    try:
        wait_until(ask, 10, "the proof")
    except AssertionError as error:
        command = script.splitlines()[-1]
        raise AssertionError(f"{command}\ndoesn't print {words!r}, but {said[0]!r}") from error
    return said[0]


def _placed(heading: str, places: Places) -> tuple[str, Proof]:
    """The script and the proof, with `places` replaced in both."""
    proof = Proof.of(heading)
    script = f"{functions()}{proof.command}\n"
    everything = "\n".join((script, *proof.shows, *proof.well))
    for name in places:
        assert name in everything, f"{name!r} is no longer in the proof of {heading!r}"

    def put(text: str) -> str:
        return (
            re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], text) if places else text
        )

    return put(script), Proof(put(proof.command), tuple(map(put, proof.shows)), tuple(map(put, proof.well)))


def _says(said: str, words: tuple[str, ...] | list[str]) -> bool:
    """Whether the output contains one of the words. "" matches only an empty output."""
    return any(_is_in(one, said) if one else not said.strip() for one in words)


def _is_in(words: str, text: str) -> bool:
    """Whether the text contains the words. `…` matches anything, a space any white space."""
    parts = (r"\s+".join(map(re.escape, part.split())) for part in words.split("…"))
    pattern = ".*?".join(parts)
    return re.search(pattern, text, re.DOTALL) is not None
