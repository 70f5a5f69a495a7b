"""The guestbook (folder guestbook/), a WSGI-only site, on a host before docs/how-to/add-push.md, and its
users.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from bare_metal.guide import Guide, with_values
from bare_metal.machine import Machine
from bare_metal.stages import Stages
from harness.waiting import wait_until

GUIDE = Guide.read("add-push.md")
PROJECT = "/srv/guestbook"
SETTINGS = f"{PROJECT}/guestbook/settings.py"
URLS = f"{PROJECT}/guestbook/urls.py"
ORIGINAL = "/opt/sluice/tests/bare_metal/guestbook"
SERVER = "/etc/nginx/sites-available/guestbook"
PACKAGES = "ca-certificates curl nginx openssl postgresql procps python3-venv supervisor"
SITE = """
mkdir /srv/guestbook
cp --recursive /opt/sluice/tests/bare_metal/guestbook/* /srv/guestbook/
cd /srv/guestbook
echo '# what startproject wrote' >guestbook/asgi.py
python3 -m venv venv
locked=/opt/sluice/app/requirements.txt
venv/bin/pip install --quiet $(grep -oE '^(django|gunicorn|psycopg|psycopg-binary)==[^ ]+' $locked)
service postgresql start
runuser --user postgres -- psql --quiet --command "CREATE ROLE guestbook LOGIN PASSWORD 'guestbook'"
runuser --user postgres -- createdb --owner guestbook guestbook
cat >/etc/supervisor/conf.d/guestbook.conf <<'END'
[program:guestbook]
command = /srv/guestbook/venv/bin/gunicorn --bind 127.0.0.1:9000 guestbook.wsgi
directory = /srv/guestbook
user = www-data
environment = SCRIPT_NAME="@BELOW@"
END
cat >/etc/nginx/sites-available/guestbook <<'END'
server {
    listen @LISTEN@ default_server;
\tserver_name localhost;
    location @BELOW@/static/ { alias /srv/guestbook/static/; }
    location @BELOW@/ {
        proxy_pass http://127.0.0.1:9000;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
    }
}
END
rm /etc/nginx/sites-enabled/default
ln --symbolic ../sites-available/guestbook /etc/nginx/sites-enabled/guestbook
"""
CERTIFIED = """
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 9 -subj /CN=guestbook \
    -addext subjectAltName=DNS:localhost -keyout /etc/ssl/private/guestbook.key -out @CERTIFICATE@ 2>/dev/null
cat >>guestbook/settings.py <<'END'

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
END
update-ca-certificates >/dev/null 2>&1
"""
SECURE = """
cat >>/etc/nginx/sites-available/guestbook <<'END'
server {
    listen 80 default_server;
    server_name localhost;
    location / { return 301 https://$host$request_uri; }
}
END
sed --in-place '0,/server_name/s|^.*server_name|    ssl_certificate @CERTIFICATE@;\\n'\
'    ssl_certificate_key /etc/ssl/private/guestbook.key;\\n&|' /etc/nginx/sites-available/guestbook
"""
TABLES = """
venv/bin/python manage.py migrate --verbosity 0
venv/bin/python manage.py shell --verbosity 0 -c 'from django.contrib.auth.models import User
for name in "alice", "bob": User.objects.create_user(name, password=name)'
"""
START = """
venv/bin/python manage.py collectstatic --no-input --verbosity 0
service nginx restart
service supervisor restart
service supervisor start
"""
SQLITE = """
cat >>guestbook/settings.py <<'END'

DATABASES["default"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "data/db.sqlite3"}
END
install --directory --owner=www-data data
"""
SPLIT_SETTINGS = r"""
cd guestbook
mkdir settings
touch settings/__init__.py
sed 's/parent\.parent$/parent.parent.parent/' settings.py >settings/base.py
rm settings.py
echo 'from .base import *' | tee settings/production.py >settings/development.py
echo 'DEBUG = True' >>settings/development.py
sed --in-place 's/guestbook\.settings/&.development/' ../manage.py
sed --in-place 's/guestbook\.settings/&.production/' wsgi.py
cat >>urls.py <<'END'

from django.http import HttpResponse
from django.urls import re_path

urlpatterns += [re_path("^([a-z/]*)$", lambda request, name: HttpResponse("A page."))]
END
supervisorctl restart guestbook
"""
BEHIND_A_PROXY = """
cat >>guestbook/settings.py <<'END'

FORCE_SCRIPT_NAME = "@BELOW@"
END
sed --in-place -e 's|listen .* default_server|listen 127.0.0.1:8080|' -e 's|location /|location @BELOW@/|' \
    -e 's|:9000;|:9000/;|' -e 's|\\$scheme|https|' /etc/nginx/sites-available/guestbook
cat >/etc/proxy.conf <<'END'
pid /run/proxy.pid;
error_log /var/log/nginx/proxy.log;
events {}
http {
    access_log off;
    server {
        listen 443 ssl;
        ssl_certificate @CERTIFICATE@;
        ssl_certificate_key /etc/ssl/private/guestbook.key;
        location / {
            proxy_pass http://127.0.0.1:8080;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $http_connection;
        }
    }
}
END
nginx -c /etc/proxy.conf
service nginx restart
supervisorctl restart guestbook
"""
CERTIFICATE = "/usr/local/share/ca-certificates/guestbook.crt"


@contextmanager
def existing_site(machine: Machine, *, times: int = 1) -> Iterator[Stages]:
    """A host with the guestbook before the first step, by https and below a path as the machine is
    configured.

    Each block is run `times` times.
    """
    with Stages(machine, lambda machine, step: follow(machine, step, times), sign_in) as stages:
        machine.boot()
        machine.shell(f"apt-get update; apt-get install --yes --no-install-recommends {PACKAGES}")
        machine.shell(
            _filled_in(machine, SITE + (CERTIFIED + SECURE if machine.secure else "") + TABLES + START)
        )
        assert_works(machine)
        yield stages


def move_to_sqlite(machine: Machine) -> None:
    """Give the guestbook another database, with users and without notes."""
    machine.shell(f"cd {PROJECT}{SQLITE}{TABLES}chown www-data data/*; supervisorctl restart guestbook")


def split_settings(machine: Machine) -> str:
    """Give the guestbook settings for each place, as Wagtail's start project has, and a URL pattern that
    takes every path. Returns the settings that the site runs with.
    """
    machine.shell(f"cd {PROJECT}{SPLIT_SETTINGS}")
    return "guestbook.settings.production"


def move_behind_a_proxy(machine: Machine) -> None:
    """Put another nginx, which does the TLS, in front of the guestbook's. Django handles the path, if any,
    not Gunicorn.
    """
    machine.shell(_filled_in(machine, f"cd {PROJECT}{CERTIFIED}{BEHIND_A_PROXY}"))


def _filled_in(machine: Machine, script: str) -> str:
    values = {
        "BELOW": machine.prefix,
        "LISTEN": "443 ssl" if machine.secure else "80",
        "CERTIFICATE": CERTIFICATE,
    }
    for name, value in values.items():
        script = script.replace(f"@{name}@", value)
    return script


def follow(machine: Machine, step: str, times: int = 1, /, **values: str) -> str:
    """Make the edits that the step shows, then run each of its blocks `times` times in a row.

    Returns the output of the last runs. `values` replace those of the guide's first block.
    """
    _edit(machine, step)
    said = ""
    for block in GUIDE.of(step):
        said += [machine.bash(_begin(machine, **values) + block) for _ in range(times)][-1]
        if step == "3. Publish":  # the step says "write something on your site"
            sign_in(machine).write("by hand")
    return said


def check(machine: Machine, step: str, **values: str) -> str:
    """Run the step's check without the step, and return its output."""
    return machine.bash(_begin(machine, **values) + GUIDE.of(step)[-1])


def _begin(machine: Machine, **values: str) -> str:
    return with_values(GUIDE.blocks[0][1], site=f"{machine.scheme}://localhost{machine.prefix}", **values)


def _edit(machine: Machine, step: str) -> None:
    """Insert the step's code into the guestbook's view and template, or take it out."""
    if step == "Remove push":
        for file in ("views.py", "templates/guestbook/index.html"):
            machine.shell(f"cp {ORIGINAL}/guestbook/{file} {PROJECT}/guestbook/{file}")
    if step not in ("3. Publish", "4. The page"):
        return
    # The second definition of a function replaces the first.
    snippet = "\n\n" + GUIDE.snippet(step, "python")
    machine.write(f"{PROJECT}/guestbook/views.py", snippet, append=True)
    if step == "4. The page":
        template = f"{PROJECT}/guestbook/templates/guestbook/index.html"
        page = machine.shell(f"cat {template}")
        machine.write(template, page.replace("</body>", GUIDE.snippet(step, "html") + "</body>"))


class Reader:
    """A user who is signed in to the guestbook."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.url = machine.url
        self.http = requests.Session()
        if machine.secure:
            self._trusted = tempfile.NamedTemporaryFile(suffix=".pem")  # noqa: SIM115  (for as long as they are)
            self._trusted.write(machine.shell(f"cat {CERTIFICATE}").encode())
            self._trusted.flush()
            self.http.verify = self._trusted.name
            # Django requires a Referer for forms by https.
            self.http.headers["Referer"] = self.url + "/"
        wait_until(lambda: self._status("/login") == 200, 60, "the guestbook's own page")
        self.post("/login", username=name, password=name)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.http.get(self.url + path, timeout=15, **options)

    def post(self, path: str, **fields: str) -> None:
        fields["csrfmiddlewaretoken"] = self.http.cookies["csrftoken"]
        answer = self.http.post(self.url + path, fields, timeout=15, allow_redirects=False)
        assert answer.status_code == 302, (answer.status_code, answer.text[:2000])

    def page(self) -> str:
        answer = self.get("/", allow_redirects=False)
        assert answer.status_code == 200, (answer.status_code, answer.text[:2000])
        return answer.text

    def write(self, text: str) -> None:
        self.page()
        self.post("/write", text=text)

    @contextmanager
    def events(self) -> Iterator[Iterator[dict[str, Any]]]:
        """The frames of an event stream, while it is open."""
        with self.get("/channels/updates/sse?streams=all", stream=True) as answer:
            lines = answer.iter_lines(chunk_size=1, decode_unicode=True)
            yield (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))

    def _status(self, path: str) -> int:
        try:
            return self.get(path).status_code
        except requests.ConnectionError:
            return 0


def sign_in(machine: Machine, name: str = "alice") -> Reader:
    return Reader(machine, name)


def assert_works(machine: Machine) -> None:
    """Assert that a user can sign in, write, and read the note."""
    alice = sign_in(machine)
    alice.write("still here")
    assert "<li>still here</li>" in alice.page()
