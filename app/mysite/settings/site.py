"""What is Sluice's own: the prefix, image volumes, crops, polling."""

from sluice_stack.settings.source import directory, env

FORCE_SCRIPT_NAME = env.url_prefix or None
EXPOSE_BACKEND = SLUICE_UPDATES_EXPOSE_BACKEND = env.expose_backend

# Requests are small: JSON of a few hundred bytes, a form. Images come by `manage.py import_volume`.
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200
DATA_UPLOAD_MAX_NUMBER_FILES = 0

MEDIA_ROOT = directory(env.media_root, "media")
VOLUMES_ROOT = directory(env.volumes_root, "volumes")

# "nginx": downloads leave through X-Accel-Redirect.
SENDFILE = env.sendfile

CROP_MAX_VOXELS = env.crop_max_voxels
CROP_QUOTA_BYTES = env.crop_quota_mb * 2**20
CROP_RETENTION_DAYS = env.crop_retention_days
# Crops that one person may have waiting or running.
CROP_MAX_OPEN_PER_USER = 500
POLL_SECONDS = env.poll_seconds

ADMIN_USERNAME = env.admin_username
ADMIN_PASSWORD_FILE = env.admin_password_file

# For `python -m sluice_updates.server`; under supervisor it gets its socket ready made.
SLUICE_UPDATES_BIND = env.asgi_bind or ("0.0.0.0:8001" if env.sluice_service else "127.0.0.1:8001")
