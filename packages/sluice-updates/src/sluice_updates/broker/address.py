"""A broker's URL: host, TLS or not, account and vhost; and what a failure to connect means.

All code that connects with py-amqp uses this module, so the same URLs work everywhere. It needs only the
standard library; connecting needs the extra `rabbitmq`.
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
_OTHER_HOST: Final = (62, 64)
# Its X509_V_ERR_… for a chain without a trusted authority: UNABLE_TO_GET_ISSUER_CERT(_LOCALLY),
# DEPTH_ZERO_SELF_SIGNED_CERT, SELF_SIGNED_CERT_IN_CHAIN, UNABLE_TO_VERIFY_LEAF_SIGNATURE
_UNTRUSTED: Final = (2, 18, 19, 20, 21)
# OpenSSL's reasons when the peer does not speak TLS.
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


@dataclass(frozen=True)
class Address:
    """Where a broker is, and the account. `repr` never shows the password."""

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

        The certificate and its host name are verified, as in Python's default context; py-amqp and Celery
        alone verify only the certificate. py-amqp does the handshake, bounded by connect_timeout; a handshake
        on connect would have no limit.
        """
        if not self.is_by_tls:
            return {}
        return {
            "context": {"check_hostname": True},
            "server_hostname": self.host,
            "do_handshake_on_connect": False,
        }

    def connection(self, seconds: float, *, password: str | None = None, at: str = "", **options: Any) -> Any:
        """An amqp.Connection that is not connected yet; each of its steps takes at most `seconds`.

        `password` replaces the URL's. `at` is an address of the host, to use instead of its name.
        """
        import amqp

        return amqp.Connection(
            self.at(at or self.host),
            userid=self.user,
            password=self.password if password is None else password,
            login_method="PLAIN",  # also where the broker offers login by a client certificate
            virtual_host=self.vhost,
            ssl=self.tls,
            connect_timeout=seconds,
            read_timeout=seconds,
            write_timeout=seconds,
            **options,
        )

    def explain(self, error: BaseException) -> str:
        """The reason of an error while connecting, as a clause, with the fix if it is known."""
        if isinstance(error, ssl.SSLCertVerificationError):
            if error.verify_code in _OTHER_HOST:
                return f"its certificate is not for {self.host}"
            if error.verify_code not in _UNTRUSTED:
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
