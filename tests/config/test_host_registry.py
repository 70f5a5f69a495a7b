"""Where the base image comes from: a registry that has it, one that doesn't, and one that does not
respond.
"""

import gzip
import hashlib
import io
import json
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from config.host_shell import sh

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry(ThreadingHTTPServer):
    """A minimal registry for a pull of its one image, `probe:1`. On the loopback it needs no TLS."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        empty = io.BytesIO()
        tarfile.open(fileobj=empty, mode="w").close()
        layer = gzip.compress(empty.getvalue(), mtime=0)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(empty.getvalue())]},
        }
        described = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(described),
                "digest": _digest(described),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "size": len(layer),
                    "digest": _digest(layer),
                }
            ],
        }
        self.manifest = json.dumps(manifest).encode()
        self.blobs = {_digest(blob): blob for blob in (layer, described, self.manifest)}
        self.address = f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Registry)
        name = self.path.rpartition("/")[2]
        content = b"{}" if self.path == "/v2/" else self.server.blobs.get(name)
        if self.path == "/v2/probe/manifests/1":
            content = self.server.manifest
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        if content is not None and "/manifests/" in self.path:
            self.send_header("Content-Type", MANIFEST)
            self.send_header("Docker-Content-Digest", _digest(content))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content or b"")

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
    subprocess.run(
        ["docker", "image", "rm", "--force", f"{server.address}/probe:1"], check=True, capture_output=True
    )


def test_an_image_that_the_registry_has_is_pulled_and_then_there(registry: Registry) -> None:
    image = f"{registry.address}/probe:1"
    done = sh("choose_base && has_image $BASE_IMAGE", env={"BASE_IMAGE": image})
    assert done.returncode == 0, done.stdout
    assert f"Status: Downloaded newer image for {image}" in done.stdout


def test_a_missing_image_is_reported_with_the_reason(registry: Registry) -> None:
    done = sh("choose_base", env={"BASE_IMAGE": f"{registry.address}/other:1"})
    assert done.returncode == 1
    assert (
        f"BASE_IMAGE={registry.address}/other:1 is neither on this machine nor can it be pulled ("
        in done.stdout
    )
    assert "not found" in done.stdout or "unknown" in done.stdout


def test_a_silent_registry_is_given_up() -> None:
    """It accepts the connection, but sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        done = sh("registry_limit=1; choose_base", env={"BASE_IMAGE": f"{address}/probe:1"})
    assert done.returncode == 1
    assert "nor can it be pulled (no answer in 1 seconds)" in done.stdout
