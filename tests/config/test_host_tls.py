"""What `make up TLS=…` refuses, and what it keeps in .env. The tests stop before an engine is needed."""

import subprocess

import pytest

from config.host_shell import BASE, elsewhere, sentence

NO_ENGINE = ("--env", "INSTALL_ENGINE=no")  # `make up` stops here if the settings are correct


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["TLS=on"], "TLS=on is malformed: it must be off, self-signed or own."),
        (["TLS=own"], "TLS_CERTIFICATE isn't set: with TLS=own it names the file of your certificate"),
        (["TLS=own", "TLS_CERTIFICATE=/none.pem"], "TLS_CERTIFICATE=/none.pem is not a file"),
        (
            ["TLS=own", "TLS_CERTIFICATE=/etc/os-release"],
            "TLS_KEY isn't set: with TLS=own it names the file of",
        ),
        (["TLS=self-signed", "SITE_URL=http://a"], "SITE_URL=http://a must begin with https:// where TLS="),
        (["HTTPS_PORT=8443"], "HTTPS_PORT=8443 needs TLS=self-signed or TLS=own"),
        (["TLS=self-signed", "HTTPS_PORT=https"], "HTTPS_PORT=https is not a port"),
        (["TLS=self-signed", "HTTPS_PORT=8080"], "HTTP_PORT and HTTPS_PORT are both 8080: give one of them"),
        (["TLS=self-signed", "HTTP_PORT=8443"], "HTTP_PORT and HTTPS_PORT are both 8443: give one of them"),
    ],
)
def test_invalid_tls_settings_are_refused(given: list[str], words: str) -> None:
    options = [word for pair in given for word in ("--env", pair)]
    assert words in sentence(elsewhere(BASE, "scripts/up", options=tuple(options)))


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("TLS=off", "TLS=self-signed"),
        ("SITE_URL=https://a:8443", "SITE_URL=https://b:8443"),
        ("HTTPS_PORT=8443", "HTTPS_PORT=8444"),
        ("HTTP_PORT=8080", "HTTP_PORT=8081"),
        ("HTTP_BIND=127.0.0.1", "HTTP_BIND=0.0.0.0"),
    ],
)
def test_a_contradicting_line_of_the_operator_is_not_overridden_for_one_command(
    line: str, given: str
) -> None:
    """`docker compose up` would read the line from .env, and nginx would refuse the combination."""
    change = f"echo {line} > .env; cp .env before; scripts/up && exit; cmp .env before && exit 1"
    options = ("--env", "TLS=self-signed", "--env", given)
    said = sentence(elsewhere(BASE, "bash", "-c", change, options=options))
    assert said == f".env sets {line}, but make got {given}: change that line."


def test_the_address_is_kept_and_removed_together_with_tls() -> None:
    """If the address stayed, the next `make up` without it would create a certificate for localhost."""
    address = "SITE_URL=https://lab:444/ HTTPS_PORT=444 HTTP_PORT=81 HTTP_BIND=0.0.0.0"
    done = up(f"TLS=self-signed {address}", "", "TLS=off")
    first, second, third = done.stdout.split("--\n")[1:]
    kept = f"TLS=self-signed {address}"
    for setting in kept.split():
        assert f"Wrote {setting} to .env." in first
        assert f"\n{setting}\n" in first and f"\n{setting}\n" in second
    assert "Wrote" not in second
    assert ".env: No such file" in third


def test_later_values_replace_kept_ones() -> None:
    done = up("TLS=self-signed SITE_URL=https://a:8443 HTTP_PORT=81", "SITE_URL=https://b:8443 HTTP_PORT=")
    second = done.stdout.split("--\n")[2]
    assert "\nSITE_URL=https://b:8443\n" in second
    assert "SITE_URL=https://a" not in second and "HTTP_PORT=81" not in second


@pytest.mark.parametrize("then", ["TLS=self-signed", "TLS=off"])
def test_the_files_of_a_certificate_go_when_it_is_not_used(then: str) -> None:
    """Any readable file works here, because `make up` only tests whether it can read it."""
    files = "TLS_CERTIFICATE=/etc/hostname TLS_KEY=/etc/hosts"
    first, second = up(f"TLS=own SITE_URL=https://a:8443 {files}", then).stdout.split("--\n")[1:]
    assert "\nTLS_CERTIFICATE=/etc/hostname\n" in first and "\nTLS_KEY=/etc/hosts\n" in first
    assert "TLS_CERTIFICATE" not in second and "TLS_KEY" not in second


def test_a_line_of_the_operator_overrides_kept_ones() -> None:
    """Even above ours: compose would use the last line."""
    first, second = "SITE_URL=https://first:8443", "SITE_URL=https://mine:8443"
    change = f"exec 2>&1; {first} scripts/up; sed -i '1i {second}' .env; echo --; scripts/up; cat .env"
    said = elsewhere(BASE, "bash", "-c", change, options=("--env", "TLS=self-signed", *NO_ENGINE)).stdout
    before, after = said.split("--\n")
    assert f"Wrote {first} to .env." in before
    assert f"\n{second}\n" in after and first not in after


def up(*settings: str) -> subprocess.CompletedProcess[str]:
    """Run `make up` with each of the settings in turn, in a clone without an engine, and print .env after
    each.
    """
    runs = (f"echo --; env {given} scripts/up; ! cat .env" for given in settings)
    # Merge both streams here: docker returns standard error separately, and in no fixed order.
    return elsewhere(BASE, "bash", "-c", f"exec 2>&1; {'; '.join(runs)}", options=NO_ENGINE)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://sluice.lab.example", True),
        ("https://sluice.lab.example:443/", True),
        ("https://sluice.lab.example:8443/", False),
        ("https://[2001:db8::8443]", True),
        ("https://[2001:db8::7]:8443", False),
        ("", False),
    ],
)
def test_an_address_with_an_unpublished_port_is_reported(url: str, told: bool) -> None:
    options = ("--env", "TLS=self-signed", "--env", f"SITE_URL={url}", *NO_ENGINE)
    said = elsewhere(BASE, "scripts/up", options=options).stdout
    assert (f"SITE_URL={url} leads people to port 443, and HTTPS_PORT is 8443" in said) is told
    assert "Wrote HTTPS_PORT=8443 to .env." in said
