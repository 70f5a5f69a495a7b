"""Keys, hosts, origins, cookies and headers.

https://docs.djangoproject.com/en/5.2/howto/deployment/checklist/
"""

from urllib.parse import urlsplit

from sluice_stack.settings.source import env, secret

_url = urlsplit(env.site_url)
_https = _url.scheme == "https"

# Empty where neither is given, as while an image is built; then whatever needs a key fails.
SECRET_KEY = secret(env.secret_key_file, "SECRET_KEY_FILE")
if env.debug and not SECRET_KEY:
    SECRET_KEY = (
        "insecure, for development only: everyone knows it. DEBUG=yes uses it where SECRET_KEY_FILE is unset"
    )

SITE_URL = SLUICE_UPDATES_SITE_URL = env.site_url
ALLOWED_HOSTS = [_url.hostname]
if env.debug:
    ALLOWED_HOSTS += [".localhost", "127.0.0.1", "[::1]"]
CSRF_TRUSTED_ORIGINS = [env.site_url]
CSRF_FAILURE_VIEW = "common.pages.csrf_failure"

# nginx overwrites what a client says here.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

SESSION_COOKIE_SECURE = _https
CSRF_COOKIE_SECURE = _https
# Browsers allow no exception for a certificate that they don't trust where they were asked for this. And
# they take it for the host with all its ports, so that http://host:8080 would become https://host:8080: only
# a site on the usual port may ask.
SECURE_HSTS_SECONDS = (
    365 * 24 * 3600 if _https and _url.port in (None, 443) and env.tls != "self-signed" else 0
)
# Browsers complain of it on http.
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin" if _https else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

SILENCED_SYSTEM_CHECKS = [
    # HSTS for sub-domains and preloading commit a whole domain for years: not this site's to decide.
    "security.W005",
    "security.W021",
    # Redirecting from http is nginx's affair. Here it would loop where a proxy in front does the TLS.
    "security.W008",
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
