"""Static files with a hash in their names, so that browsers may cache them for a year."""

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class ManifestStorage(ManifestStaticFilesStorage):
    """Also rewrites the imports of ES modules. Otherwise they would request names without a hash."""

    support_js_module_import_aggregation = True

    def stored_name(self, name: str) -> str:
        try:
            stored: str = super().stored_name(name)
        except ValueError as error:
            if self.hashed_files:
                raise
            raise ValueError(
                f"the static files have not been collected: {self.location} has none;"
                " run `manage.py collectstatic`"
            ) from error
        return stored
