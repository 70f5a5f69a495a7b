"""The broker: the channel layer and Celery. An empty URL switches its part off.

Each has an account of its own, and Celery a vhost of its own: an account that publishes can do no more.
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
    # The password is read at each connect: a new one needs no restart.
    options = {"host": env.layer_url, "password_file": env.layer_password_file or None}
    return {"default": {"BACKEND": "sluice_layer.RabbitmqChannelLayer", "CONFIG": options}}


def celery_broker_url(env: Environment) -> str:
    """CELERY_BROKER_URL: TASKS_URL with its password; empty if that is.

    CELERY_BROKER_PASSWORD_FILE = env.tasks_password_file has publishers read the password at each connect.

    https://docs.celeryq.dev/en/stable/userguide/configuration.html#broker-settings
    """
    return with_password(env.tasks_url, secret(env.tasks_password_file, "TASKS_PASSWORD_FILE"))


def celery_broker_ssl(env: Environment) -> dict[str, Any]:
    """CELERY_BROKER_USE_SSL: verify the broker's certificate if TASKS_URL is amqps://."""
    from sluice_updates.broker.address import Address

    return Address.parse(env.tasks_url).tls if env.tasks_url else {}
