"""Pages that follow streams, as a project has them: URLs, views of each kind, and a user without sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import include, path
from django.views.decorators.cache import cache_page
from django.views.generic import TemplateView, View

from sluice_updates import publish
from sluice_updates.page import FollowsMixin, follows, positions

TAG = "{% load sluice_updates %}{% sluice_updates %}"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "context_processors": ["django.template.context_processors.request"],
            "loaders": [("django.template.loaders.locmem.Loader", {"page.html": TAG})],
        },
    }
]


def as_user(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Middleware: the user whose id the query names; without one, nobody."""

    def respond(request: HttpRequest) -> Any:
        user = request.GET.get("user")
        request.user = User(pk=int(user)) if user else AnonymousUser()
        return get_response(request)

    return respond


def render(request: HttpRequest, template: str = TAG) -> str:
    return str(engines["django"].from_string(template).render({}, request))


@follows("all")
def plain(request: HttpRequest) -> HttpResponse:
    publish("all", "meanwhile", {})  # while the page is made
    return HttpResponse(render(request))


@follows()
def default(request: HttpRequest) -> HttpResponse:
    return HttpResponse(render(request))


@login_required(login_url="/login/")
@follows("all", lambda request, project: [f"project:{project}", f"user:{request.user.pk}"])
def project_page(request: HttpRequest, project: int) -> HttpResponse:
    return HttpResponse(render(request))


@follows("all")
def late(request: HttpRequest) -> TemplateResponse:
    """Its template is rendered after the view has returned."""
    return TemplateResponse(request, "page.html")


@follows("all")
async def in_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse(render(request))


class ClassPage(FollowsMixin, TemplateView):
    template_name = "page.html"
    follows = ("all",)


class ProjectPage(FollowsMixin, TemplateView):
    template_name = "page.html"

    def get_followed_streams(self) -> list[str]:
        return [f"project:{self.kwargs['project']}"]


class AsyncPage(FollowsMixin, View):
    follows = "all"

    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(render(request))


class Undecorated(TemplateView):
    template_name = "page.html"


@follows("all")
def state(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"positions": positions(request)})


@follows("all", "project:9")
def nested(request: HttpRequest) -> HttpResponse:
    publish("all", "meanwhile", {})
    return HttpResponse(follows("all", "user:7")(lambda request: HttpResponse(render(request)))(request))


@follows(lambda request: [])
def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(render(request))


@follows(lambda request: f"project:{request.GET['project']}")
def any_project(request: HttpRequest) -> HttpResponse:
    return HttpResponse(render(request))


@follows(lambda request: [f"project:{number}" for number in range(int(request.GET["streams"]))])
def many(request: HttpRequest) -> HttpResponse:
    return HttpResponse(render(request))


urlpatterns = [
    path("push/news/", include("sluice_updates.urls")),
    path("plain/", plain),
    path("default/", default),
    path("projects/<int:project>/", project_page),
    path("late/", late),
    path("async/", in_async),
    path("class/", ClassPage.as_view()),
    path("class/<int:project>/", ProjectPage.as_view()),
    path("class-async/", AsyncPage.as_view()),
    path("decorated-class/", follows("all")(Undecorated.as_view())),
    path("undecorated/", Undecorated.as_view()),
    path("undecorated-state/", lambda request: JsonResponse(positions(request))),
    path("state/", state),
    path("nested/", nested),
    path("nothing/", nothing),
    path("any-project/", any_project),
    path("many/", many),
    path("cached/", cache_page(60)(plain)),
]
