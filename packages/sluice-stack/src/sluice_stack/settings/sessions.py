"""Sign-in and sessions.

https://docs.djangoproject.com/en/5.2/topics/http/sessions/
"""

from sluice_stack.settings.source import env

# Database sessions with the user's id in a column: a WebSocket is let in by one query.
SESSION_ENGINE = "sluice_updates.sessions"

# Cookies stay below the prefix. The session's name holds it too: of two cookies with one name, one at / and
# one below, a request carries both, and which one counts is chance.
_path = f"{env.url_prefix}/"
SESSION_COOKIE_NAME = "_".join(["sessionid", *filter(None, env.url_prefix.replace("~", "").split("/"))])
SESSION_COOKIE_PATH = _path
CSRF_COOKIE_PATH = _path

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
