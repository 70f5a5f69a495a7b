"""For HUBSITE_URLCONF: polling at the path that the protocol's own client uses."""

from django.urls import include, path

urlpatterns = [path("updates/", include("sluice_updates.urls"))]
