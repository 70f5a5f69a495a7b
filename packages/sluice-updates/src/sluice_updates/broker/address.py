"""A broker's URL: where it is, by TLS or not, and who we are there; and what a failure to connect means.

Whoever connects with py-amqp does it by this module, so that what one takes, all take. Pure standard library
until somebody connects, which needs requirements-async.txt.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

FORM: Final = "amqp://user:password@host:port/vhost, or amqps:// for TLS"
_PORTS: Final = {"amqp": 5672, "amqps": 5671}

# OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH
_FOR_ANOTHER: Final = (62, 64)
# Its X509_V_ERR_… of a chain that ends at nobody whom we know: UNABLE_TO_GET_ISSUER_CERT(_LOCALLY),
# DEPTH_ZERO_SELF_SIGNED_CERT, SELF_SIGNED_CERT_IN_CHAIN, UNABLE_TO_VERIFY_LEAF_SIGNATURE
_OF_NOBODY_KNOWN: Final = (2, 18, 19, 20, 21)
# What OpenSSL makes of an answer that is no TLS.
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


@dataclass(frozen=True)
class Address:
    """Its text never holds the password."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    vhost: str
    is_by_tls: bool

    @classmethod
    def parse(cls, url: str) -> Address:
        """From a URL of the form above, each part percent-encoded. Raises ValueError, without the URL."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(f"must be {FORM}") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"must be {FORM}")
        return cls(
            host=parts.hostname,
            port=port or _PORTS[parts.scheme],
            user=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            vhost=unquote(parts.path[1:]) or "/",
            is_by_tls=parts.scheme == "amqps",
        )

    @property
    def place(self) -> str:
        return self.at(self.host)

    def at(self, host: str) -> str:
        """The port of a host, or of one of its addresses, as py-amqp wants it."""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def tls(self) -> dict[str, Any]:
        """py-amqp's `ssl`, and so Celery's `broker_use_ssl`; empty without TLS.

        As Python's default context has it: the certificate is verified, and that it is the host's. By
        themselves both would verify the first only. The handshake is left to py-amqp, which bounds it by
        connect_timeout; a context's own has no end.
        """
        if not self.is_by_tls:
            return {}
        return {
            "context": {"check_hostname": True},
            "server_hostname": self.host,
            "do_handshake_on_connect": False,
        }

    def connection(self, seconds: float, *, password: str | None = None, at: str = "", **options: Any) -> Any:
        """An amqp.Connection that is yet to connect; each of its steps takes so many seconds at most.

        `password` goes before the URL's; `at` is an address of the host, so that its name need not be looked
        up.
        """
        import amqp

        return amqp.Connection(
            self.at(at or self.host),
            userid=self.user,
            password=self.password if password is None else password,
            login_method="PLAIN",  # of a broker that would rather have a client's certificate too
            virtual_host=self.vhost,
            ssl=self.tls,
            connect_timeout=seconds,
            read_timeout=seconds,
            write_timeout=seconds,
            **options,
        )

    def explain(self, error: BaseException) -> str:
        """A clause: what an error means that came while connecting, and what to change if it can be known."""
        if isinstance(error, ssl.SSLCertVerificationError):
            if error.verify_code in _FOR_ANOTHER:
                return f"its certificate is not for {self.host}"
            if error.verify_code not in _OF_NOBODY_KNOWN:
                return f"its certificate is refused ({error.verify_message})"
            return (
                f"its certificate is not trusted ({error.verify_message}); its authority belongs among"
                " those that this machine trusts, or into the file that SSL_CERT_FILE names"
            )
        if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
            return f"port {self.port} does not speak TLS, which amqps:// asks for; RabbitMQ's for TLS is 5671"
        if isinstance(error, ssl.SSLError):
            return f"TLS failed ({error.reason or error})"
        if isinstance(error, socket.gaierror):
            return f"the name does not resolve ({error.strerror})"
        if isinstance(error, TimeoutError):
            return str(error) or "it accepts and does not answer"
        if isinstance(error, ConnectionRefusedError):
            return "the connection is refused: nothing listens there"
        if isinstance(error, OSError) and "closed connection" in str(error) and not self.is_by_tls:
            return f"{error}, as one does that wants TLS (amqps://)"
        return f"{type(error).__name__}: {error}"
