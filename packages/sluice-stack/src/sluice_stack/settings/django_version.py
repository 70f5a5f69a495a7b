"""Refuses a Django that is too old, before the settings are used."""

import django
from django.core.exceptions import ImproperlyConfigured

OLDEST = (5, 2)

if django.VERSION < OLDEST:
    raise ImproperlyConfigured(
        f"sluice_stack needs Django {'.'.join(map(str, OLDEST))} or newer, and this is Django"
        f" {django.get_version()}: upgrade Django."
    )
