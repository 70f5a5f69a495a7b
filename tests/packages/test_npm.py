"""The package of updates.js for npm: its contents, and that Node.js and TypeScript can use it."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2]
PACKAGE = SOURCE / "packages/sluice-updates"
STATIC = "src/sluice_updates/static/sluice_updates"

CONSUMER = """
import { connect, type Update, type State } from "sluice-updates";
import { fetchPage, updates } from "sluice-updates/page";

const own = connect({ root: "/", poll: "/push/", positions: { all: "0-0" }, getState: "/state/" });
const stop: () => void = own.on("note", ({ text }, update: Update) => console.log(text, update.position));
own.addEventListener("lost", (event) => event.detail.streams.map((stream) => stream.length));
own.addEventListener("restored", ({ detail }) => console.log(detail.data));
own.addEventListener("anything", (event) => event.preventDefault());
const state: State = updates.state;
updates.getState = async ({ streams, signal }) => {
  const { page, positions } = await fetchPage({ signal });
  console.log(streams.length, page.title);
  return positions;
};
stop();
console.log(state, updates.diagnosis?.code);
"""
MISTAKES = """
import { connect } from "sluice-updates";

connect({ pollSeconds: "60" });
connect().on(3, () => undefined);
connect().addEventListener("lost", (event) => event.detail.nothing);
connect().state = "live";
connect({ getState: () => 3 });
"""


@pytest.fixture(scope="module")
def tarball(dist: Path) -> Path:
    (found,) = dist.glob("sluice-updates-*.tgz")
    return found


@pytest.fixture(scope="module")
def project(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new folder in which the package is installed."""
    folder = tmp_path_factory.mktemp("npm")
    (folder / "package.json").write_text('{"name": "consumer", "private": true, "type": "module"}')
    subprocess.run(
        ["npm", "install", "--offline", "--no-audit", "--no-fund", tarball], cwd=folder, check=True
    )
    return folder


def test_its_contents(tarball: Path) -> None:
    modules = {path.stem for path in (PACKAGE / STATIC).glob("*.js")}
    with tarfile.open(tarball) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    assert names == {
        "package.json",
        "README.md",
        "LICENSE",
        *(f"{STATIC}/{module}.js" for module in modules),
        *(f"types/{module}.d.ts" for module in modules),
    }


def test_its_version() -> None:
    about = json.loads((PACKAGE / "package.json").read_text())
    assert about["version"] == (SOURCE / "VERSION").read_text().strip()


def test_node_finds_both_modules(project: Path) -> None:
    """page.js itself needs a document."""
    code = """
        import { existsSync } from "node:fs";
        import { createRequire } from "node:module";
        import { connect, Updates } from "sluice-updates";
        const page = createRequire(process.cwd() + "/x.js").resolve("sluice-updates/page");
        console.log(typeof connect, typeof Updates, existsSync(page));
    """
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", code],
        cwd=project,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.stdout.split() == ["function", "function", "true"]


@pytest.mark.parametrize("resolution", ["node16", "node"])
def test_its_types(project: Path, resolution: str) -> None:
    assert compiled(project, CONSUMER, resolution) == []
    assert compiled(project, MISTAKES, resolution) == [4, 5, 6, 7, 8]


def compiled(project: Path, text: str, resolution: str) -> list[int]:
    """The lines in which TypeScript finds an error."""
    (project / "consumer.ts").write_text(text)
    module = "node16" if resolution == "node16" else "es2022"
    options = f"--strict --noEmit --target es2022 --module {module} --moduleResolution {resolution}"
    command = ["tsc", *options.split(), "consumer.ts"]
    done = subprocess.run(command, cwd=project, stdout=subprocess.PIPE, text=True)
    assert (done.returncode == 0) == (not done.stdout)
    return sorted({int(line) for line in re.findall(r"^consumer\.ts\((\d+),", done.stdout, re.MULTILINE)})
