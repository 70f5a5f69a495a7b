"""Logging: one line for each record, on standard error, which the container engine or supervisor stores.

https://docs.djangoproject.com/en/5.2/topics/logging/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluice_stack.environment import Environment


def logging(env: Environment, levels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """LOGGING, with LOG_LEVEL. `levels`: levels of the project's own loggers, by name."""
    own = {name: {"level": level} for name, level in (levels or {}).items()}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": env.log_level.upper()},
        "loggers": {
            # Without Django's default handlers, which send mail to ADMINS.
            "django": {"level": "INFO" if env.log_level == "debug" else env.log_level.upper()},
            "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            # Their debug records help only their own developers.
            "amqp": {"level": "INFO"},
            "asyncio": {"level": "INFO"},
            **own,
        },
    }
