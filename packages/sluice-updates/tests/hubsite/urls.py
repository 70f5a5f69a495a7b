"""The site's own paths: for polling, and for a page."""

from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import include, path

from sluice_updates.page import follows


@follows("all")
def page(request: HttpRequest) -> HttpResponse:
    template = engines["django"].from_string("{% load sluice_updates %}{% sluice_updates %}")
    return HttpResponse(template.render({}, request))


urlpatterns = [path("push/news/", include("sluice_updates.urls")), path("page/", page)]
