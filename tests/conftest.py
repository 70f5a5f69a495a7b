"""For all tests of this folder: the sample site's settings, and real servers on request (harness.unit)."""

import secrets

from harness.django_setup import SCRATCH, set_up

pytest_plugins = ["harness.fixtures", "harness.unit"]

_KEY = SCRATCH / "django_secret_key"
_KEY.write_text(secrets.token_urlsafe(48))

set_up(
    "mysite.settings",
    SECRET_KEY_FILE=str(_KEY),
    **{name: str(SCRATCH / name.lower()) for name in ("MEDIA_ROOT", "VOLUMES_ROOT", "STATIC_ROOT")},
)
