"""Streams and updates in Django's admin, read-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from .models import Stream, Update


class ReadOnly(admin.ModelAdmin):
    """History can't be edited: clients with positions in it would not notice."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Stream)
class StreamAdmin(ReadOnly):
    list_display = ["name", "head", "floor"]
    search_fields = ["name"]


@admin.register(Update)
class UpdateAdmin(ReadOnly):
    list_display = ["stream", "offset", "event", "created"]
    list_filter = ["event"]
    search_fields = ["stream"]
    ordering = ["-id"]
    show_full_result_count = False
