"""The Django settings of this package and their defaults: one accessor each. The README has the table.

Addresses differ between the places where a project runs. Where the settings don't have one, it comes from the
environment variable of the same name, else from the file /etc/sluice/updates.env.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from .settings_file import settings

DEFAULT_MAX_AGE_DAYS: Final = 7
DEFAULT_MAX_PER_STREAM: Final = 10_000
DEFAULT_CONNECTIONS_PER_USER: Final = 32
DEFAULT_BIND: Final = "127.0.0.1:8001"
DEFAULT_MAY_READ: Final = "sluice_updates.rights.default_may_read"
DEFAULT_ANONYMOUS_CONNECTIONS: Final = 5000
DEFAULT_CONNECTIONS_PER_ADDRESS: Final = 200
DEFAULT_SUBSCRIPTIONS_PER_ADDRESS: Final = 1000
DEFAULT_POLLS_PER_ADDRESS: Final = 600


def max_age_days() -> float:
    """SLUICE_UPDATES_MAX_AGE_DAYS: the age in days from which an update may be trimmed."""
    return float(getattr(settings, "SLUICE_UPDATES_MAX_AGE_DAYS", DEFAULT_MAX_AGE_DAYS))


def max_per_stream() -> int:
    """SLUICE_UPDATES_MAX_PER_STREAM: the most updates that trimming keeps in a stream."""
    return int(getattr(settings, "SLUICE_UPDATES_MAX_PER_STREAM", DEFAULT_MAX_PER_STREAM))


def may_read() -> str:
    """SLUICE_UPDATES_MAY_READ: dotted path of a function (user, stream) -> bool, who may read a stream."""
    return str(getattr(settings, "SLUICE_UPDATES_MAY_READ", DEFAULT_MAY_READ))


def publisher_url() -> str:
    """SLUICE_UPDATES_PUBLISHER_URL: amqp:// or amqps://user:password@host:port/vhost; empty: no wake-ups."""
    return str(getattr(settings, "SLUICE_UPDATES_PUBLISHER_URL", "") or "")


def wake_ups() -> bool:
    """SLUICE_UPDATES_WAKE_UPS: whether commits are announced. None, the default: except in a test run."""
    wanted = getattr(settings, "SLUICE_UPDATES_WAKE_UPS", None)
    return not is_test_run() if wanted is None else bool(wanted)


def is_test_run() -> bool:
    """Whether this process runs tests: Django's test environment is set up.

    `manage.py test` and pytest-django do that, also in the processes of parallel runs. The databases are then
    the tests' own, and are dropped at the end.
    """
    # Not imported here: django.test is large, and a site never needs it.
    state = getattr(sys.modules.get("django.test.utils"), "_TestState", None)
    return hasattr(state, "saved_data")


def publisher_password() -> str | None:
    """The password in the file SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE; None: the password is in the URL.

    Raises OSError or ValueError if the file can't be read. The site then goes on without wake-ups.
    """
    path = getattr(settings, "SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE", "") or ""
    return Path(path).read_text(encoding="utf-8").rstrip("\r\n") if path else None


def channel_layers() -> dict[str, Any] | None:
    """CHANNEL_LAYERS with sluice_layer at SLUICE_UPDATES_LAYER_URL, if the project has that and no layer.

    SLUICE_UPDATES_LAYER_PASSWORD_FILE has its password, unless the URL does.
    """
    url = str(getattr(settings, "SLUICE_UPDATES_LAYER_URL", "") or "")
    file = str(getattr(settings, "SLUICE_UPDATES_LAYER_PASSWORD_FILE", "") or "")
    if not url or getattr(settings, "CHANNEL_LAYERS", None):
        return None
    layer = {
        "BACKEND": "sluice_layer.RabbitmqChannelLayer",
        "CONFIG": {"host": url, "password_file": file or None},
    }
    return {"default": layer}


def notify() -> bool | None:
    """SLUICE_UPDATES_NOTIFY: whether the database wakes the hubs; None: if there is no publisher URL."""
    found: bool | None = getattr(settings, "SLUICE_UPDATES_NOTIFY", None)
    return found


def connections_per_user() -> int:
    """SLUICE_UPDATES_MAX_CONNECTIONS_PER_USER: in one process; more are closed with 4013."""
    return int(getattr(settings, "SLUICE_UPDATES_MAX_CONNECTIONS_PER_USER", DEFAULT_CONNECTIONS_PER_USER))


def anonymous() -> bool:
    """Whether the rule of rights decides for readers who are not signed in, too.

    Only True counts: a text from the environment, such as "no", must not let them in.
    """
    return anonymous_setting() is True


def anonymous_setting() -> object:
    """SLUICE_UPDATES_ANONYMOUS, as it is: True or False, if it is right."""
    return getattr(settings, "SLUICE_UPDATES_ANONYMOUS", False)


def anonymous_connections() -> int:
    """SLUICE_UPDATES_MAX_ANONYMOUS_CONNECTIONS: in one process, of all addresses."""
    return int(getattr(settings, "SLUICE_UPDATES_MAX_ANONYMOUS_CONNECTIONS", DEFAULT_ANONYMOUS_CONNECTIONS))


def connections_per_address() -> int:
    """SLUICE_UPDATES_MAX_CONNECTIONS_PER_ADDRESS: of anonymous readers, in one process."""
    return int(
        getattr(settings, "SLUICE_UPDATES_MAX_CONNECTIONS_PER_ADDRESS", DEFAULT_CONNECTIONS_PER_ADDRESS)
    )


def subscriptions_per_address() -> int:
    """SLUICE_UPDATES_MAX_SUBSCRIPTIONS_PER_ADDRESS: streams that these connections follow, in all."""
    return int(
        getattr(settings, "SLUICE_UPDATES_MAX_SUBSCRIPTIONS_PER_ADDRESS", DEFAULT_SUBSCRIPTIONS_PER_ADDRESS)
    )


def polls_per_address() -> int:
    """SLUICE_UPDATES_MAX_POLLS_PER_ADDRESS: of anonymous readers, in a minute, to one process."""
    return int(getattr(settings, "SLUICE_UPDATES_MAX_POLLS_PER_ADDRESS", DEFAULT_POLLS_PER_ADDRESS))


def bind() -> str:
    """SLUICE_UPDATES_BIND: where `python -m sluice_updates.server` listens, ADDRESS:PORT or unix:PATH."""
    return str(getattr(settings, "SLUICE_UPDATES_BIND", "") or DEFAULT_BIND)


def metrics_bind() -> str:
    """SLUICE_UPDATES_METRICS_BIND: where metrics are served, ADDRESS:PORT. Empty: nowhere."""
    return str(getattr(settings, "SLUICE_UPDATES_METRICS_BIND", "") or "")


def tracing() -> bool:
    """SLUICE_UPDATES_TRACING: whether updates have OpenTelemetry's spans; needs the extra `opentelemetry`."""
    return bool(getattr(settings, "SLUICE_UPDATES_TRACING", False))


def site_url() -> str:
    """SLUICE_UPDATES_SITE_URL: the site's address, whose pages may connect. Empty: only the Host counts."""
    return str(getattr(settings, "SLUICE_UPDATES_SITE_URL", "") or "")


def expose_backend() -> bool:
    """SLUICE_UPDATES_EXPOSE_BACKEND: whether responses have `X-Backend: asgi`, for tests and debugging."""
    return bool(getattr(settings, "SLUICE_UPDATES_EXPOSE_BACKEND", False))


def health_allow(*, behind_proxy: bool) -> Sequence[str]:
    """SLUICE_UPDATES_HEALTH_ALLOW: networks that may see the details of /channels/healthz.

    Unset: this machine only, and no client behind a proxy.
    """
    default = () if behind_proxy else ("127.0.0.0/8", "::1/128")
    found: Sequence[str] = getattr(settings, "SLUICE_UPDATES_HEALTH_ALLOW", default)
    return found
