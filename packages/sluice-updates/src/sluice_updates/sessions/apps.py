"""The table of `sluice_updates.sessions`, an app of its own:

a project that keeps its own sessions needs none of it.
"""

from django.apps import AppConfig


class SessionsConfig(AppConfig):
    name = "sluice_updates.sessions"
    label = "sluice_updates_sessions"
    verbose_name = "Sessions"
