"""page.js: the connection of a page with the template tag, shared by all its scripts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from harness.chromium import Windows
from harness.peer import MODULES, STREAM, Answer, Peer
from harness.waiting import wait_until

TAGGED = "/tagged"
SCRIPT = f'<script type="module" src="{MODULES}page.js"></script>'
# A module of the page's own, and a script that is not a module.
OWN = f"""
import {{ updates }} from "{MODULES}page.js";
window.updates = updates;
window.got = [];
updates.on("numbered", ({{ number }}) => got.push(number));
"""
CLASSIC = """
window.seen = [];
document.addEventListener("sluice:numbered", ({ detail }) => seen.push(detail.payload.number));
window.addEventListener("sluice:numbered", ({ detail }) => { window.last = [detail.stream, detail.event]; });
"""

Load = Callable[..., Page]


@pytest.fixture
def load(peer: Peer, windows: Windows) -> Load:
    """Loads a page with the tag. `data` overrides what the tag prints; `body` follows it."""

    def load(*, data: dict[str, Any] | None = None, body: str = "", script: str = SCRIPT) -> Page:
        printed = {"root": "/", "poll": "/updates/", "positions": {STREAM: "0-0"}, "reload": True}
        text = json.dumps(printed | (data or {}))
        html = (
            '<!doctype html><title>tagged</title><link rel="icon" href="data:,">'
            f'<script id="sluice-updates" type="application/json">{text}</script>{script}'
            f'{body}<script type="module" src="/own.js"></script><p id="text">text</p>'
        )
        peer.files[TAGGED] = Answer(200, html, "text/html")
        peer.files.setdefault("/own.js", Answer(200, OWN, "text/javascript"))
        peer.files.setdefault("/classic.js", Answer(200, CLASSIC, "text/javascript"))
        page = windows.window().new_page()
        page.goto(peer.url + TAGGED)
        return page

    return load


def live(page: Page) -> Page:
    wait_until(lambda: page.evaluate("updates.state") == "live", 15, "live")
    return page


def test_a_module_gets_each_update(peer: Peer, load: Load) -> None:
    page = live(load())
    peer.publish(2)
    wait_until(lambda: page.evaluate("got") == [1, 2, 3, 4, 5], 5, "the updates")
    assert page.evaluate("[updates.root, updates.pollSeconds]") == [f"{peer.url}/", 60]


def test_nothing_is_missed_by_a_module_that_loads_late(peer: Peer, load: Load) -> None:
    """The tag's own script runs two seconds before. Updates 1 to 3 would be delivered by then."""
    peer.slow["/own.js"] = 2
    page = live(load())
    wait_until(lambda: page.evaluate("got") == [1, 2, 3], 5, "the updates")


def test_a_module_that_is_loaded_after_the_page(peer: Peer, load: Load) -> None:
    peer.files["/own.js"] = Answer(200, "", "text/javascript")
    page = load(script="")
    page.evaluate(f"import('{MODULES}page.js').then(({{ updates }}) => {{ window.updates = updates; }})")
    live(page)


def test_updates_are_events_of_the_document(peer: Peer, load: Load) -> None:
    page = live(load(body='<script src="/classic.js"></script>'))
    peer.publish(2)
    wait_until(lambda: page.evaluate("seen") == [1, 2, 3, 4, 5], 5, "the events")
    assert page.evaluate("last") == [STREAM, "numbered"]


def test_two_copies_of_the_module_share_one_connection(peer: Peer, load: Load) -> None:
    """Such as its name with a hash, in the tag, and without, in a static module's import."""
    page = live(load())
    same = page.evaluate(
        f"import('{MODULES}page.js?copy').then((other) => other.updates === updates)",
    )
    assert same is True
    assert peer.connections() == 1 and len(peer.attempts("websocket")) == 1


def test_it_polls_the_projects_own_url(peer: Peer, load: Load, windows: Windows) -> None:
    windows.expect_complaints()
    peer.poll_path = "/push/news/"
    peer.all_rules(Answer(426), "websocket", "sse")
    page = load(data={"poll": "/push/news/", "pollSeconds": 1})
    wait_until(lambda: page.evaluate("updates.state") == "polling", 10, "polling")
    peer.publish(2)
    wait_until(lambda: page.evaluate("got") == [1, 2, 3, 4, 5], 10, "the updates")


def test_below_a_path(peer: Peer, load: Load, windows: Windows) -> None:
    windows.expect_complaints()
    page = load(data={"root": "/notes/", "poll": "/notes/push/"})
    wait_until(lambda: page.evaluate("window.updates?.root") == f"{peer.url}/notes/", 5, "the root")


# ---- visitors without updates


@pytest.mark.parametrize("state", ["signed-out", "stopped"])
def test_a_page_that_receives_nothing(peer: Peer, load: Load, state: str) -> None:
    """The tag prints no script, but the page's own modules still import it."""
    page = load(data={"positions": {}, "state": state}, script="")
    wait_until(lambda: page.evaluate("window.updates?.state"), 5, "the module")
    assert page.evaluate("updates.state") == state and not peer.asked
    page.evaluate("dispatchEvent(new Event('online'))")
    page.evaluate("updates.reconnect()")  # the user has signed in
    live(page)


def test_a_page_without_the_tag(peer: Peer, windows: Windows) -> None:
    windows.expect_complaints("This page has no")
    page = windows.window().new_page()
    page.goto(f"{peer.url}/page")
    error = page.evaluate(f"import('{MODULES}page.js').catch((error) => error.message)")
    assert error == "This page has no {% sluice_updates %}: put the tag into its template."


# ---- losses


TOLD = """() => {
  window.same = true;
  window.told = new Promise((resolve) => updates.addEventListener("lost", () => resolve()));
}"""


def lose(peer: Peer) -> None:
    peer.rewrite()
    peer.close(4010)


def test_it_loads_the_page_again_but_not_without_end(peer: Peer, load: Load) -> None:
    """After the second load, the positions are of another past still, as with another database."""
    page = live(load())
    loads: list[str] = []
    page.on("load", lambda page: loads.append(page.url))
    lose(peer)
    wait_until(lambda: page.evaluate("1") and loads, 10, "the page again")
    live(page)
    page.evaluate(TOLD)
    lose(peer)
    page.evaluate("told.then(() => new Promise((resolve) => setTimeout(resolve, 500)))")
    assert page.evaluate("window.same") is True and len(loads) == 1


def test_a_listener_may_prevent_that(peer: Peer, load: Load) -> None:
    page = live(load())
    page.evaluate(
        """() => {
          window.same = true;
          window.told = new Promise((resolve) => {
            updates.addEventListener("lost", (event) => {
              event.preventDefault();
              resolve(event.detail.streams);
            });
          });
        }"""
    )
    lose(peer)
    assert page.evaluate("told") == [STREAM]
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 500))")
    assert page.evaluate("window.same") is True
    live(page)


def test_the_page_of_a_post_is_not_loaded_again(peer: Peer, load: Load) -> None:
    page = live(load(data={"reload": False}))
    page.evaluate(TOLD)
    lose(peer)
    page.evaluate("told.then(() => new Promise((resolve) => setTimeout(resolve, 500)))")
    assert page.evaluate("window.same") is True


def test_it_fetches_the_page_for_its_state(peer: Peer, load: Load) -> None:
    page = live(load())
    page.evaluate(
        f"""async () => {{
          const {{ fetchPage }} = await import("{MODULES}page.js");
          window.same = true;
          updates.getState = async ({{ signal }}) => {{
            const {{ page, positions }} = await fetchPage({{ signal }});
            document.getElementById("text").replaceWith(page.getElementById("text"));
            return positions;
          }};
        }}"""
    )
    peer.rewrite()
    html = peer.files[TAGGED].body.replace("0-0", peer.head).replace(">text<", ">fresh<")
    peer.files[TAGGED] = Answer(200, html, "text/html")
    peer.close(4010)
    wait_until(lambda: page.text_content("#text") == "fresh", 10, "the new text")
    live(page)
    assert page.evaluate("window.same") is True and page.evaluate("updates.positions") == {STREAM: peer.head}


@pytest.mark.parametrize("answer", [Answer(302, headers=(("Location", "/page"),)), Answer(404), Answer(200)])
def test_a_page_that_can_not_be_fetched(peer: Peer, load: Load, windows: Windows, answer: Answer) -> None:
    windows.expect_complaints()
    page = live(load())
    peer.files[TAGGED] = answer
    error = page.evaluate(
        f"import('{MODULES}page.js').then(({{ fetchPage }}) => fetchPage()).catch((error) => error.message)"
    )
    assert "answers" in error or "has no {% sluice_updates %}" in error
