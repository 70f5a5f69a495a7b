"""The site's settings with the stock channel layer, as in CATMAID's documentation, for `manage.py`."""

import os

from mysite.settings import *  # noqa: F403

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_rabbitmq.core.RabbitmqChannelLayer",
        "CONFIG": {"host": os.environ.get("STOCK_LAYER_URL", "amqp://guest:guest@127.0.0.1:1/asgi")},
    }
}
