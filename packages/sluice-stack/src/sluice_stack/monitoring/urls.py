"""URLs for nginx alone: `path("monitoring/", include("sluice_stack.monitoring.urls"))` in a project's own."""

from django.urls import path

from .views import access

urlpatterns = [path("access/", access, name="monitoring-access")]
