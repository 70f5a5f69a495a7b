"""What lies in the layers of images, those that a later layer hides included."""

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
    """Names, in any layer of the images, that should not ship: secrets, certificates of the building
    host, compilers, caches.
    """
    return sorted({name for name in names(images) if UNWANTED.search(name)})


def names(images: list[str]) -> Iterator[str]:
    """Every file's name in every layer; a layer that several images share is read once."""
    with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        with tarfile.open(fileobj=saving.stdout, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() and member.size >= 1024 else None
                # Configurations and manifests lie beside the layers.
                if isinstance(content, io.BufferedReader) and content.peek(1)[:1] not in (b"{", b"["):
                    yield from _names(content)
    assert saving.returncode == 0, f"docker save {images}: status {saving.returncode}"


def _names(content: io.BufferedReader) -> Iterator[str]:
    with tarfile.open(fileobj=content, mode="r|") as layer:
        for member in layer:
            yield member.name.removeprefix("./")
