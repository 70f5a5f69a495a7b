"""Logging: one line a record on standard error, which the container engine or supervisor keeps.

https://docs.djangoproject.com/en/5.2/topics/logging/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluice_stack.environment import Environment


def logging(env: Environment, levels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """LOGGING, at LOG_LEVEL. `levels`: the levels of the project's own loggers by name."""
    own = {name: {"level": level} for name, level in (levels or {}).items()}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": env.log_level.upper()},
        "loggers": {
            # Django's default mails errors to ADMINS, of whom there are none.
            "django": {"level": "INFO" if env.log_level == "debug" else env.log_level.upper()},
            "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            # At level debug these only help their own developers.
            "amqp": {"level": "INFO"},
            "asyncio": {"level": "INFO"},
            **own,
        },
    }
