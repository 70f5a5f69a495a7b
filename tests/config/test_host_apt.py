"""Which source of the engine's packages scripts/ selects on different hosts, and that it changes no other
file.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from config.host_shell import sh

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
INLINE_KEY = (
    "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEYCQjIxYJKwYB\n -----END PGP PUBLIC KEY BLOCK-----"
)


def folder(path: Path, files: Mapping[str, str]) -> Path:
    """An /etc/apt that contains these files."""
    (path / "sources.list.d").mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def new_source(apt: Path) -> str:
    """The source that make would write for trixie on a Debian 12 with this /etc/apt."""
    return sh(f"as_source \"$(debian_source bookworm '{apt}')\" trixie").stdout


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"sources.list": "deb http://mirror.test/debian bookworm main contrib # ours\n"},
            "URIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\n",
            id="a line",
        ),
        pytest.param(
            {
                "sources.list": "deb [ arch=amd64,arm64 "
                f"signed-by={KEYRING} ] http://mirror.test/debian/ bookworm main"
            },
            f"URIs: http://mirror.test/debian/\nSuites: trixie\nComponents: main\nSigned-By: {KEYRING}\n"
            "Architectures: amd64 arm64\n",
            id="a line with options",
        ),
        pytest.param(
            {
                "sources.list.d/debian.sources": "# the mirror\nTypes: deb deb-src\nURIs: http://mirror.test/debian\n"
                f"Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: {KEYRING}\n"
            },
            f"URIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\nSigned-By: {KEYRING}\n",
            id="a stanza",
        ),
        pytest.param(
            {
                "sources.list.d/a.sources": "types: deb\nuris: http://mirror.test/debian\nsuites: bookworm\n"
                f"components: main\nsigned-by:{INLINE_KEY}\n"
                "\nTypes: deb\nURIs: http://b.test\nSuites: x\nComponents: y\n"
            },
            f"URIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\nSigned-By: {INLINE_KEY}\n",
            id="a stanza with its key",
        ),
        pytest.param(
            {
                "sources.list": "#deb http://old.test/debian bookworm main\n"
                "deb cdrom:[Debian 12]/ bookworm main\n",
                "sources.list.d/php.list": "deb [signed-by=/k.gpg] https://php.test/php bookworm main\n",
                "sources.list.d/off.sources": "Enabled: no\nTypes: deb\nURIs: http://off.test/debian\n"
                "Suites: bookworm\nComponents: main\n",
                "sources.list.d/left.sources.disabled": "Types: deb\nURIs: http://left.test/debian\n"
                "Suites: bookworm\nComponents: main\n",
                "sources.list.d/z.list": "deb http://mirror.test/debian bookworm main\n",
            },
            "URIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\n",
            id="among others that aren't Debian's, or are switched off",
        ),
    ],
)
def test_trixie_has_the_same_source_as_bookworm(
    tmp_path: Path, files: Mapping[str, str], expected: str
) -> None:
    assert new_source(folder(tmp_path, files)) == f"Types: deb\n{expected}"


def test_no_source_is_not_made_up(tmp_path: Path) -> None:
    assert sh(f"debian_source bookworm '{folder(tmp_path, {})}'").stdout == ""


def test_a_list_of_mirrors_on_disk_gives_its_first_to_debootstrap(tmp_path: Path) -> None:
    mirrors = tmp_path / "mirrors"
    mirrors.write_text("# chosen at boot\nhttp://near.test/debian/\tpriority:1\nhttp://far.test/debian\n")
    line = f"mirror+file:{mirrors}\tbookworm\tmain\t\t"
    assert sh(f"plain_mirror '{line}'").stdout == "http://near.test/debian"


class FabricatedApt:
    """An apt with its own packages and archive. It can only simulate installations."""

    INSTALLED = """\
        Package: probe
        Status: install ok installed
        Version: 1
        Architecture: all
        Maintainer: x <x@x>
        Description: x
        """
    AVAILABLE = """\
        Package: probe
        Version: 2
        Architecture: all
        Filename: ./probe.deb
        Size: 1
        MD5sum: 0

        Package: harmless
        Version: 1
        Architecture: all
        Depends: probe
        Filename: ./harmless.deb
        Size: 1
        MD5sum: 0

        Package: upgrades
        Version: 1
        Architecture: all
        Depends: probe (>= 2)
        Filename: ./upgrades.deb
        Size: 1
        MD5sum: 0

        Package: removes
        Version: 1
        Architecture: all
        Conflicts: probe
        Filename: ./removes.deb
        Size: 1
        MD5sum: 0
        """

    def __init__(self, path: Path) -> None:
        for name in (
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "lists/partial",
            "cache/archives/partial",
            "archive",
        ):
            (path / name).mkdir(parents=True)
        (path / "status").write_text(_flush(self.INSTALLED))
        (path / "archive/Packages").write_text(_flush(self.AVAILABLE))
        (path / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{path}/archive ./\n")
        (path / "conf").write_text(
            f'Dir::Etc "{path}/etc/apt"; Dir::State "{path}"; Dir::State::lists "{path}/lists";\n'
            f'Dir::State::status "{path}/status"; Dir::Cache "{path}/cache"; APT::Sandbox::User "root";\n'
            f'Debug::NoLocking "true"; Dir::Log "{path}";\n'
        )
        self.env = {"APT_CONFIG": str(path / "conf")}
        done = sh("apt-get update", env=self.env)
        assert done.returncode == 0, done.stdout


def _flush(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


@pytest.fixture
def apt(tmp_path: Path) -> FabricatedApt:
    return FabricatedApt(tmp_path)


@pytest.mark.parametrize(("package", "change"), [("upgrades", "upgrade probe"), ("removes", "remove probe")])
def test_an_install_that_would_change_what_is_there_is_refused(
    apt: FabricatedApt, package: str, change: str
) -> None:
    done = sh(f"install_packages {package}", env=apt.env)
    assert done.returncode == 1
    assert "Nothing was installed, because apt would upgrade or remove packages" in done.stdout
    assert change in done.stdout
    assert "==>" not in done.stdout


def test_an_install_that_changes_nothing_goes_ahead(apt: FabricatedApt) -> None:
    assert "==> Installing 1 packages: harmless" in sh("install_packages harmless", env=apt.env).stdout


def test_an_unavailable_package_is_reported_in_one_sentence(apt: FabricatedApt) -> None:
    done = sh("install_packages nowhere", env=apt.env)
    assert done.stdout.strip() == "sluice: apt can't install nowhere: Unable to locate package nowhere"
