"""Parsers of settings, from text to value. They raise ValueError with a text that begins with "must"."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

USERNAME = (r"[\w.@+-]{1,150}", "1 to 150 letters, digits and @ . + - _")
PROJECT_NAME = (r"[a-z0-9][a-z0-9_-]*", "lower-case letters, digits, - and _")
SIZE = (r"[1-9][0-9]{0,5}[km]?", "a size such as 512k or 1m")
MODULE = (r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", "a module's name, such as mysite.settings")
IMAGE_TAG = (r"\w[\w.-]{0,127}", "an image's tag: letters, digits, . _ and -")


def text(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be printable text on one line")
    return value


def matching(pattern: str, meaning: str) -> Callable[[str], str]:
    compiled = re.compile(pattern, re.ASCII)

    def parse(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"must be {meaning}")
        return value

    return parse


def choice(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be {' or '.join(choices)}")
        return value

    return parse


def yes_no(value: str) -> bool:
    return choice("yes", "no")(value) == "yes"


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        # int() also accepts "1_000", " 1" and the digits of other scripts. nginx's container does not.
        if not re.fullmatch(r"[0-9]{1,19}", value, re.ASCII) or not lowest <= int(value) <= highest:
            raise ValueError(f"must be a whole number from {lowest} to {highest}")
        return int(value)

    return parse


def site_url(value: str) -> str:
    """An origin in the form of browsers: lower case, without the scheme's default port."""
    meaning = "must be http:// or https://, a host and, where needed, a port: https://sluice.example.org"
    parts = _split(value, meaning)
    host, port = parts.hostname or "", parts.port
    if parts.path.strip("/"):
        path = parts.path.rstrip("/")
        raise ValueError(f"must end after the host and port; {path} belongs in URL_PREFIX")
    if parts.scheme not in ("http", "https") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(meaning)
    if port == 0 or not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]+", host, re.ASCII):
        raise ValueError(meaning)
    shown = f"[{host}]" if ":" in host else host
    default_port = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{shown}" + (f":{port}" if port not in (None, default_port) else "")


def url_prefix(value: str) -> str:
    segment = r"/[A-Za-z0-9._~-]+"
    if not re.fullmatch(f"({segment})+", value, re.ASCII) or {".", ".."} & set(value.split("/")):
        raise ValueError(
            "must be empty or a path such as /catmaid: letters, digits, . _ ~ -, without a slash at the end"
        )
    return value


def asgi_prefixes(value: str) -> tuple[str, ...]:
    """Paths that nginx passes on to Daphne. images/nginx/settings.sh has the same rules."""
    path = r"/((?!\.{1,2}/)[A-Za-z0-9._~-]+/)+"
    if not re.fullmatch(f"{path}( +{path})*", value):
        raise ValueError(
            "must be paths such as /channels/ /ws/, separated by spaces: a slash at both ends, of letters,"
            " digits and . _ ~ -"
        )
    prefixes = tuple(value.split())
    if "/channels/" not in prefixes:
        raise ValueError("must be a list with /channels/, where updates are")
    others = ["/static/", "/media/", "/protected-media/", "/monitoring/"]
    for prefix in prefixes:
        for other in others:
            if prefix.startswith(other) or other.startswith(prefix):
                raise ValueError(f"must be a list of paths that don't overlap, not {prefix} beside {other}")
        others.append(prefix)
    return prefixes


def address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("must be an IP address of this machine, such as 127.0.0.1 or 0.0.0.0") from None


def networks(value: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(part)) for part in re.split(r"[\s,]+", value.strip()))
    except ValueError as error:
        raise ValueError(f"must be networks such as 127.0.0.0/8, separated by spaces ({error})") from None


def database_url(value: str) -> str:
    meaning = "must be postgresql://USER@HOST:PORT/DATABASE or sqlite:///FILE (sqlite:////FILE: absolute)"
    if re.fullmatch(r"sqlite:///.+", value):
        return value
    parts = _split(value, meaning)
    if parts.scheme != "postgresql" or not (parts.hostname and parts.username and parts.path.strip("/")):
        raise ValueError(meaning)
    if parts.query or parts.fragment:
        raise ValueError("must end after the database: options such as sslmode have no effect there")
    if parts.password:
        raise ValueError("must not contain the password: put it into the file DATABASE_PASSWORD_FILE")
    return value


def amqp_url(value: str) -> str:
    meaning = "must be amqp://USER@HOST:PORT/VHOST, or amqps:// for TLS, without a slash at its end"
    parts = _split(value, meaning)
    if parts.scheme not in ("amqp", "amqps") or not (parts.hostname and parts.username):
        raise ValueError(meaning)
    if not re.fullmatch(r"/[A-Za-z0-9_.%-]+", parts.path):
        raise ValueError(meaning)
    if parts.password:
        raise ValueError("must not contain the password: put it into the file …_PASSWORD_FILE")
    return value


def bind(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value.startswith("unix:/"):
        return value
    try:
        ipaddress.ip_address(host.strip("[]"))
        whole(1, 65535)(port)
    except ValueError:
        raise ValueError("must be ADDRESS:PORT, such as 127.0.0.1:8000, or unix:/path") from None
    return value


def tcp_bind(value: str) -> str:
    if value.startswith("unix:"):
        raise ValueError("must be ADDRESS:PORT, such as 127.0.0.1:9108")
    return bind(value)


def path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("must be an absolute path")
    return text(value)


def _split(value: str, meaning: str) -> SplitResult:
    try:
        parts = urlsplit(text(value))
        _ = parts.port  # raises ValueError if it is not a port
    except ValueError:
        raise ValueError(meaning) from None
    return parts
