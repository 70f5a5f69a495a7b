"""The project's settings, without the lines that docs/how-to/catmaid.md adds."""

import os

SECRET_KEY = "for these tests only"
INSTALLED_APPS: list[str] = []
DATABASES: dict[str, dict[str, str]] = {}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "sluice_layer.RabbitmqChannelLayer",
        "CONFIG": {"host": os.environ["LAYER_URL"]},
    }
}
CELERY_BROKER_URL = os.environ["CELERY_URL"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_CONCURRENCY = 1
