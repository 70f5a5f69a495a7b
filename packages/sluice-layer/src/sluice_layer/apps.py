"""List `sluice_layer` in INSTALLED_APPS, before `channels`, to get its `runworker`."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.core import checks


class SluiceLayerConfig(AppConfig):
    name = "sluice_layer"
    verbose_name = "Channel layer on RabbitMQ"

    def ready(self) -> None:
        checks.register(stands_before_channels)


def stands_before_channels(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Of two apps with a command of the same name, Django takes the one that is listed first."""
    order = [config.name for config in apps.get_app_configs()]
    if "channels" in order and order.index("channels") < order.index("sluice_layer"):
        return [
            checks.Warning(
                "sluice_layer stands after channels in INSTALLED_APPS, so runworker is Channels' own",
                hint="Move sluice_layer before channels: SIGTERM then finishes the message in hand.",
                id="sluice_layer.W001",
            )
        ]
    return []
