"""For a site's urls.py: `path("updates/", include("sluice_updates.urls"))`."""

from django.urls import path

from . import views

app_name = "updates"
urlpatterns = [path("", views.poll, name="poll")]
