from django.contrib.auth.views import LoginView
from django.urls import path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("write", views.write, name="write"),
    path("login", LoginView.as_view(template_name="guestbook/login.html"), name="login"),
]
