"""Decides which web pages may connect, by Origin and Sec-Fetch-Site."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain

from .. import conf
from ..asgi_types import Scope, headers

Origin = tuple[str, str, int]  # scheme, host, port


def may_connect(scope: Scope) -> bool:
    """Whether a WebSocket may be opened: it has one Origin, the site's own or a trusted one."""
    origins = headers(scope, b"origin")
    return len(origins) == 1 and _is_ours(origins[0], scope)


def is_known(origin: str, scope: Scope) -> bool:
    """Whether a WebSocket from a page of this origin would be accepted, given this request's Host."""
    return _is_ours(origin, scope)


def may_stream(scope: Scope) -> bool:
    """Whether an event stream may be opened. Browsers send no Origin with a GET to the page's own site."""
    origins = headers(scope, b"origin")
    if len(origins) > 1 or (origins and not _is_ours(origins[0], scope)):
        return False
    return all(site in ("same-origin", "none") for site in headers(scope, b"sec-fetch-site"))


def _is_ours(origin: str, scope: Scope) -> bool:
    """Whether it is the origin of this request (if its Host is allowed), of the site's URL, or trusted."""
    wanted = _normal(origin)
    if wanted is None or urlsplit(origin)[2:] != ("", "", ""):  # an origin has no path, not even "/"
        return False
    if wanted in (_own(scope), _normal(conf.site_url())):
        return True
    return any(_is_trusted(wanted, site) for site in settings.CSRF_TRUSTED_ORIGINS)


def _is_trusted(origin: Origin, pattern: str) -> bool:
    """Django's rule for CSRF_TRUSTED_ORIGINS: "https://*.example.org" is this host and any subdomain."""
    trusted = _normal(pattern.replace("://*.", "://", 1))
    if trusted is None or "://*." not in pattern:
        return origin == trusted
    scheme, host, port = origin
    return (scheme, port) == (trusted[0], trusted[2]) and is_same_domain(host, f".{trusted[1]}")


def _own(scope: Scope) -> Origin | None:
    hosts = headers(scope, b"host")
    if len(hosts) != 1:
        return None
    # Django's rule for DEBUG, see HttpRequest.get_host().
    allowed = settings.ALLOWED_HOSTS or ([".localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
    domain, _ = split_domain_port(hosts[0])
    if not (domain and validate_host(domain, allowed)):
        return None
    schemes = headers(scope, b"x-forwarded-proto")
    scheme = (
        schemes[0] if schemes else {"wss": "https"}.get(scope.get("scheme", ""), scope.get("scheme", "http"))
    )
    return _normal(f"{'https' if scheme == 'https' else 'http'}://{hosts[0]}")


def _normal(origin: str) -> Origin | None:
    """Scheme, host and port, also where a default port is omitted. None: not an origin."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return None
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)
