"""The app `updates`, for INSTALLED_APPS."""

from django.apps import AppConfig


class UpdatesConfig(AppConfig):
    name = "updates"
    verbose_name = "Updates"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, checks_broker, checks_site  # noqa: F401  (they register themselves)
