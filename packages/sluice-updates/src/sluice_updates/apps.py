"""The Django app."""

import django
from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import post_migrate

OLDEST_DJANGO = (5, 2)

# Here, since Django imports this module before the models, which use what older versions don't have.
if django.VERSION < OLDEST_DJANGO:
    raise ImproperlyConfigured(
        f"sluice_updates needs Django {'.'.join(map(str, OLDEST_DJANGO))} or newer, and this is Django"
        f" {django.get_version()}: upgrade Django, or take sluice_updates out of INSTALLED_APPS."
    )


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
