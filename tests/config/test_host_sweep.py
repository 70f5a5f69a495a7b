"""The next test run removes what a killed one left, and keeps what a running one made."""

import subprocess
from collections.abc import Iterator

import pytest

from config.host_shell import sh
from harness.engine import own_image, run_id

DEAD = "0123456789ab"


EMPTY = "\0" * 10240  # an empty tar archive


def docker(*arguments: str, given: str | None = None) -> str:
    """Run the docker client and return its output."""
    command = ["docker", *arguments]
    done = subprocess.run(command, check=True, input=given, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


@pytest.fixture(params=[DEAD, run_id()], ids=["dead", "alive"])
def left(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool]]:
    """The name of a project with a container, a network, a volume and an image, and whether its run is
    alive.
    """
    project = f"sluice-e2e-{request.param}-sweep"
    label = f"--label=com.docker.compose.project={project}"
    docker("network", "create", "--internal", label, project)
    docker("volume", "create", label, project)
    docker("create", "--name", project, label, "--volume", f"{project}:/v", own_image(), "true")
    docker("import", "-", f"sluice-sweep:e2e-{request.param}", given=EMPTY)  # no other name, not in use
    yield project, request.param == run_id()
    for kind in (["rm", "--force"], ["network", "rm", "--force"], ["volume", "rm", "--force"]):
        docker(*kind, project)
    docker("image", "rm", "--force", f"sluice-sweep:e2e-{request.param}")


def test_only_things_of_dead_runs_are_removed(left: tuple[str, bool]) -> None:
    project, alive = left
    done = sh("scripts/sweep")
    assert (done.returncode, done.stdout) == (0, "")
    found = [
        docker("ps", "--all", "--quiet", "--filter", f"name={project}"),
        docker("network", "ls", "--quiet", "--filter", f"name={project}"),
        docker("volume", "ls", "--quiet", "--filter", f"name={project}"),
        docker("image", "ls", "--quiet", f"sluice-sweep:e2e-{project.split('-')[2]}"),
    ]
    assert [bool(one) for one in found] == [alive] * 4
