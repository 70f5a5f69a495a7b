"""The Docker engine, and what a test run owns on it.

A run is named after its own container, and that container is the lock. Another run may remove things with a
run's name only if no running container has that id. So runs at the same time don't disturb each other, and
the next run cleans up after a killed one.
"""

import functools
import re
from pathlib import Path

import docker
from docker.errors import APIError, NotFound

PREFIX = "sluice-e2e"
PROJECT_LABEL = "com.docker.compose.project"
OWNER_LABEL = "sluice.test.run"
_RUN_OF_PROJECT = re.compile(rf"{PREFIX}-([0-9a-f]{{12}})-")
_RUN_OF_TAG = re.compile(r"^sluice-[a-z]+:e2e-([0-9a-f]{12})(?:-[a-z]+)?$")


@functools.cache
def engine() -> docker.DockerClient:
    """A client of the engine whose socket is mounted."""
    return docker.from_env(timeout=120)


@functools.cache
def run_id() -> str:
    """The first 12 digits of this container's id."""
    found = re.search(r"/containers/([0-9a-f]{64})/", Path("/proc/self/mountinfo").read_text())
    if not found:
        raise RuntimeError(
            "the end-to-end tests run in the image sluice-tests, which owns what they make: use `make e2e`"
        )
    return found[1][:12]


@functools.cache
def own_image() -> str:
    """The image that this run uses, for helpers that need only a shell."""
    image: str = engine().api.inspect_container(run_id())["Image"]
    return image


def sweep(*, own: bool) -> list[str]:
    """Remove what dead runs left, and what this run made if `own`. Return the names of what was removed."""
    removed: list[str] = []
    api = engine().api
    for container in api.containers(all=True):
        labels = container["Labels"] or {}
        if _may_go(labels.get(PROJECT_LABEL, ""), own) or _may_go(labels.get(OWNER_LABEL, ""), own):
            _remove(
                removed,
                container["Names"][0],
                lambda c=container: api.remove_container(c["Id"], v=True, force=True),
            )
    for network in api.networks():
        if _may_go((network["Labels"] or {}).get(PROJECT_LABEL, ""), own):
            _remove(removed, network["Name"], lambda n=network: api.remove_network(n["Id"]))
    for volume in api.volumes()["Volumes"] or []:
        if _may_go((volume["Labels"] or {}).get(PROJECT_LABEL, ""), own):
            _remove(removed, volume["Name"], lambda v=volume: api.remove_volume(v["Name"], force=True))
    for image in api.images():
        for tag in image["RepoTags"] or []:
            found = _RUN_OF_TAG.match(tag)
            if found and _run_may_go(found[1], own):
                _remove(removed, tag, lambda t=tag: api.remove_image(t))
    return removed


def _may_go(name: str, own: bool) -> bool:
    found = _RUN_OF_PROJECT.match(name)
    return found is not None and _run_may_go(found[1], own)


def _run_may_go(run: str, own: bool) -> bool:
    return own if run == run_id() else not _alive(run)


@functools.cache
def _alive(run: str) -> bool:
    try:
        return bool(engine().api.inspect_container(run)["State"]["Running"])
    except NotFound:
        return False


def _remove(removed: list[str], name: str, how: object) -> None:
    assert callable(how)
    try:
        how()
    except NotFound:
        return
    except APIError as error:  # another sweep is removing its user at this moment
        if error.status_code != 409:
            raise
        return
    removed.append(name)
