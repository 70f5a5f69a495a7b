"""The broker: the channel layer, the wake-ups of updates, and Celery. All of it is optional.

Three accounts, and two vhosts: what may only publish can do no more. An empty URL switches its part off.
"""

from sluice_stack.settings.source import env, installed, secret, with_password
from sluice_updates.broker.address import Address

# https://channels.readthedocs.io/en/stable/topics/channel_layers.html
if not installed("channels"):
    pass
elif env.layer_url and installed("channels_rabbitmq"):
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "sluice_layer.RabbitmqChannelLayer",
            # Read anew at each connect, as the publisher's is: a rotated password needs no restart.
            "CONFIG": {"host": env.layer_url, "password_file": env.layer_password_file or None},
        },
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# The app `updates`: docs in packages/sluice-updates/README.md
SLUICE_UPDATES_PUBLISHER_URL = env.publisher_url
SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE = env.publisher_password_file
SLUICE_UPDATES_MAY_READ = "volumes.progress.may_read"
SLUICE_UPDATES_MAX_AGE_DAYS = env.updates_max_age_days
SLUICE_UPDATES_MAX_PER_STREAM = env.updates_max_per_stream
SLUICE_UPDATES_MAX_CONNECTIONS_PER_USER = env.updates_max_connections_per_user

# https://docs.celeryq.dev/en/stable/userguide/configuration.html (the stack's defaults:
# sluice_stack.celery.configuration)
CELERY_BROKER_URL = with_password(env.tasks_url, secret(env.tasks_password_file, "TASKS_PASSWORD_FILE"))
CELERY_BROKER_USE_SSL = Address.parse(CELERY_BROKER_URL).tls if CELERY_BROKER_URL else {}
CELERY_WORKER_CONCURRENCY = env.celery_concurrency
# Seconds. Functions, which beat runs itself: docs/how-to/add-a-task.md.
CELERY_BEAT_SCHEDULE = {
    "hand over crops": {"task": "volumes.handover.hand_over_waiting", "schedule": 10.0},
    "remove discarded crops": {"task": "volumes.retention.remove_discarded", "schedule": 10.0},
    "delete old crops": {"task": "volumes.retention.clean_up", "schedule": 3600.0},
}

# `runworker`: a preview that takes this many seconds has its worker exit, and be started anew. More than the
# database's time-outs: a database that is down is no reason.
SLUICE_LAYER_WORKER_BUSY_LIMIT = 30
SLUICE_LAYER_WORKER_WARM_UP = "volumes.previews.warm_up"
