"""Certificates like an operator's, and connections that show which TLS was negotiated."""

from __future__ import annotations

import datetime
import socket
import ssl
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, each in a file (PEM)."""

    certificate: Path
    key: Path

    @property
    def pem(self) -> str:
        """Both, in the form that take-certificate expects."""
        return f"{self.certificate.read_text()}\n{self.key.read_text()}"

    @property
    def der(self) -> bytes:
        """The certificate as the peer of a connection sees it."""
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text())


class Authority:
    """A private certificate authority. Only clients that trust `certificate` accept it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._issued = 0
        may = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"]
        self._own = _make(folder / "authority", "An authority", may)
        self.certificate = self._own.certificate

    def issue(
        self,
        name: str,
        begins: datetime.timedelta = -DAY,
        ends: datetime.timedelta = 60 * DAY,
        *,
        listed: bool = True,
    ) -> Pair:
        """Issue a certificate for the DNS name, valid from `begins` to `ends` relative to now.

        The name is also in the subject. If it isn't `listed`, it is only there.
        """
        self._issued += 1
        names = [f"subjectAltName=DNS:{name}"] if listed else []
        return _make(
            self._folder / f"{self._issued}-{name}",
            name,
            [*names, "basicConstraints=critical,CA:FALSE"],
            "-CA",
            str(self._own.certificate),
            "-CAkey",
            str(self._own.key),
            begins=begins,
            ends=ends,
        )


def _make(
    path: Path,
    name: str,
    extensions: list[str],
    *options: str,
    begins: datetime.timedelta = -DAY,
    ends: datetime.timedelta = 60 * DAY,
) -> Pair:
    pair = Pair(path.with_name(f"{path.name}.pem"), path.with_name(f"{path.name}.key"))
    now = datetime.datetime.now(datetime.UTC)
    dates = [f"{now + when:%Y%m%d%H%M%SZ}" for when in (begins, ends)]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-noenc",
    ]
    command += ["-subj", f"/CN={name}", "-not_before", dates[0], "-not_after", dates[1]]
    command += [word for extension in extensions for word in ("-addext", extension)]
    command += [*options, "-keyout", str(pair.key), "-out", str(pair.certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return pair


def trusting(authority: Path | None = None) -> ssl.SSLContext:
    """A client context that trusts only this certificate; without one, it accepts any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority:
        context.load_verify_locations(authority)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def of_version(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Restrict the context to this version, even to an old one."""
    if version < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are requested on purpose
        context.minimum_version = context.maximum_version = version
    return context


def connect(
    port: int,
    context: ssl.SSLContext,
    session: ssl.SSLSession | None = None,
    *,
    address: str = "127.0.0.1",
    name: str = "localhost",
) -> ssl.SSLSocket:
    """Connect and do the handshake. Raises ssl.SSLError."""
    wire = socket.create_connection((address, port), timeout=10)
    try:
        return context.wrap_socket(wire, server_hostname=name, session=session)
    except BaseException:
        wire.close()
        raise
