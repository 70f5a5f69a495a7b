"""Pages that follow streams: positions are read before the page's data (PROTOCOL: Pages).

    @login_required
    @follows("all", lambda request: user_stream(request.user.pk))
    def notes(request):
        return render(request, "notes.html", {"notes": Note.objects.all()})

The template has `{% load sluice_updates %}{% sluice_updates %}`. The page's own code imports `updates` from
sluice_updates/page.js, or listens to DOM events (docs/reference/updates-js.md).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.templatetags.static import static
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.html import format_html, json_script
from django.utils.safestring import SafeString

from . import conf, history, rights, streams
from .positions import MAX_STREAMS

# The page's script finds the data by this id.
ELEMENT_ID: Final = "sluice-updates"
MODULE: Final = "sluice_updates/page.js"

# A stream's name, or a function that returns one or several names. It gets the view's arguments.
Source = str | Callable[..., str | Iterable[str]]
View = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Following:
    """What the page of a request follows: `request.sluice_updates`, in a view that is decorated with follows.

    In a base template of pages that follow and pages that don't, write
    `{% if request.sluice_updates %}{% sluice_updates %}{% endif %}`.
    """

    positions: Mapping[str, str]  # by stream
    may_connect: bool  # False: the visitor receives no updates, and the page is an ordinary one


def follows(*sources: Source) -> Callable[[View], View]:
    """Decorator for the view of a page with `{% sluice_updates %}`, with the streams that the page follows.

    A source is a stream's name, or a function that returns one or several names. It gets the arguments of
    the view. Without sources, the page follows the user's own stream and `all`.

    It reads the streams' positions before it calls the view, so that no update is lost between the page's
    data and its connection. It sets `Cache-Control: no-store`, since positions of a stored page would be old.
    For a visitor who is not signed in, it does neither, unless SLUICE_UPDATES_ANONYMOUS is on and the visitor
    may read some of the streams. Then the page follows those.

    Its place among other decorators, such as login_required, doesn't matter. It decorates async views and
    `View.as_view()` too. For a class, use FollowsMixin. Which streams the user may read is decided when the
    page connects, by the setting SLUICE_UPDATES_MAY_READ.
    """
    for source in sources:
        if isinstance(source, str):
            _check([source])
        elif not callable(source) or iscoroutinefunction(source):
            raise TypeError(f"follows: {source!r} is neither a stream's name nor a plain function.")

    def decorate(view: View) -> View:
        if isinstance(view, type):
            raise TypeError(f"follows decorates functions. For the class {view.__name__}, use FollowsMixin.")
        if not callable(view):
            raise TypeError("follows needs parentheses, also without arguments: @follows()")

        if iscoroutinefunction(view):

            @functools.wraps(view)
            async def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                name_streams = functools.partial(_named, sources, request, args, kwargs)
                following = await sync_to_async(_follow)(request, name_streams)
                return _finish(following, await view(request, *args, **kwargs))

        else:

            @functools.wraps(view)
            def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                following = _follow(request, functools.partial(_named, sources, request, args, kwargs))
                return _finish(following, view(request, *args, **kwargs))

        return wrapped

    return decorate


class FollowsMixin:
    """The decorator follows, for class-based views. It stands left of the view's class.

        class Notes(LoginRequiredMixin, FollowsMixin, ListView):
            follows = ["all"]

    It reads the positions in dispatch(). A view that reads data in setup() must be decorated instead:
    `follows("all")(Notes.as_view())`.
    """

    # Names of streams. Empty: the user's own stream and `all`.
    follows: Sequence[str] = ()

    request: HttpRequest

    def get_followed_streams(self) -> str | Iterable[str]:
        """The streams that this page follows. `self.request` and `self.kwargs` are set."""
        return self.follows or _default(self.request)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if getattr(self, "view_is_async", False):
            return self._dispatch_async(request, *args, **kwargs)
        following = _follow(request, self.get_followed_streams)
        return _finish(following, super().dispatch(request, *args, **kwargs))  # type: ignore[misc]

    async def _dispatch_async(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        following = await sync_to_async(_follow)(request, self.get_followed_streams)
        return _finish(following, await super().dispatch(request, *args, **kwargs))  # type: ignore[misc]


def positions(request: HttpRequest) -> dict[str, str]:
    """The positions that follows has read, by stream. For the JSON that `getState` of updates.js fetches.

    @follows("all")
    def notes_state(request):
        return JsonResponse({"positions": positions(request), "notes": …})
    """
    return dict(_following(request, "positions(request)").positions)


def script(request: HttpRequest, *, nonce: Any = None, poll_seconds: float | None = None) -> SafeString:
    """What `{% sluice_updates %}` prints, for templates of other engines.

    `nonce`: for the Content-Security-Policy; by default that of Django's middleware or of django-csp. A
    visitor who is not signed in gets no script, only the data, which the page's own modules need.
    """
    following = _following(request, "{% sluice_updates %}")
    data: dict[str, Any] = {
        "root": get_script_prefix(),
        "poll": _poll_url(),
        "positions": following.positions,
        # The page of a POST can't be loaded again without asking the user.
        "reload": request.method in ("GET", "HEAD"),
    }
    if poll_seconds is not None:
        data["pollSeconds"] = poll_seconds
    if not following.positions:
        data["state"] = "stopped" if following.may_connect else "signed-out"
    printed = json_script(data, ELEMENT_ID)
    if "state" in data:
        return printed
    nonce = nonce or _nonce(request)
    attribute = format_html(' nonce="{}"', nonce) if nonce is not None else ""
    return format_html('{}\n<script type="module" src="{}"{}></script>', printed, _module_url(), attribute)


def _follow(request: HttpRequest, name_streams: Callable[[], str | Iterable[str]]) -> Following:
    """Read the positions of the streams, and note them in the request. An earlier position stays."""
    if not hasattr(request, "user"):
        raise ImproperlyConfigured(
            "follows needs request.user: put django.contrib.auth.middleware.AuthenticationMiddleware into"
            " MIDDLEWARE."
        )
    known: Following | None = getattr(request, "sluice_updates", None)
    found = dict(known.positions) if known else {}
    may_connect = _may_connect(request.user)
    if may_connect:
        named = name_streams()
        wanted = list(dict.fromkeys([named] if isinstance(named, str) else named))
        _check([*found, *wanted])
        if not request.user.is_authenticated:
            # A query with a person's stream would be refused as a whole.
            public = rights.allowed_anonymously(
                [name for name in wanted if not streams.is_personal(name)], {}
            )
            wanted = [name for name in wanted if name in public]
            may_connect = bool(wanted or found)
        missing = [stream for stream in wanted if stream not in found]
        heads = history.heads(missing)
        found.update((stream, str(heads[stream].head)) for stream in missing)
    following = Following(found, may_connect)
    request.sluice_updates = following
    return following


def _may_connect(user: Any) -> bool:
    """Whether this visitor receives updates at all. Others get an ordinary page, which caches may store."""
    return bool(user.is_active if user.is_authenticated else conf.anonymous())


def _named(
    sources: Iterable[Source], request: HttpRequest, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[str]:
    """The names of the streams that these sources stand for."""
    wanted: list[str] = []
    for source in sources or [_default]:
        named = source if isinstance(source, str) else source(request, *args, **kwargs)
        wanted += [named] if isinstance(named, str) else named
    return wanted


def _default(request: HttpRequest, *args: Any, **kwargs: Any) -> list[str]:
    return streams.default_streams(request.user.pk)


def _check(names: list[str]) -> None:
    for name in names:
        if not isinstance(name, str) or not streams.is_valid(name):
            raise ValueError(f"follows: {name!r} is not the name of a stream, such as user:7 or all.")
    if len(names) > MAX_STREAMS:
        raise ValueError(f"follows: a page may follow {MAX_STREAMS} streams, not {len(names)}.")


def _finish(following: Following, response: HttpResponseBase) -> HttpResponseBase:
    if following.may_connect:
        add_never_cache_headers(response)
    return response


def _following(request: HttpRequest, user: str) -> Following:
    found: Following | None = getattr(request, "sluice_updates", None)
    if found is None:
        match = getattr(request, "resolver_match", None)
        view = f"The view {match._func_path}" if match else "The view of this page"
        raise ImproperlyConfigured(
            f"{view} uses {user}, but doesn't say what the page follows. Decorate it with"
            ' @sluice_updates.page.follows("all"), or with other streams; give a class the FollowsMixin.'
            " In a base template, write"
            " {% if request.sluice_updates %}{% sluice_updates %}{% endif %}."
        )
    return found


def _poll_url() -> str:
    try:
        return str(reverse("sluice_updates:poll"))
    except NoReverseMatch as error:
        raise ImproperlyConfigured(
            "{% sluice_updates %} needs the URL for polling. Add"
            ' path("updates/", include("sluice_updates.urls")) to the urlpatterns of the project; the path is'
            " yours to choose."
        ) from error


def _module_url() -> str:
    try:
        return str(static(MODULE))
    except ValueError as error:  # of ManifestStaticFilesStorage
        raise ImproperlyConfigured(
            f"{{% sluice_updates %}} can't find {MODULE} among the collected static files. Run"
            f" `manage.py collectstatic`. ({error})"
        ) from error


def _nonce(request: HttpRequest) -> Any:
    """The request's nonce, of django-csp or of Django's middleware (6.0 and newer); None: there is none."""
    found = getattr(request, "csp_nonce", None)
    if found is None:
        try:
            from django.middleware.csp import get_nonce
        except ImportError:
            return None
        found = get_nonce(request)
    return found
