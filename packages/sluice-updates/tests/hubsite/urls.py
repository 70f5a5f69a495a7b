"""The site's own pages: polling only."""

from django.urls import include, path

urlpatterns = [path("updates/", include("sluice_updates.urls"))]
