from django.urls import path

from . import pictures, views

urlpatterns = [
    path("volumes/", views.volumes, name="volumes"),
    path("volumes/<int:volume_id>/", views.volume, name="volume"),
    path("volumes/<int:volume_id>/crops/", views.order, name="order_crop"),
    path(
        "volumes/<int:volume_id>/slices/<slug:version>/<slug:axis>/<int:index>.png",
        pictures.slice_,
        name="slice",
    ),
    path("crops/", views.crops, name="crops"),
    path("crops/<int:crop_id>/", views.crop, name="crop"),
    path("crops/<int:crop_id>/cancel/", views.cancel, name="cancel_crop"),
    path("crops/<int:crop_id>/delete/", views.delete, name="delete_crop"),
    path("crops/<int:crop_id>/download/", views.download, name="crop_download"),
]
