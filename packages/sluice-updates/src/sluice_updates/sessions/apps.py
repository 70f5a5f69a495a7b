"""The table of `updates.sessions`, an app of its own:

a project that keeps its own sessions needs none of it.
"""

from django.apps import AppConfig


class SessionsConfig(AppConfig):
    name = "updates.sessions"
    label = "updates_sessions"
    verbose_name = "Sessions"
