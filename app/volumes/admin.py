from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from .models import Crop, Volume


@admin.register(Volume)
class VolumeAdmin(admin.ModelAdmin):
    list_display = ("title", "size_x", "size_y", "size_z", "dtype", "created")
    readonly_fields = (
        "store",
        "size_x",
        "size_y",
        "size_z",
        "dtype",
        "voxel_x",
        "voxel_y",
        "voxel_z",
        "unit",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # manage.py import_volume creates volumes

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # this process may not delete the volume's store, which would be left behind


@admin.register(Crop)
class CropAdmin(admin.ModelAdmin):
    list_display = (
        "id",
        "volume",
        "owner",
        "state",
        "progress",
        "attempts",
        "created",
        "finished",
        "discarded",
    )
    list_filter = ("state", "discarded")
    search_fields = ("owner__username", "volume__title")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
