"""Settings for keys, hosts, cookies and headers, derived from SITE_URL, URL_PREFIX and TLS.

https://docs.djangoproject.com/en/5.2/howto/deployment/checklist/
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from sluice_stack.environment import Environment

from .source import secret

SILENCED_SYSTEM_CHECKS: Final = [
    # HSTS for sub-domains and preloading bind a whole domain for years. One site must not decide that.
    "security.W005",
    "security.W021",
    # nginx redirects http. Django's redirect would loop where a proxy in front of nginx does the TLS.
    "security.W008",
]
_DEVELOPMENT_KEY: Final = (
    "insecure, for development only: everyone knows it. DEBUG=yes uses it where SECRET_KEY_FILE is unset"
)


def secret_key(env: Environment) -> str:
    """SECRET_KEY. Without SECRET_KEY_FILE it is empty (in the build of an image), and using it fails."""
    return secret(env.secret_key_file, "SECRET_KEY_FILE") or (_DEVELOPMENT_KEY if env.debug else "")


def allowed_hosts(env: Environment) -> list[str]:
    """ALLOWED_HOSTS: the host of SITE_URL; with DEBUG=yes this machine's names too."""
    hosts = [urlsplit(env.site_url).hostname or ""]
    return hosts + ([".localhost", "127.0.0.1", "[::1]"] if env.debug else [])


def hsts_seconds(env: Environment) -> int:
    """SECURE_HSTS_SECONDS: a year for an HTTPS site on port 443, else 0.

    Browsers apply HSTS to all ports of a host: http://host:8080 would become https://host:8080. They also
    allow no exception for a self-signed certificate.
    """
    usual = urlsplit(env.site_url).port in (None, 443)
    return 365 * 24 * 3600 if env.https and usual and env.tls != "self-signed" else 0


def cross_origin_opener_policy(env: Environment) -> str | None:
    """SECURE_CROSS_ORIGIN_OPENER_POLICY: same-origin; None on http, where browsers log a warning about it."""
    return "same-origin" if env.https else None


def session_cookie_name(env: Environment) -> str:
    """SESSION_COOKIE_NAME: it contains URL_PREFIX.

    With one name for a site at / and another at /prefix, a request would carry both cookies, and it is
    undefined which one Django reads.
    """
    return "_".join(["sessionid", *filter(None, env.url_prefix.replace("~", "").split("/"))])
