"""The Django app."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class UpdatesConfig(AppConfig):
    name = "sluice_updates"
    verbose_name = "Updates"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import identity, publishing
        from .checks import broker, configuration, consistency  # noqa: F401  (registers them)
        from .wakeup import sender

        publishing.announcer = sender
        post_migrate.connect(identity.create, sender=self)
