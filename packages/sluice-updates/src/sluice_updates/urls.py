"""For a site's urls.py: `path("updates/", include("sluice_updates.urls"))`, or another path."""

from django.urls import path

from . import views

app_name = "sluice_updates"
urlpatterns = [path("", views.poll, name="poll")]
