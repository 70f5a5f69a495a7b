"""How static files are stored: by names with a hash, so that nginx may let browsers keep them for a year."""

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class ManifestStorage(ManifestStaticFilesStorage):
    """Rewrites the imports of ES modules too, which would otherwise ask for names without a hash."""

    support_js_module_import_aggregation = True
