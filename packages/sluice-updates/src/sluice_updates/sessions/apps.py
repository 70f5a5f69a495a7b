"""The app of the session table. A project with another session engine does not need it."""

from django.apps import AppConfig


class SessionsConfig(AppConfig):
    name = "sluice_updates.sessions"
    label = "sluice_updates_sessions"
    verbose_name = "Sessions"
