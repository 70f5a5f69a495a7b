"""Static files, with a hash in each name.

https://docs.djangoproject.com/en/5.2/ref/contrib/staticfiles/
"""

from sluice_stack.settings.source import BASE_DIR, directory, env

STATIC_URL = f"{env.url_prefix}/static/"
# Beside the project: made by collectstatic once, when the image is built, and read by every process for its
# manifest.
STATIC_ROOT = BASE_DIR.parent / "static"
# Where nginx finds them: sluice_stack.migrate copies them there.
PUBLISHED_STATIC_ROOT = directory(env.static_root, "static")

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if env.debug
        else "sluice_stack.static_storage.ManifestStorage",
    },
}
