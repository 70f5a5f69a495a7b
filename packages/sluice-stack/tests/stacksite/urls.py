"""The pages of the stack's middleware, and one that queries the database."""

from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.urls import path


def count(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(get_user_model().objects.count()))


urlpatterns = [path("count/", count)]
