from django.urls import path

from . import views

urlpatterns = [
    path("volumes/", views.volumes, name="volumes"),
    path("volumes/<int:volume_id>/", views.volume, name="volume"),
    path("volumes/<int:volume_id>/crops/", views.order, name="order_crop"),
    path("crops/", views.crops, name="crops"),
    path("crops/<int:crop_id>/", views.crop, name="crop"),
    path("crops/<int:crop_id>/download/", views.download, name="crop_download"),
]
