"""docs/how-to/add-push.md, on a guestbook that knows nothing but WSGI (the folder guestbook/)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from playwright.sync_api import expect

from bare_metal.guide import Guide
from bare_metal.machine import Machine
from bare_metal.stages import Stages
from harness.chromium import Windows
from harness.waiting import wait_until

GUIDE = Guide.read("add-push.md")
CHECKED = {
    "1. The app": "no issues",
    "2. Polling": "\n401\n",
    "3. Publish": 'published: new-note {"text":"by hand"} in the stream all',
    "4. The page": "/static/updates/updates.js: ",
    "5. Daphne": '"status": "ok"',
    "6. Nginx": "101 Switching Protocols",
    "7. RabbitMQ": "publisher",
    "8. The channel layer": '"way": "layer"',
}
"""What the check of each step has to say."""
WHOLE_WAY = "The whole way"
TAKEN_OUT = "Take push out again"
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
"""127.0.0.1 and ::1, as the kernel's tables of sockets write them."""
PACKAGES = "ca-certificates curl nginx postgresql procps python3-venv supervisor"
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
venv/bin/python manage.py migrate --verbosity 0
venv/bin/python manage.py collectstatic --no-input --verbosity 0
venv/bin/python manage.py shell --verbosity 0 -c 'from django.contrib.auth.models import User
for name in "alice", "bob": User.objects.create_user(name, password=name)'
cat >/etc/supervisor/conf.d/guestbook.conf <<'END'
[program:guestbook]
command = /srv/guestbook/venv/bin/gunicorn --bind 127.0.0.1:9000 guestbook.wsgi
directory = /srv/guestbook
user = www-data
END
cat >/etc/nginx/sites-available/guestbook <<'END'
server {
    listen 80 default_server;
\tserver_name localhost;
    location /static/ { alias /srv/guestbook/static/; }
    location / { proxy_pass http://127.0.0.1:9000; proxy_set_header Host $http_host; }
}
END
rm /etc/nginx/sites-enabled/default
ln --symbolic ../sites-available/guestbook /etc/nginx/sites-enabled/guestbook
service nginx restart
service supervisor restart
service supervisor start
"""


OPTIONAL = ("7. RabbitMQ", "8. The channel layer")


@contextmanager
def existing_site(suite: str) -> Iterator[Stages]:
    """A host with the guestbook, before the first step."""
    with Stages(Machine(suite), follow, sign_in) as stages:
        stages.machine.boot()
        stages.machine.shell(f"apt-get update; apt-get install --yes --no-install-recommends {PACKAGES}")
        stages.machine.shell(SITE)
        assert_works(stages.machine)
        yield stages


def follow(machine: Machine, step: str) -> str:
    """The step's commands, after the edits of the guestbook's own files that it shows."""
    (_, begin), *_ = GUIDE.blocks
    edit(machine, step)
    said = ""
    for block in GUIDE.of(step):
        said += machine.bash(begin + block)
        if step == "3. Publish":  # "write something on your site"
            sign_in(machine).write("by hand")
    return said


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    """Debian 13, where the guide was followed to its end."""
    with existing_site("trixie") as stages:
        for step in CHECKED:
            stages.walk([step], pictures="addpush", anew=("1. The app",))
            assert_works(stages.machine)
        stages.walk([WHOLE_WAY])
        yield stages


def test_each_check_says_what_the_guide_says(stages: Stages) -> None:
    assert [*CHECKED, WHOLE_WAY, TAKEN_OUT] == GUIDE.titles[1:]
    wrong = {
        step: stages.said[step] for step, expected in CHECKED.items() if expected not in stages.said[step]
    }
    assert wrong == {}


def test_the_whole_way_is_gone(stages: Stages) -> None:
    said = dict(line.split(": ", 1) for line in stages.said[WHOLE_WAY].splitlines())
    assert said["publishing"] == "the site has published, last 'new-note' in 'all'"
    assert said["polling"] == "the update came"
    assert said["event stream"].endswith(" ms, by way of RabbitMQ"), said
    assert said["WebSocket"] == "it opens"
    assert said["page"] == "/ loads /static/updates/updates.js"


def test_an_asgi_of_the_sites_own_is_kept(stages: Stages) -> None:
    kept = stages.machine.shell("cat /srv/guestbook/guestbook/asgi.py.before-push")
    assert kept == "# what startproject wrote\n"


def test_the_new_broker_listens_on_the_loopback_only(stages: Stages) -> None:
    """Its clients' port, 5672, Erlang's own, 25672, and that of its port mapper, 4369."""
    found = stages.machine.shell("awk '$4 == \"0A\" { print $2 }' /proc/net/tcp /proc/net/tcp6")
    listening = {(int(port, 16), address) for address, port in (line.split(":") for line in found.split())}
    ports = {5672, 25672, 4369}
    assert {(port, "0100007F") for port in ports} <= listening
    open_to_all = {one for one in listening if one[0] in ports and one[1] not in LOOPBACK}
    assert open_to_all == set()
    assert "guest" not in stages.machine.shell("rabbitmqctl --quiet list_users")


def test_what_one_writes_is_pushed_to_the_other(stages: Stages) -> None:
    alice, bob = sign_in(stages.machine, "alice"), sign_in(stages.machine, "bob")
    with bob.events() as events:
        assert next(events)["event"] == "hello"
        alice.write("hello, Bob")
        update = next(event for event in events if event["event"] == "new-note")
    assert update["payload"] == {"text": "hello, Bob"}
    assert "hello, Bob" in bob.page()


def test_a_real_browser_shows_it_at_once(stages: Stages, windows: Windows) -> None:
    """Its page follows; by polling it would take a minute."""
    page = windows.open(sign_in(stages.machine, "bob"), "/")
    sign_in(stages.machine, "alice").write("seen in Chromium")
    expect(page.locator("#notes li").first).to_have_text("seen in Chromium", timeout=10_000)


@pytest.mark.timeout(900, func_only=True)
def test_the_same_on_debian_12() -> None:
    with existing_site("bookworm") as stages:
        stages.walk([*CHECKED, WHOLE_WAY])
        assert "ms, by way of RabbitMQ" in stages.said[WHOLE_WAY]


@pytest.mark.timeout(300, func_only=True)
@pytest.mark.parametrize("step", CHECKED)
def test_a_step_that_is_left_out_is_named(stages: Stages, step: str) -> None:
    """By what the page's table says, at the place that it says. The last two steps need not be taken."""
    where, what = GUIDE.left_out()[step]
    steps = list(CHECKED)
    after = steps[steps.index(step) + 1 :]
    then = [other for other in after if other not in OPTIONAL or step in OPTIONAL]
    shown, said = stages.without(step, [*then, WHOLE_WAY], until=where)
    assert what in said, said
    assert shown == where


def test_it_is_taken_out_again(stages: Stages) -> None:
    """Last, for it is."""
    machine = stages.machine
    stages.walk([TAKEN_OUT])
    assert set(machine.states()) == {"guestbook"}
    assert_works(machine)
    browser = sign_in(machine)
    assert browser.get("/updates/").status_code == 200
    assert browser.get("/channels/updates/sse").status_code == 404


# ---- the guestbook


def edit(machine: Machine, step: str) -> None:
    """Put what the step shows of the guestbook's view and template into them."""
    if step not in ("3. Publish", "4. The page"):
        return
    folder = "/srv/guestbook/guestbook"
    # A function that is defined again takes the first one's place.
    machine.write(f"{folder}/views.py", "\n\n" + GUIDE.snippet(step, "python"), append=True)
    if step == "4. The page":
        template = f"{folder}/templates/guestbook/index.html"
        page = machine.shell(f"cat {template}")
        machine.write(template, page.replace("</body>", GUIDE.snippet(step, "html") + "</body>"))


class Reader:
    """Somebody who is signed in to the guestbook."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.url = machine.origin
        self.http = requests.Session()
        wait_until(lambda: self._status("/login") == 200, 20, "the guestbook's own page")
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
        """Frames of an event stream, as they come."""
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
    """Somebody signs in, writes, and reads it."""
    alice = sign_in(machine)
    alice.write("still here")
    assert "<li>still here</li>" in alice.page()
