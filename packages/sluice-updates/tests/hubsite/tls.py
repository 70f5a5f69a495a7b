"""Writes a frame to a client over TLS, and says whether it is readable on the wire. Run as a script."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import protocol, reactor
from twisted.internet.ssl import PrivateCertificate

from sluice_updates.asgi.transport import write

FRAME = b"the text of an update"


class Writer(protocol.Protocol):
    def dataReceived(self, data: bytes) -> None:
        write(self.transport, FRAME)


def certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(1))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def read(port: int) -> None:
    """Shake hands in memory, so that the bytes on the wire can be looked at."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = context.wrap_bio(incoming, outgoing)
    wire, text = b"", b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        asked = False
        while FRAME not in text and FRAME not in wire:
            try:
                if asked:
                    text += client.read()
                else:
                    client.do_handshake()
                    client.write(b"?")
                    asked = True
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                data = connection.recv(65536)
                wire += data
                incoming.write(data)
    print("readable" if FRAME in wire else "encrypted", flush=True)
    loop: Any = reactor
    loop.callFromThread(loop.stop)


def main() -> None:
    loop: Any = reactor
    factory = protocol.ServerFactory()
    factory.protocol = Writer
    context = PrivateCertificate.loadPEM(certificate()).options()
    port = loop.listenSSL(0, factory, context, interface="127.0.0.1").getHost().port
    threading.Thread(target=read, args=(port,), daemon=True).start()
    loop.run()


if __name__ == "__main__":
    main()
