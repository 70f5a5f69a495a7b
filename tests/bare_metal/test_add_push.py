"""docs/how-to/add-push.md, followed on a WSGI-only guestbook (folder guestbook/)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from bare_metal.existing import (
    GUIDE,
    SERVER,
    SETTINGS,
    assert_works,
    check,
    existing_site,
    follow,
    move_behind_a_proxy,
    move_to_sqlite,
    sign_in,
)
from bare_metal.machine import CommandFailed, Machine, looked_into
from bare_metal.stages import Stages
from harness.chromium import Windows

CHECKED = {
    "1. The app": "no issues",
    "2. Polling": "\n401\n",
    "3. Publish": 'published: new-note {"text":"by hand"} in the stream all',
    "4. The page": "/static/sluice_updates/updates.js: ",
    "5. Daphne": '"status": "ok"',
    "6. Nginx": "101 Switching Protocols",
    "7. RabbitMQ": "publisher",
    "8. The channel layer": '"way": "layer"',
}
"""A text in the output of each step's check."""
WHOLE_WAY = "The end-to-end check"
TAKEN_OUT = "Remove push"
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
"""127.0.0.1 and ::1, in the format of the kernel's socket tables."""
OPTIONAL = ("7. RabbitMQ", "8. The channel layer")


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    """Debian 13, on which the guide was followed to its end."""
    with existing_site(Machine("trixie")) as stages:
        for step in CHECKED:
            stages.walk([step], pictures="addpush", anew=("1. The app",))
            assert_works(stages.machine)
        stages.walk([WHOLE_WAY])
        yield stages


def test_each_check_prints_what_the_guide_promises(stages: Stages) -> None:
    assert [*CHECKED, WHOLE_WAY, TAKEN_OUT] == GUIDE.titles[1:]
    wrong = {
        step: stages.said[step] for step, expected in CHECKED.items() if expected not in stages.said[step]
    }
    assert wrong == {}


def test_the_whole_way_is_gone(stages: Stages) -> None:
    said = dict(line.split(": ", 1) for line in stages.said[WHOLE_WAY].splitlines())
    assert said["publishing"] == "the site has published, last 'new-note' in 'all'"
    assert said["polling"] == "the update arrived"
    assert said["event stream"].endswith(" ms, by RabbitMQ"), said
    assert said["WebSocket"] == "it opens"
    assert said["page"] == "/ loads /static/sluice_updates/updates.js"


def test_an_asgi_of_the_sites_own_is_kept(stages: Stages) -> None:
    kept = stages.machine.shell("cat /srv/guestbook/guestbook/asgi.py")
    assert kept == "# what startproject wrote\n"


def test_the_new_broker_listens_on_the_loopback_only(stages: Stages) -> None:
    """RabbitMQ's port 5672, Erlang's 25672, and the port mapper's 4369."""
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
    """The page uses push; by polling, the note would take a minute."""
    page = windows.open(sign_in(stages.machine, "bob"), "/")
    sign_in(stages.machine, "alice").write("seen in Chromium")
    expect(page.locator("#notes li").first).to_have_text("seen in Chromium", timeout=10_000)


def test_the_checks_can_use_nginxs_only_address(stages: Stages) -> None:
    """By default, the checks connect to the loopback."""
    machine = stages.machine
    there = {"nginx": machine.address}
    machine.shell(f"cp {SERVER} /root/server; sed -i 's/listen 80/listen {machine.address}:80/' {SERVER}")
    try:
        machine.shell("service nginx restart")
        for step in ("2. Polling", "4. The page", "5. Daphne", "6. Nginx"):
            assert CHECKED[step] in "\n" + check(machine, step, **there)
        with pytest.raises(CommandFailed, match=r"Failed to connect to (127\.0\.0\.1|localhost) port 80"):
            check(machine, "4. The page")
    finally:
        machine.shell(f"cp /root/server {SERVER}; service nginx restart")


@pytest.mark.timeout(900, func_only=True)
def test_the_same_on_debian_12_by_https_below_a_path_each_block_twice(windows: Windows) -> None:
    with existing_site(Machine("bookworm", "/notes", secure=True), times=2) as stages:
        machine = stages.machine
        before = {name: machine.shell(f"cat {name}") for name in (SETTINGS, SERVER)}
        stages.walk([*CHECKED, WHOLE_WAY])
        for step, expected in CHECKED.items():
            assert expected in stages.said[step]
        said = stages.said[WHOLE_WAY]
        assert "ms, by RabbitMQ" in said
        assert "/ loads /notes/static/sluice_updates/updates.js" in said

        page = windows.open(sign_in(machine, "bob"), "/")
        sign_in(machine, "alice").write("seen in Chromium")
        expect(page.locator("#notes li").first).to_have_text("seen in Chromium", timeout=10_000)
        page.close()
        _assert_kept_to_https(machine)

        stages.walk([TAKEN_OUT])
        assert_works(machine)
        assert machine.shell(f"cat {SERVER}") == before[SERVER]
        assert machine.shell(f"cat {SETTINGS}").split() == [
            *before[SETTINGS].split(),
            *("INSTALLED_APPS", "+=", '["sluice_updates"]'),
        ]


def _assert_kept_to_https(machine: Machine) -> None:
    """Assert that plain http reaches nothing of Daphne's, although the redirect to https is in a location.

    Also assert that the check fails if the included line isn't the one for https.
    """
    target = "/notes/channels/healthz"
    told = machine.shell(f"curl --silent --head --header 'Host: localhost' http://127.0.0.1{target}")
    assert f"location: https://localhost{target}\r\n" in told.lower()
    machine.shell(f"sed -i 's/channels-https-only.conf/channels.conf/' {SERVER}; service nginx restart")
    with pytest.raises(CommandFailed, match="Without TLS Daphne is reached too"):
        check(machine, "6. Nginx")
    assert CHECKED["6. Nginx"] in follow(machine, "6. Nginx")


@pytest.mark.timeout(300, func_only=True)
def test_the_same_behind_a_proxy_that_does_the_tls(stages: Stages) -> None:
    """Below a path by FORCE_SCRIPT_NAME, up to the step at which updates arrive by the database."""
    first, *others = [step for step in CHECKED if step not in OPTIONAL]
    picture = stages.picture(first)
    with looked_into(Machine("trixie", "/notes", image=picture, secure=True).power_on()) as machine:
        move_behind_a_proxy(machine)
        assert_works(machine)
        for step in (first, *others):
            assert CHECKED[step].replace("/static/", "/notes/static/") in follow(machine, step, nginx="")
            assert_works(machine)
        said = follow(machine, WHOLE_WAY, nginx="")
        assert re.search("event stream: 3 updates arrived, .* by the database", said)
        assert "WebSocket: it opens" in said
        assert "/ loads /notes/static/sluice_updates/updates.js" in said


@pytest.mark.timeout(300, func_only=True)
def test_the_same_on_sqlite(stages: Stages) -> None:
    first, *others = CHECKED
    with looked_into(stages.before(first)) as machine:
        move_to_sqlite(machine)
        assert "sluice_updates.W001" in follow(machine, first)
        options = GUIDE.snippet(first, "python")
        machine.write(SETTINGS, "\n" + options, append=True)
        assert CHECKED[first] in check(machine, first)
        for step in others:
            assert CHECKED[step] in follow(machine, step)
            assert_works(machine)
        assert "ms, by RabbitMQ" in follow(machine, WHOLE_WAY)


@pytest.mark.timeout(300, func_only=True)
@pytest.mark.parametrize("step", CHECKED)
def test_a_skipped_step_is_named(stages: Stages, step: str) -> None:
    """The page's table says where and how one notices it. The last two steps are optional."""
    where, what = GUIDE.left_out()[step]
    steps = list(CHECKED)
    after = steps[steps.index(step) + 1 :]
    then = [other for other in after if other not in OPTIONAL or step in OPTIONAL]
    shown, said = stages.without(step, [*then, WHOLE_WAY], until=where)
    assert what in said, said
    assert shown == where


def test_it_is_taken_out_again(stages: Stages) -> None:
    """The last test, because it removes push."""
    machine = stages.machine
    stages.walk([TAKEN_OUT])
    assert set(machine.states()) == {"guestbook"}
    assert_works(machine)
    browser = sign_in(machine)
    assert browser.get("/updates/").status_code == 200
    assert browser.get("/channels/updates/sse").status_code == 404
