#!/usr/bin/env python3
"""Check Dockerfiles against this project's rules: `dockerfiles.py FILE...` prints a line for each breach.

Debian and PyPI have no good linter for Dockerfiles, so the rules are here. ShellCheck checks the shell code
of RUN. The exit status is 1 if there is a breach.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BASE = "BASE_IMAGE=debian:trixie-slim"
SECRET = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|COOKIE)(?!\w*_FILE\b)", re.IGNORECASE)


class Instruction(NamedTuple):
    """One instruction with its continuation lines, without the comments between them."""

    line: int
    name: str
    body: str


def main(paths: list[str]) -> int:
    """Print all breaches. Returns the exit status."""
    breaches = [f"{path}:{line}: {what}" for path in paths for line, what in check(Path(path).read_text())]
    print("\n".join(breaches) or f"{len(paths)} files, no breach")
    return 1 if breaches else 0


def check(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, breach) for one Dockerfile."""
    if re.match(r"#\s*syntax\s*=", text, re.IGNORECASE):
        yield 1, "`# syntax=` fetches a frontend from a registry at each build; the engine has its own"
    instructions = list(parse(text))
    if instructions and (instructions[0].name, instructions[0].body) != ("ARG", BASE):
        yield (
            instructions[0].line,
            f"the first instruction must be `ARG {BASE}`: not every machine has a registry",
        )
    shipped = _shipped_stages(instructions)
    known: set[str] = set()
    stage = ""
    for instruction in instructions:
        if instruction.name == "FROM":
            image, stage = _image_and_stage(instruction)
            if image not in {"${BASE_IMAGE}", "$BASE_IMAGE", "scratch"} | known:
                yield instruction.line, f"FROM {image}: a stage derives from ${{BASE_IMAGE}} or another stage"
            known.add(stage)
        for breach in _breaches(instruction, ships=stage in shipped):
            yield instruction.line, breach


def _image_and_stage(instruction: Instruction) -> tuple[str, str]:
    image, _, stage = re.sub(r"--platform=\S+\s*", "", instruction.body).partition(" ")
    return image, stage.split()[-1] if stage else f"line {instruction.line}"


def _shipped_stages(instructions: list[Instruction]) -> set[str]:
    """The stages that are in an image: those from which nothing is copied or derived, and their ancestors."""
    base = {
        stage: image for image, stage in map(_image_and_stage, (i for i in instructions if i.name == "FROM"))
    }
    copied = {name for i in instructions for name in re.findall(r"\bfrom=([\w.-]+)", i.body)}
    found: set[str] = set()
    for stage in base.keys() - copied - set(base.values()):
        while stage in base:
            found.add(stage)
            stage = base[stage]
    return found


def parse(text: str) -> Iterator[Instruction]:
    """Yield the instructions of a Dockerfile. Here-documents are not supported; this project has none."""
    lines = enumerate(text.splitlines(), 1)
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        body = line
        while body.endswith("\\"):
            _, following = next(lines, (0, ""))
            if not following.lstrip().startswith("#"):
                body = f"{body}\n{following}"
        name, _, rest = body.strip().partition(" ")
        yield Instruction(number, name.upper(), rest.strip())


def _breaches(instruction: Instruction, *, ships: bool) -> Iterator[str]:
    _, name, body = instruction
    if name != "RUN":
        body = body.replace("\\\n", " ")
    if name == "RUN":
        yield from _run_breaches(body, ships=ships)
    elif name in {"CMD", "ENTRYPOINT", "SHELL"} and not _is_json_list(body):
        yield f"{name} must be a JSON list: a shell in between does not pass signals on"
    elif name == "ADD":
        yield "ADD unpacks and downloads: use COPY"
    elif name in {"ENV", "ARG"} and SECRET.search(re.sub(r"=\S*", "", body)):
        yield f"{name} {body.split('=')[0]}: everybody who has the image can read a secret in it"
    elif name == "USER" and not re.fullmatch(r"\d+(:\d+)?", body):
        yield f"USER {body}: use numbers, since Kubernetes can't check names against runAsNonRoot"
    elif name == "MAINTAINER":
        yield "MAINTAINER is obsolete: use LABEL"


def _run_breaches(body: str, *, ships: bool) -> Iterator[str]:
    code = re.sub(r"^(--\w+=\S+\s*(\\\n)?\s*)+", "", body)
    if ";" in code and not re.match(r"set -eux?\b", code):
        yield "RUN with several steps must begin with `set -eux;`, or a failing step goes unnoticed"
    if "apt-get install" in code:
        if not re.search(r"apt-get install (\S+ )*?--no-install-recommends", code):
            yield "apt-get install without --no-install-recommends"
        if not re.search(r"apt-get install (\S+ )*?(-y|--yes)\b", code):
            yield "apt-get install without --yes stops the build with a question"
        if ships and not re.search(r"\brm -rf\b[^;&]* /var/lib/apt/lists/\*", code):
            yield "apt-get install without `rm -rf /var/lib/apt/lists/*` in the same RUN: the layer has them"
    if re.search(r"apt-get (dist-)?upgrade|\bsudo\b", code):
        yield "RUN must not upgrade (refresh the base image instead) or use sudo"
    if re.search(r"pip3? install", code) and not {"--no-cache-dir", "--require-hashes"} <= set(code.split()):
        yield "pip install without --no-cache-dir and --require-hashes"
    if re.search(r"(curl|wget)[^;&|]*\|\s*(ba)?sh", code):
        yield "RUN pipes a download into a shell"
    yield from _shellcheck(code)


def _shellcheck(code: str) -> Iterator[str]:
    # SC2154: variables come from ARG and ENV.
    command = ["shellcheck", "--shell=sh", "--exclude=SC2154", "--format=json", "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=False)
    for finding in json.loads(done.stdout or "[]"):
        yield f"RUN, step {finding['line']}: {finding['message']} (SC{finding['code']})"


def _is_json_list(body: str) -> bool:
    try:
        return isinstance(json.loads(body), list)
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
