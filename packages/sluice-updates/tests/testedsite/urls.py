"""Polling, and a view that publishes."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from sluice_updates import publish
from sluice_updates.streams import user_stream


@transaction.atomic
def send(request: HttpRequest) -> HttpResponse:
    """Publish a message to a user."""
    publish(user_stream(request.POST["to"]), "new-message", {"text": request.POST["text"]})
    return HttpResponse(status=201)


urlpatterns = [path("messages/", send), path("updates/", include("sluice_updates.urls"))]
