from django.apps import AppConfig


class VolumesConfig(AppConfig):
    name = "volumes"
    verbose_name = "Image volumes"

    def ready(self) -> None:
        from sluice_stack.doctor.deployment import register
        from sluice_stack.settings.source import installed

        from . import checks, doctor, handover  # noqa: F401  (the checks register themselves)

        register(doctor.FILES)

        if installed("celery"):
            from sluice_stack.celery.publishing import task_confirmed

            task_confirmed.connect(handover.note_confirmed)
