"""The files in the layers of images, including those that a later layer hides."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterator

UNWANTED = re.compile(
    r"""
      (^|/)\.erlang\.cookie$
    | ^run/sluice/secrets/.
    | (^|/)(cc1|cc1plus)$
    | (^|/)bin/(cc|c\+\+|make|(\w+-linux-gnu-)?(gcc|g\+\+|clang|ld|as)(-\d+)?)$
    | (^|/)\.cache/pip/
    | ^usr/local/share/ca-certificates/.*\.crt$
    | (^|/)ssl-cert-snakeoil\.key$
    | (^|/)(id_rsa|id_ed25519|\.netrc|\.pgpass|\.env|\.git)$
    """,
    re.VERBOSE,
)


def unwanted(images: list[str]) -> list[str]:
    """Names in any layer that should not ship: secrets, the build host's certificates, compilers, caches."""
    return sorted({name for name in names(images) if UNWANTED.search(name)})


def names(images: list[str]) -> Iterator[str]:
    """The name of every file in every layer. A layer that several images share is read once."""
    with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        with tarfile.open(fileobj=saving.stdout, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() and member.size >= 1024 else None
                # The archive holds configurations and manifests (JSON) beside the layers.
                if isinstance(content, io.BufferedReader) and content.peek(1)[:1] not in (b"{", b"["):
                    yield from _names(content)
    assert saving.returncode == 0, f"docker save {images}: status {saving.returncode}"


def _names(content: io.BufferedReader) -> Iterator[str]:
    with tarfile.open(fileobj=content, mode="r|") as layer:
        for member in layer:
            yield member.name.removeprefix("./")
