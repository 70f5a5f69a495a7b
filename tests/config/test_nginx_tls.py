"""TLS of the nginx container: accepted certificates, protocol versions, and renewal."""

from __future__ import annotations

import re
import ssl
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from config.nginx_lab import UPGRADE, Nginx, Probe, exchange, head, lab, read_answer, run_entry_point
from harness.symptoms import assert_proved, assert_refuted
from harness.tls import DAY, Authority, Pair, connect, of_version, trusting

SITE = "https://localhost:8443"
OWN = {"TLS": "own", "HTTPS_PORT": "8443", "SITE_URL": SITE}
SELF_SIGNED = OWN | {"TLS": "self-signed"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with lab(tmp_path_factory.mktemp("nginx"), **SELF_SIGNED) as (nginx, _, _):
        yield nginx


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.11\n")
    return tmp_path


def start(folder: Path, settings: dict[str, str]) -> tuple[int, str]:
    """Run the entry point. Return its status and its messages."""
    done = run_entry_point(folder, settings, "true")
    return done.returncode, done.stderr


def hand_over(folder: Path, pem: str, settings: dict[str, str] = OWN) -> tuple[int, str]:
    done = run_entry_point(folder, settings, program="take-certificate", given=pem)
    return done.returncode, done.stderr


def made(folder: Path) -> Path:
    return folder / "tls/self-signed.pem"


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"TLS": "yes"}, "TLS=yes is malformed: it must be off, self-signed or own"),
        ({"TLS": "own"}, "TLS=own needs HTTPS_PORT"),
        ({"TLS": "self-signed", "SITE_URL": SITE}, "TLS=self-signed needs HTTPS_PORT"),
        ({"HTTPS_PORT": "8443"}, "HTTPS_PORT=8443 needs TLS=self-signed or TLS=own"),
        ({"TLS": "own", "HTTPS_PORT": "0"}, "HTTPS_PORT=0 is malformed"),
        (
            SELF_SIGNED | {"SITE_URL": "http://localhost:8443"},
            "must begin with https:// where TLS=self-signed",
        ),
        (
            OWN,
            "TLS=own: there is no certificate yet: run make certificate TLS_CERTIFICATE=… TLS_KEY=…",
        ),
    ],
)
def test_settings_that_contradict_each_other_end_the_container(
    folder: Path, settings: dict[str, str], words: str
) -> None:
    status, said = start(folder, settings)
    assert (status, said.count("\n")) == (78, 1)
    assert words in said


WRONG: dict[str, tuple[Callable[[Authority], str], str]] = {
    "nothing": (lambda _: "", "there is no certificate in the file"),
    "no certificate": (lambda by: by.issue("localhost").key.read_text(), "there is no certificate in"),
    "no key": (lambda by: by.issue("localhost").certificate.read_text(), "there is no private key in"),
    "another's key": (
        lambda by: Pair(by.issue("localhost").certificate, by.issue("localhost").key).pem,
        "the key does not belong to the certificate",
    ),
    "the chain first": (
        lambda by: by.certificate.read_text() + by.issue("localhost").pem,
        "the site's own certificate must be the first in its file",
    ),
    "expired": (
        lambda by: by.issue("localhost", begins=-9 * DAY, ends=-DAY).pem,
        "the certificate ended 20",
    ),
    "not yet valid": (lambda by: by.issue("localhost", begins=DAY).pem, "the certificate isn't valid before"),
    "another's name": (
        lambda by: by.issue("example.org").pem,
        "the certificate is for DNS:example.org, not for localhost, the name in SITE_URL",
    ),
    "a common name alone": (
        lambda by: by.issue("localhost", listed=False).pem,
        "the certificate lists no names (subjectAltName), which browsers require: it must be issued for "
        "DNS:localhost",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_invalid_certificate_is_neither_accepted_nor_used_at_start(
    folder: Path, authority: Authority, name: str
) -> None:
    make, words = WRONG[name]
    pem = make(authority)
    before = authority.issue("localhost").pem
    assert hand_over(folder, before)[0] == 0
    status, said = hand_over(folder, pem)
    assert (status, said.count("\n")) == (78, 1) and words in said
    assert (folder / "tls/own.pem").read_text() == before
    assert [path.name for path in (folder / "tls").iterdir()] == ["own.pem"]
    (folder / "tls/own.pem").write_text(pem)
    status, said = start(folder, OWN)
    assert (status, said.count("\n")) == (78, 1) and "TLS=own: " in said and words in said


def test_a_self_signed_certificate_is_refused_with_tls_own(folder: Path) -> None:
    """With TLS=own, HSTS would make browsers refuse such a certificate for a year."""
    assert start(folder, SELF_SIGNED)[0] == 0
    status, said = hand_over(folder, made(folder).read_text())
    assert status == 78 and "self-signed" in said and "use TLS=self-signed" in said


def test_a_name_with_not_in_it_is_a_name(folder: Path, authority: Authority) -> None:
    settings = OWN | {"SITE_URL": "https://NOTES.lab.example:8443"}
    assert hand_over(folder, authority.issue("notes.lab.example").pem, settings)[0] == 0
    assert start(folder, settings)[0] == 0
    assert "not for NOTES.lab.example" in hand_over(folder, authority.issue("lab.example").pem, settings)[1]


def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(folder: Path, authority: Authority) -> None:
    pair = authority.issue("localhost")
    pem = pair.pem.replace("BEGIN PRIVATE KEY", "BEGIN ENCRYPTED PRIVATE KEY")
    assert "it has a passphrase" in hand_over(folder, pem)[1]


def test_a_certificate_that_expires_soon_is_reported_at_start(folder: Path, authority: Authority) -> None:
    assert hand_over(folder, authority.issue("localhost", ends=7 * DAY).pem)[0] == 0
    status, said = start(folder, OWN)
    assert status == 0 and "renew it, then run make certificate" in said


# --- the self-signed certificate ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["localhost", "sluice.example.org", "192.0.2.7", "[2001:db8::7]"])
def test_a_certificate_is_made_once_and_kept(folder: Path, name: str) -> None:
    settings = SELF_SIGNED | {"SITE_URL": f"https://{name}:8443"}
    status, said = start(folder, settings)
    assert status == 0 and f"created a certificate for {name.strip('[]')}" in said
    first = made(folder).read_text()
    assert stat.S_IMODE(made(folder).stat().st_mode) == 0o600
    status, said = start(folder, settings)
    assert (status, said.count("\n"), made(folder).read_text()) == (0, 1, first)
    assert re.search(rf"HTTPS for {re.escape(name)}, certificate until 20\d\d-\d\d-\d\d, SHA-256 ..:", said)


@pytest.mark.parametrize("why", ["another name", "it ends", "damaged"])
def test_an_unusable_self_signed_certificate_is_replaced(
    folder: Path, authority: Authority, why: str
) -> None:
    assert start(folder, SELF_SIGNED)[0] == 0
    before = made(folder).read_text()
    settings = SELF_SIGNED
    if why == "another name":
        settings = SELF_SIGNED | {"SITE_URL": "https://sluice.example.org"}
    elif why == "it ends":
        made(folder).write_text(before := authority.issue("localhost", ends=29 * DAY).pem)
    else:
        made(folder).write_text(before := before[:100])
    assert "created a certificate" in start(folder, settings)[1]
    assert made(folder).read_text() != before


def test_a_folder_that_is_not_writable_is_reported(folder: Path) -> None:
    (folder / "tls").mkdir()
    made(folder).mkdir()  # not even root can write to a folder
    (folder / "tls/self-signed.pem.new").mkdir()
    status, said = start(folder, SELF_SIGNED)
    assert status == 78 and "no certificate could be written to" in said


# --- protocol versions and memory ---------------------------------------------------------------------------


def test_clients_that_trust_it_need_no_exception(site: Nginx) -> None:
    with connect(site.tls_port, trusting(made(site.folder))) as wire:
        wire.sendall(head("/"))
        answer = read_answer(wire)
    assert (answer.status, answer.received.all("X-Forwarded-Proto")) == (200, ["https"])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_client_that_reconnects_resumes_its_session(site: Nginx, version: ssl.TLSVersion) -> None:
    context = of_version(trusting(), version)
    session = None
    for resumed in (False, True, True):
        with connect(site.tls_port, context, session) as wire:
            wire.sendall(head("/"))
            assert read_answer(wire).status == 200
            assert wire.session_reused is resumed
            session = wire.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["1.0", "1.1"])
def test_older_versions_are_refused(site: Nginx, version: ssl.TLSVersion) -> None:
    with pytest.raises(ssl.SSLError):
        connect(site.tls_port, of_version(trusting(), version))


def test_browsers_get_http_2_and_websockets_http_1(site: Nginx) -> None:
    for offered, chosen in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")):
        context = trusting()
        context.set_alpn_protocols(offered)
        with connect(site.tls_port, context) as wire:
            assert wire.selected_alpn_protocol() == chosen


def test_who_comes_without_tls_is_sent_on_with_the_method(site: Nginx) -> None:
    for method, target in (
        ("GET", "/a%2Fb/?c=%20"),
        ("POST", "//evil.example/"),
        ("GET", "/channels/updates/"),
    ):
        answer = site.send(target, method=method)
        assert (answer.status, answer.made_by) == (308, "nginx")
        assert answer.one("Location") == SITE + target
        assert not answer.all("Strict-Transport-Security")
    assert site.send("http://localhost/a").one("Location") == f"{SITE}/a"
    http = "http://localhost:8080"
    assert_proved("308 to the handshake", {http: f"http://localhost:{site.port}"})
    assert_refuted("308 to the handshake", {http: f"--insecure https://localhost:{site.tls_port}"})


def test_a_name_that_is_not_ours_is_sent_nowhere(site: Nginx) -> None:
    assert site.send("/", headers={"Host": "evil.example"}).status == 421


def test_plain_http_on_the_port_of_tls_is_refused(site: Nginx) -> None:
    assert exchange(site.tls_port, head("/")).status == 400


def test_a_renewed_certificate_counts_at_once_and_open_sockets_stay(
    tmp_path: Path, authority: Authority
) -> None:
    first, second = authority.issue("localhost"), authority.issue("localhost")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    assert hand_over(tmp_path, first.pem)[0] == 0
    client = trusting(authority.certificate)
    with (
        Probe("wsgi") as wsgi,
        Probe("asgi") as asgi,
        Nginx(tmp_path, OWN | {"WSGI_ADDRESS": wsgi.address, "ASGI_ADDRESS": asgi.address}) as nginx,
        connect(nginx.tls_port, client) as socket,
    ):
        socket.sendall(head("/channels/updates/", headers=UPGRADE))
        assert read_answer(socket).status == 101
        assert socket.getpeercert(binary_form=True) == first.der
        assert hand_over(tmp_path, second.pem)[0] == 0
        for _ in range(10):  # reaches each worker
            with connect(nginx.tls_port, client) as wire:
                assert wire.getpeercert(binary_form=True) == second.der
        socket.sendall(b"\x81\x85still")
        assert socket.recv(100) == b"\x81\x85still"


def memory(nginx: Nginx) -> int:
    """KiB of memory of nginx's processes. Shared memory counts once."""
    first = nginx.process.pid
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    rollups = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in (first, *children)]
    return sum(int(kib) for text in rollups for kib in re.findall(r"^Pss:\s+(\d+) kB", text, re.MULTILINE))


def test_an_idle_websocket_takes_the_memory_that_the_limit_allows_for(tmp_path: Path) -> None:
    """5,000 connections (MAX_CLIENTS) fit the container's 512 MiB, including the kernel's buffers."""
    client, request = trusting(), head("/channels/updates/", headers=UPGRADE | {"Host": "localhost:8443"})
    with lab(tmp_path, **SELF_SIGNED) as (nginx, _, _), ExitStack() as sockets:

        def open_sockets(count: int) -> int:
            for _ in range(count):
                wire = sockets.enter_context(connect(nginx.tls_port, client))
                wire.sendall(request)
                assert read_answer(wire).status == 101
            return memory(nginx)

        before = open_sockets(100)  # each worker has now allocated what it needs only once
        each = (open_sockets(200) - before) / 200
    print(f"{each:.1f} KiB for each")
    assert each <= 80
