"""The site's URLs, without the prefix. docs/reference/http-api.md lists them all."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from common import pages

urlpatterns = [
    path("", pages.home, name="home"),
    path("", include("volumes.urls")),
    path("", include("inbox.urls")),
    path("monitoring/", include("sluice_stack.monitoring.urls")),
    path("connection/", pages.connection, name="connection"),
    path("updates/", include("sluice_updates.urls")),
    path("accounts/login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
]

handler404 = "common.pages.not_found"
