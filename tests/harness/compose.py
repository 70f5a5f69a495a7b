"""`docker compose` on one project, in its own environment: the operator's `.env` and shell do not affect
it.
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(os.environ.get("SLUICE_SOURCE", "/src"))
_PASSED_ON = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "LANG")


class ComposeFailed(AssertionError):
    """A compose command exited with a status other than 0. The message is its output."""


@dataclass(frozen=True)
class Compose:
    """The project `name`. Its folder holds compose.yaml and the operator's `.env`."""

    name: str
    folder: Path

    @classmethod
    def create(cls, name: str, folder: Path, settings: Mapping[str, str], override: str = "") -> "Compose":
        """Create the project folder. `override` is the text of its compose.override.yaml."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "compose.yaml").write_bytes((SOURCE / "compose.yaml").read_bytes())
        if override:
            (folder / "compose.override.yaml").write_text(override)
        compose = cls(name, folder)
        compose.write_env(settings)
        return compose

    def write_env(self, settings: Mapping[str, str]) -> None:
        """Replace the project's `.env`."""
        (self.folder / ".env").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    def run(
        self, *arguments: str, deadline: float = 120, check: bool = True, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command and wait for its end. `given` is its standard input. `.stdout` includes standard
        error.
        """
        process = self.start(*arguments, stdin=subprocess.PIPE if given else subprocess.DEVNULL)
        try:
            output, _ = process.communicate(given or None, timeout=deadline)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            raise ComposeFailed(
                f"docker compose {' '.join(arguments)}: not within {deadline:g} s\n{output}"
            ) from None
        if check and process.returncode:
            raise ComposeFailed(
                f"docker compose {' '.join(arguments)}: status {process.returncode}\n{output}"
            )
        return subprocess.CompletedProcess(arguments, process.returncode, output)

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """Start a command and return at once."""
        command = [
            "docker",
            "compose",
            "--ansi",
            "never",
            "--progress",
            "plain",
            "--project-name",
            self.name,
            *arguments,
        ]
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
