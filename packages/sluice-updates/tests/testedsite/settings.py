"""Those of hubsite, with an app that has tests, and the setting by which a test run asks for wake-ups."""

import os

from hubsite.settings import *  # noqa: F403
from hubsite.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "testedsite"]
ROOT_URLCONF = "testedsite.urls"
SLUICE_UPDATES_SITE_URL = ""
if "TESTEDSITE_WAKE_UPS" in os.environ:
    SLUICE_UPDATES_WAKE_UPS = os.environ["TESTEDSITE_WAKE_UPS"] == "yes"
