from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from .models import Note


@login_required
def index(request: HttpRequest) -> HttpResponse:
    notes = Note.objects.order_by("-pk")[:50]
    return render(request, "guestbook/index.html", {"notes": notes})


@login_required
@require_POST
def write(request: HttpRequest) -> HttpResponse:
    Note.objects.create(author=request.user, text=request.POST["text"])
    return redirect("index")
