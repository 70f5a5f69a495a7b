from django.contrib import admin

from .models import Message


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin):
    list_display = ("title", "recipient", "sender", "read", "created")
    list_filter = ("read",)
    search_fields = ("title", "recipient__username")
    raw_id_fields = ("recipient", "sender")
