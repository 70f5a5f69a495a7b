from django.apps import AppConfig


class VolumesConfig(AppConfig):
    name = "volumes"
    verbose_name = "Image volumes"

    def ready(self) -> None:
        from . import checks  # noqa: F401  (they register themselves)
