"""The Django app. List it in INSTALLED_APPS before `channels`, to get its `runworker`."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks

# Settings of runworker. In earlier versions they had no prefix SLUICE_LAYER_.
WORKER_SETTINGS = ("WORKER_ALIVE_FILE", "WORKER_STOP_TIMEOUT", "WORKER_BUSY_LIMIT", "WORKER_WARM_UP")


class SluiceLayerConfig(AppConfig):
    name = "sluice_layer"
    verbose_name = "Channel layer on RabbitMQ"

    def ready(self) -> None:
        checks.register(stands_before_channels)
        checks.register(uses_prefixed_settings)


def stands_before_channels(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """W001: if two apps have a command of the same name, Django uses that of the first app in the list."""
    order = [config.name for config in apps.get_app_configs()]
    if "channels" in order and order.index("channels") < order.index("sluice_layer"):
        return [
            checks.Warning(
                "sluice_layer comes after channels in INSTALLED_APPS, so runworker is Channels' own",
                hint="Move sluice_layer before channels: SIGTERM then lets handlers finish their messages.",
                id="sluice_layer.W001",
            )
        ]
    return []


def uses_prefixed_settings(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """W002: a setting with its old name has no effect."""
    return [
        checks.Warning(
            f"The setting {name} has no effect: its name is SLUICE_LAYER_{name} now",
            hint="Rename it.",
            id="sluice_layer.W002",
        )
        for name in WORKER_SETTINGS
        if hasattr(settings, name) and not hasattr(settings, f"SLUICE_LAYER_{name}")
    ]
