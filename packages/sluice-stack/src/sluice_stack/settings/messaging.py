"""The broker's settings: the channel layer and Celery. An empty URL disables its part.

Each use has its own account, and Celery has its own vhost, so that an account that publishes can do nothing
else.
"""

from __future__ import annotations

from typing import Any

from sluice_stack.environment import Environment

from .source import installed, secret, with_password


def channel_layers(env: Environment) -> dict[str, Any]:
    """CHANNEL_LAYERS: RabbitMQ at LAYER_URL, or in memory; empty where Channels is not installed.

    https://channels.readthedocs.io/en/stable/topics/channel_layers.html
    """
    if not installed("channels"):
        return {}
    if not (env.layer_url and installed("channels_rabbitmq")):
        return {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    # The layer reads the password each time it connects, so a new password needs no restart.
    options = {"host": env.layer_url, "password_file": env.layer_password_file or None}
    return {"default": {"BACKEND": "sluice_layer.RabbitmqChannelLayer", "CONFIG": options}}


def updates_notify(env: Environment) -> bool | None:
    """SLUICE_UPDATES_NOTIFY: UPDATES_NOTIFY; if it is empty, the database wakes the hubs without a broker.

    A program may have only one of the broker's two URLs.
    """
    if env.updates_notify:
        return env.updates_notify == "yes"
    return False if env.layer_url or env.publisher_url else None


def celery_broker_url(env: Environment) -> str:
    """CELERY_BROKER_URL: TASKS_URL with its password; empty without TASKS_URL.

    CELERY_BROKER_PASSWORD_FILE = env.tasks_password_file has publishers read the password at each connect.

    https://docs.celeryq.dev/en/stable/userguide/configuration.html#broker-settings
    """
    return with_password(env.tasks_url, secret(env.tasks_password_file, "TASKS_PASSWORD_FILE"))


def celery_broker_ssl(env: Environment) -> dict[str, Any]:
    """CELERY_BROKER_USE_SSL: verify the broker's certificate if TASKS_URL is amqps://."""
    from sluice_updates.broker.address import Address

    return Address.parse(env.tasks_url).tls if env.tasks_url else {}
