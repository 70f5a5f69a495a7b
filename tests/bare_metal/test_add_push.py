"""docs/how-to/add-push.md, followed on a WSGI-only guestbook (folder guestbook/)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from bare_metal.existing import (
    GUIDE,
    ORIGINAL,
    PROJECT,
    SERVER,
    SETTINGS,
    URLS,
    assert_works,
    check,
    existing_site,
    follow,
    move_behind_a_proxy,
    move_to_sqlite,
    sign_in,
    split_settings,
)
from bare_metal.machine import CommandFailed, Machine, looked_into
from bare_metal.stages import Stages
from harness.chromium import Windows

CHECKED = {
    "1. Install": "Version: ",
    "2. Settings and URLs": "\n401\n",
    "3. Publish": 'published: new-note {"text":"by hand"} in the stream all',
    "4. The page": "page: / loads /static/sluice_updates/page.js",
    "5. Daphne and Nginx": "101 Switching Protocols",
}
"""A text in the output of each step's check."""
WHOLE_WAY = "The end-to-end check"
RABBITMQ = "RabbitMQ"
BY_RABBITMQ = '"way": "layer"'
TAKEN_OUT = "Remove push"
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
"""127.0.0.1 and ::1, in the format of the kernel's socket tables."""


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    """Debian 13, on which the guide was followed to its end."""
    with existing_site(Machine("trixie")) as stages:
        for step in CHECKED:
            stages.walk([step], pictures="addpush", anew=("1. Install",))
            assert_works(stages.machine)
        stages.walk([WHOLE_WAY])
        yield stages


@pytest.fixture(scope="module")
def with_rabbitmq(stages: Stages) -> Stages:
    """The same host, with the optional section."""
    stages.walk([RABBITMQ])
    assert_works(stages.machine)
    return stages


def test_each_check_prints_what_the_guide_promises(stages: Stages) -> None:
    assert [*CHECKED, WHOLE_WAY, RABBITMQ, TAKEN_OUT] == GUIDE.titles[1:]
    wrong = {
        step: stages.said[step] for step, expected in CHECKED.items() if expected not in stages.said[step]
    }
    assert wrong == {}


def test_the_whole_way_is_gone(stages: Stages) -> None:
    said = dict(line.split(": ", 1) for line in stages.said[WHOLE_WAY].splitlines())
    assert said["publishing"] == "the site has published, last 'new-note' in 'all'"
    assert said["polling"] == "the update arrived"
    assert said["event stream"].endswith(" ms, by PostgreSQL's notifications"), said
    assert said["WebSocket"] == "it opens"
    assert said["page"] == "/ loads /static/sluice_updates/page.js"


def test_an_asgi_of_the_sites_own_is_kept(stages: Stages) -> None:
    kept = stages.machine.shell("cat /srv/guestbook/guestbook/asgi.py")
    assert kept == "# what startproject wrote\n"


def test_a_page_that_fails_is_named_by_its_check(stages: Stages) -> None:
    """A static manifest without the new files: the page answers 500."""
    machine = stages.machine
    machine.shell(f"cp {SETTINGS} /root/settings.py")
    storage = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    machine.write(SETTINGS, f'\nSTORAGES = {{"staticfiles": {{"BACKEND": "{storage}"}}}}\n', append=True)
    try:
        machine.shell("supervisorctl restart guestbook")
        with pytest.raises(CommandFailed, match="page: 500: 200 is expected"):
            check(machine, "4. The page")
    finally:
        machine.shell(f"cp /root/settings.py {SETTINGS}; supervisorctl restart guestbook")
    assert_works(machine)


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


def test_rabbitmq_may_wake_it_too(with_rabbitmq: Stages) -> None:
    assert BY_RABBITMQ in with_rabbitmq.said[RABBITMQ]
    said = follow(with_rabbitmq.machine, WHOLE_WAY)
    assert re.search(r"event stream: .* ms, by RabbitMQ", said), said


def test_the_new_broker_listens_on_the_loopback_only(with_rabbitmq: Stages) -> None:
    """RabbitMQ's port 5672, Erlang's 25672, and the port mapper's 4369."""
    stages = with_rabbitmq
    found = stages.machine.shell("awk '$4 == \"0A\" { print $2 }' /proc/net/tcp /proc/net/tcp6")
    listening = {(int(port, 16), address) for address, port in (line.split(":") for line in found.split())}
    ports = {5672, 25672, 4369}
    assert {(port, "0100007F") for port in ports} <= listening
    open_to_all = {one for one in listening if one[0] in ports and one[1] not in LOOPBACK}
    assert open_to_all == set()
    assert "guest" not in stages.machine.shell("rabbitmqctl --quiet list_users")


def test_the_checks_can_use_nginxs_only_address(stages: Stages) -> None:
    """By default, the checks connect to the loopback."""
    machine = stages.machine
    there = {"nginx": machine.address}
    machine.shell(f"cp {SERVER} /root/server; sed -i 's/listen 80/listen {machine.address}:80/' {SERVER}")
    try:
        machine.shell("service nginx restart")
        for step in ("2. Settings and URLs", "4. The page", "5. Daphne and Nginx"):
            assert CHECKED[step] in "\n" + check(machine, step, **there)
        with pytest.raises(CommandFailed, match=r"page: localhost does not answer: .*refused"):
            check(machine, "4. The page")
    finally:
        machine.shell(f"cp /root/server {SERVER}; service nginx restart")


@pytest.mark.timeout(900, func_only=True)
def test_the_same_on_debian_12_by_https_below_a_path_each_block_twice(windows: Windows) -> None:
    with existing_site(Machine("bookworm", "/notes", secure=True), times=2) as stages:
        machine = stages.machine
        before = {name: machine.shell(f"cat {name}") for name in (SETTINGS, URLS, SERVER)}
        stages.walk([*CHECKED, RABBITMQ, WHOLE_WAY])
        for step, expected in CHECKED.items():
            assert expected.replace("/static/", "/notes/static/") in stages.said[step]
        assert BY_RABBITMQ in stages.said[RABBITMQ]
        said = stages.said[WHOLE_WAY]
        assert "ms, by RabbitMQ" in said
        assert "/ loads /notes/static/sluice_updates/page.js" in said

        page = windows.open(sign_in(machine, "bob"), "/")
        sign_in(machine, "alice").write("seen in Chromium")
        expect(page.locator("#notes li").first).to_have_text("seen in Chromium", timeout=10_000)
        page.close()
        _assert_kept_to_https(machine)

        stages.walk([TAKEN_OUT])
        assert_works(machine)
        assert {name: machine.shell(f"cat {name}") for name in before} == before


def _assert_kept_to_https(machine: Machine) -> None:
    """Assert that plain http reaches nothing of Daphne's, although the redirect to https is in a location.

    Also assert that the check fails if the included line isn't the one for https.
    """
    target = "/notes/channels/healthz"
    told = machine.shell(f"curl --silent --head --header 'Host: localhost' http://127.0.0.1{target}")
    assert f"location: https://localhost{target}\r\n" in told.lower()
    machine.shell(f"sed -i 's/channels-https-only.conf/channels.conf/' {SERVER}; service nginx restart")
    with pytest.raises(CommandFailed, match="Without TLS Daphne is reached too"):
        check(machine, "5. Daphne and Nginx")
    assert CHECKED["5. Daphne and Nginx"] in follow(machine, "5. Daphne and Nginx")


@pytest.mark.timeout(300, func_only=True)
def test_the_same_behind_a_proxy_that_does_the_tls(stages: Stages) -> None:
    """Below a path by FORCE_SCRIPT_NAME."""
    first, *others = CHECKED
    picture = stages.picture(first)
    with looked_into(Machine("trixie", "/notes", image=picture, secure=True).power_on()) as machine:
        move_behind_a_proxy(machine)
        assert_works(machine)
        for step in (first, *others):
            assert CHECKED[step].replace("/static/", "/notes/static/") in follow(machine, step, nginx="")
            assert_works(machine)
        said = follow(machine, WHOLE_WAY, nginx="")
        assert re.search("event stream: 3 updates arrived, .* by PostgreSQL's notifications", said)
        assert "WebSocket: it opens" in said
        assert "/ loads /notes/static/sluice_updates/page.js" in said


@pytest.mark.timeout(300, func_only=True)
def test_the_same_on_sqlite_with_settings_for_each_place_and_a_catch_all(stages: Stages) -> None:
    first, second, *others = CHECKED
    with looked_into(stages.before(first)) as machine:
        move_to_sqlite(machine)
        settings = split_settings(machine)
        assert_works(machine)
        base = f"{PROJECT}/guestbook/settings/base.py"
        before = {name: machine.shell(f"cat {name}") for name in (base, URLS)}
        assert CHECKED[first] in follow(machine, first, settings=settings)
        assert "sluice_updates.W001" in follow(machine, second, settings=settings)
        options = GUIDE.snippet(second, "python")
        machine.write(base, "\n" + options, append=True)
        assert "\n401\n" in "\n" + check(machine, second, settings=settings)
        for step in others:
            assert CHECKED[step] in follow(machine, step, settings=settings)
            assert_works(machine)
        said = follow(machine, WHOLE_WAY, settings=settings)
        assert re.search("event stream: 3 updates arrived, .* by a look at SQLite's file", said), said

        follow(machine, TAKEN_OUT, settings=settings)
        assert_works(machine)
        assert machine.shell(f"cat {URLS}") == before[URLS]
        assert machine.shell(f"cat {base}") == before[base] + "\n" + options


@pytest.mark.timeout(300, func_only=True)
@pytest.mark.parametrize("step", CHECKED)
def test_a_skipped_step_is_named(stages: Stages, step: str) -> None:
    """The page's table says where and how one notices it."""
    where, what = GUIDE.left_out()[step]
    steps = list(CHECKED)
    then = steps[steps.index(step) + 1 :]
    shown, said = stages.without(step, [*then, WHOLE_WAY], until=where)
    assert what in said, said
    assert shown == where


def test_it_is_taken_out_again(with_rabbitmq: Stages) -> None:
    """The last test, because it removes push."""
    machine = with_rabbitmq.machine
    with_rabbitmq.walk([TAKEN_OUT])
    assert set(machine.states()) == {"guestbook"}
    assert_works(machine)
    browser = sign_in(machine)
    assert browser.get("/updates/").status_code == 404
    assert browser.get("/channels/updates/sse").status_code == 404
    assert machine.shell(f"cat {SETTINGS} {URLS}") == machine.shell(
        f"cd {ORIGINAL}/guestbook; cat settings.py urls.py"
    )
