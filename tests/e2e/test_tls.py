"""TLS on the real stack: push on all transports, secure pages and cookies, and a renewal."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from harness import raw
from harness.checker import Checker
from harness.client.ledger import Ended
from harness.client.page import TRANSPORTS
from harness.compose import SOURCE
from harness.doctor import IN_CONTAINER, bad, findings
from harness.rolling import run_script
from harness.stack import Stack
from harness.tls import DAY, Authority, Pair, connect, of_version, trusting
from harness.waiting import wait_until
from sluice_stack.doctor import checks

REHEARSAL = ("--file", "compose.yaml", "--file", str(SOURCE / "scripts/rehearsal.yaml"))
IN_NGINX = ("run", "--rm", "--no-deps", "--no-TTY", "--entrypoint")


@pytest.fixture(scope="module")
def encrypted(image_tag: str) -> Iterator[Stack]:
    """A stack below a prefix, with a self-signed certificate that it created."""
    with Stack(image_tag, {"TLS": "self-signed", "URL_PREFIX": "/catmaid"}) as stack:
        yield stack


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certified(encrypted: Stack, authority: Authority) -> Stack:
    """The same stack after the change to an authority's certificate, as `make up TLS=own` does it."""
    encrypted.given["TLS"] = "own"
    encrypted.authority = authority.certificate
    encrypted.compose.write_env(encrypted.settings)
    encrypted.compose.run(
        *REHEARSAL, *IN_NGINX, "take-certificate", "nginx", given=authority.issue("localhost").pem
    )
    encrypted.up()
    return encrypted


# --- a self-signed certificate ------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_push_goes_over_tls(encrypted: Stack, transport: str) -> None:
    """The clients trust only the created certificate."""
    with Checker(encrypted) as checker:
        bob = checker.client("bob", transport)
        encrypted.browser("alice").send_message("bob", "in secret")
        wait_until(lambda: bob.ledger.arrived, 5, "the message")
        assert bob.ledger.arrived[0].payload["message_title"] == "in secret"
    checker.close()
    assert encrypted.origin.startswith("https:")


def test_only_the_sites_own_pages_may_open_a_websocket(encrypted: Stack) -> None:
    for origin, status in ((encrypted.origin, 101), (encrypted.origin.replace("https", "http"), 403)):
        assert _upgrade(encrypted, origin).status == status


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_websocket_that_comes_back_resumes(encrypted: Stack, version: ssl.TLSVersion) -> None:
    context = of_version(trusting(encrypted.certificate), version)
    session = None
    for resumed in (False, True):
        with connect(encrypted.tls_port, context, session) as wire:
            assert _exchange(wire, encrypted, raw.UPGRADE | {"Origin": encrypted.origin}).status == 101
            assert wire.session_reused is resumed
            session = wire.session


def test_browsers_get_http_2_and_old_versions_nothing(encrypted: Stack) -> None:
    context = trusting(encrypted.certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connect(encrypted.tls_port, context) as wire:
        assert wire.selected_alpn_protocol() == "h2"
    with pytest.raises(ssl.SSLError):
        connect(encrypted.tls_port, of_version(trusting(), ssl.TLSVersion.TLSv1_1))


def test_cookies_are_secure_and_there_is_no_hsts_with_an_untrusted_certificate(
    encrypted: Stack,
) -> None:
    alice = encrypted.browser("alice")
    assert {cookie.secure for cookie in alice.http.cookies} == {True}
    answer = alice.get("/messages/")
    assert answer.status_code == 200 and "Strict-Transport-Security" not in answer.headers


def test_the_doctor_only_reports_that_the_certificate_is_not_trusted(encrypted: Stack) -> None:
    quick = [name for name in checks.names() if name != "push-idle"]
    done = encrypted.service("wsgi")[0].exec(*IN_CONTAINER, "--only", *quick)
    found = [(one["check"], one["verdict"], one["message"]) for one in bad(findings(done.output))]
    assert found == [
        (
            "front-certificate",
            "warning",
            "this machine does not trust the certificate: self-signed certificate",
        )
    ]
    assert done.code == 0


def test_a_post_from_a_page_without_tls_is_refused(encrypted: Stack) -> None:
    alice = encrypted.browser("alice")
    headers = {"X-CSRFToken": alice.csrf_token, "Origin": f"http://localhost:{encrypted.tls_port}"}
    body = {"to": "alice", "title": "t", "text": "x"}
    answer = alice.http.post(f"{encrypted.url}/messages/", json=body, headers=headers, timeout=15)
    assert answer.status_code == 403


def test_who_comes_without_tls_is_led_to_it(encrypted: Stack) -> None:
    for target in ("/catmaid/messages/?page=2", "/catmaid/channels/updates/"):
        answer = raw.get(encrypted.port, target)
        assert (answer.status, answer.backend) == (308, "nginx")
        assert answer.headers["location"] == encrypted.origin + target


def test_the_certificate_is_kept_when_nginx_is_recreated(encrypted: Stack) -> None:
    assert encrypted.certificate
    before = encrypted.certificate.read_text()
    encrypted.up("nginx", options=("--force-recreate", "--no-deps"))
    assert encrypted.certificate.read_text() == before
    said = encrypted.service("nginx").logs()
    assert "HTTPS for localhost, certificate until" in said and "created a certificate" not in said


def test_nginx_that_does_not_serve_has_no_certificate_to_show(encrypted: Stack) -> None:
    """nginx restarts in a loop. Docker's own error would be that it can't run a command in such a
    container.
    """
    encrypted.compose.write_env(encrypted.settings | {"MAX_BODY_SIZE": "much"})
    encrypted.compose.run("up", "--detach", "--no-build", "--no-deps", "--force-recreate", "nginx")
    try:
        wait_until(lambda: "MAX_BODY_SIZE" in encrypted.log_of("nginx"), 30, "nginx's refusal")
        done = run_script(encrypted, "certificate", deadline=60)
    finally:
        encrypted.compose.write_env(encrypted.settings)
        # Remove it first: `up` would take another death of the old container for one of the new.
        encrypted.compose.run("rm", "--stop", "--force", "nginx")
        encrypted.up("nginx", options=("--no-deps",))
    assert done.returncode == 1
    assert re.fullmatch(r"\nsluice: nginx doesn't work \(\w+.*\), so no certificate .*\n", done.stdout)


# --- an authority's certificate -----------------------------------------------------------------------------


def test_with_a_trusted_authority_the_site_works_and_sets_no_hsts_on_other_ports(certified: Stack) -> None:
    """HSTS would apply to all ports of the host. tests/bare_metal/test_tls.py tests port 443."""
    answer = certified.browser().get("/accounts/login/")
    assert answer.status_code == 200 and "Strict-Transport-Security" not in answer.headers
    with Checker(certified) as checker:
        checker.clients("bob")
        checker.writer("alice", to="bob", rate=10)
        wait_until(lambda: checker.arrived() >= 60, 30, "60 arrivals")
    checker.verdict().check()


def test_a_renewed_certificate_cuts_no_socket_and_loses_no_update(
    certified: Stack, authority: Authority
) -> None:
    renewed = authority.issue("localhost")
    with Checker(certified) as checker:
        pages = checker.clients("bob", "carol", transports=["websocket", "sse"])
        checker.writer("alice", to=["bob", "carol"], rate=10)
        _take(certified, renewed)
        with connect(certified.tls_port, trusting(authority.certificate)) as wire:
            assert wire.getpeercert(binary_form=True) == renewed.der
        came = checker.arrived()
        wait_until(lambda: checker.arrived() >= came + 40, 30, "updates after the renewal")
        assert not [entry for page in pages for entry in page.ledger.entries if isinstance(entry, Ended)]
    checker.verdict().check()


def test_an_invalid_certificate_changes_nothing(certified: Stack, authority: Authority) -> None:
    with connect(certified.tls_port, trusting(authority.certificate)) as wire:
        before = wire.getpeercert(binary_form=True)
    wrong = Pair(authority.issue("localhost").certificate, authority.issue("localhost").key)
    assert "the key does not belong to the certificate" in _take(certified, wrong)
    with connect(certified.tls_port, trusting(authority.certificate)) as wire:
        assert wire.getpeercert(binary_form=True) == before


def test_nginx_that_can_not_start_accepts_a_certificate(certified: Stack, authority: Authority) -> None:
    expired = authority.issue("localhost", begins=-9 * DAY, ends=-DAY)
    place = ("bash", "nginx", "-c", "cat >/var/lib/sluice/tls/own.pem")
    certified.compose.run(*REHEARSAL, *IN_NGINX, *place, given=expired.pem)
    certified.compose.run("restart", "nginx")
    refused = "renew it, then run make certificate TLS_CERTIFICATE=… TLS_KEY=…"
    wait_until(lambda: refused in certified.log_of("nginx"), 30, "nginx's refusal")

    renewed = authority.issue("localhost")
    certified.given |= {"TLS_CERTIFICATE": str(renewed.certificate), "TLS_KEY": str(renewed.key)}
    certified.compose.write_env(certified.settings)
    done = run_script(certified, "certificate", deadline=60)
    assert done.returncode == 0, done.stdout
    assert renewed.certificate.read_text() in done.stdout
    assert "nginx starts with it within a minute" in done.stdout

    def served() -> bytes | None:
        try:
            with connect(certified.tls_port, trusting(authority.certificate)) as wire:
                return wire.getpeercert(binary_form=True)
        except OSError:
            return None

    wait_until(lambda: served() == renewed.der, 70, "nginx with the renewed certificate")


def _take(stack: Stack, pair: Pair) -> str:
    """Do what `make certificate` does."""
    return stack.compose.run(
        "exec", "--no-TTY", "nginx", "take-certificate", given=pair.pem, check=False
    ).stdout


def _upgrade(stack: Stack, origin: str) -> raw.Answer:
    with connect(stack.tls_port, trusting(stack.certificate)) as wire:
        return _exchange(wire, stack, raw.UPGRADE | {"Origin": origin})


def _exchange(wire: ssl.SSLSocket, stack: Stack, headers: dict[str, str]) -> raw.Answer:
    lines = [f"GET {stack.prefix}/channels/updates/ HTTP/1.1", f"Host: {urlsplit(stack.origin).netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    wire.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
    return raw.read_answer(wire)
