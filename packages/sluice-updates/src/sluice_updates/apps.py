"""The Django app."""

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class UpdatesConfig(AppConfig):
    name = "sluice_updates"
    verbose_name = "Updates"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import conf, identity, publishing
        from .checks import (  # noqa: F401  (registers them)
            broker,
            configuration,
            consistency,
            notifications,
            project,
        )
        from .wakeup import sender

        publishing.announcer = sender
        post_migrate.connect(identity.create, sender=self)
        if layers := conf.channel_layers():
            # For Channels, the project's consumers and its workers too. The project need not import anything.
            settings.CHANNEL_LAYERS = layers
