"""Everything goes to standard error, a line each; the engine or supervisor keeps it.

https://docs.djangoproject.com/en/5.2/topics/logging/
"""

from sluice_stack.settings.source import env

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.log_level.upper()},
    "loggers": {
        # Django's own default would mail errors to administrators, of whom there are none.
        "django": {"level": "INFO" if env.log_level == "debug" else env.log_level.upper()},
        "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        # Each says at level info or debug what only its developer wants to know.
        "amqp": {"level": "INFO"},
        "asyncio": {"level": "INFO"},
        "numcodecs": {"level": "INFO"},
        # Of a damaged file it says all that it dislikes; what matters is raised.
        "tifffile": {"level": "CRITICAL"},
        "PIL": {"level": "INFO"},
    },
}
