from django.urls import path

from . import views

urlpatterns = [
    path("messages/", views.messages, name="messages"),
    path("messages/new/", views.write, name="write_message"),
    path("messages/unread/", views.unread, name="unread_messages"),
    path("messages/read/", views.mark_all_read, name="mark_all_read"),
    path("messages/<int:message_id>/read/", views.mark_read, name="mark_read"),
    path("messages/<int:message_id>/unread/", views.mark_unread, name="mark_unread"),
    path("messages/<int:message_id>/delete/", views.delete, name="delete_message"),
]
