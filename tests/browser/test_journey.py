"""A user's actions on the site, in a real browser: view, draw, crop, read, write."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from playwright.sync_api import Locator, Page, expect

from harness.chromium import Windows
from harness.stack import Stack
from harness.volume import sample, voxels

SOON = 15_000  # milliseconds
AXES = ("x", "y", "z")


@pytest.fixture
def viewer(site: Stack, windows: Windows) -> Page:
    """The sample volume's page, live."""
    page = windows.open(site.browser("alice"), f"/volumes/{sample(site).id}/")
    expect(page.locator("#connection")).to_have_text("Live.")
    return page


def canvas(page: Page, axis: str) -> Locator:
    return page.locator(f'.pane[data-axis="{axis}"] canvas')


def drag(page: Page, on: Locator, start: tuple[float, float], stop: tuple[float, float]) -> None:
    """Drag from one point to another, given as shares of the width and height."""
    place = on.bounding_box()
    assert place
    for (across, down), act in ((start, page.mouse.down), (stop, page.mouse.up)):
        page.mouse.move(place["x"] + across * place["width"], place["y"] + down * place["height"], steps=5)
        act()


def box(page: Page) -> dict[str, list[int]]:
    """The box in the form."""
    return {axis: [int(page.input_value(f"#id_{axis}{end}")) for end in (0, 1)] for axis in AXES}


def place(page: Page) -> dict[str, int]:
    """The displayed slices."""
    return {axis: int(page.locator(f'.pane[data-axis="{axis}"] output').inner_text()) for axis in AXES}


def shades(on: Locator) -> int:
    """The number of shades in its middle row: 1 without an image."""
    count: int = on.evaluate(
        """(canvas) => new Set(canvas.getContext("2d")
            .getImageData(0, canvas.height >> 1, canvas.width, 1).data.filter((_, n) => n % 4 === 0)).size"""
    )
    return count


def test_the_whole_journey(site: Stack, windows: Windows, tmp_path: Path) -> None:
    """Sign in, view, draw, order a crop, see its progress, be told without a reload, download. The voxels are
    the volume's.
    """
    page = windows.window().new_page()
    page.goto(f"{site.url}/")
    page.get_by_label("Name").fill("alice")
    page.get_by_label("Password").fill(site.person("alice"))
    page.get_by_role("button", name="Sign in").click()
    page.locator(".gallery a").first.click()
    expect(page.locator("#connection")).to_have_text("Live.")
    for axis in AXES:
        expect(canvas(page, axis)).not_to_have_attribute("data-busy", "")
    assert min(shades(canvas(page, axis)) for axis in AXES) > 20

    before = box(page)
    drag(page, canvas(page, "z"), (0.42, 0.45), (0.55, 0.6))
    drawn = box(page)
    assert drawn["z"] == before["z"] and drawn["x"] != before["x"] and drawn["y"] != before["y"]
    size = {axis: stop - start for axis, (start, stop) in drawn.items()}
    preview = page.locator("#preview-picture")
    expect(preview).to_be_visible()
    expect(preview).to_have_js_property("naturalWidth", size["x"])
    expect(preview).to_have_js_property("naturalHeight", size["y"])
    expect(page.locator("#box-size")).to_contain_text(f"{size['x']} × {size['y']} × {size['z']} voxels")

    page.get_by_role("button", name="Order the crop").click()
    page.wait_for_url("**/crops/")
    page.evaluate("window.sameDocument = true")
    crop = page.locator(".crop").first
    expect(crop).to_have_attribute("data-state", "done", timeout=SOON)
    expect(page.locator("#news li").first).to_contain_text("is ready", timeout=SOON)
    expect(page).to_have_title("(1) My crops · Sluice")
    assert page.evaluate("window.sameDocument")  # the page was not reloaded
    with page.expect_download() as started:
        crop.get_by_role("link", name="Download").click()
    started.value.save_as(tmp_path / "crop.tiff")
    content = tifffile.imread(io.BytesIO((tmp_path / "crop.tiff").read_bytes()))
    np.testing.assert_array_equal(content, voxels(site, sample(site).id, drawn))

    page.get_by_role("link", name="Inbox").click()
    page.get_by_role("button", name="Mark all as read").click()
    expect(page).to_have_title("Inbox · Sluice")


def test_looking_by_mouse_wheel_and_keys(viewer: Page, site: Stack) -> None:
    size = dict(zip(AXES, sample(site).size, strict=True))
    assert place(viewer) == {axis: length // 2 for axis, length in size.items()}
    z = canvas(viewer, "z")
    z.click(position={"x": 200, "y": 200})  # moves the other two slices there
    clicked = place(viewer)
    assert clicked["z"] == size["z"] // 2 and clicked["x"] != size["x"] // 2
    viewer.mouse.wheel(0, 100)
    expect(viewer.locator('.pane[data-axis="z"] output')).to_have_text(str(clicked["z"] + 1))
    for key, expected in (("ArrowDown", clicked["z"]), ("Shift+ArrowUp", clicked["z"] + 10), ("Home", 0)):
        z.press(key)
        assert place(viewer)["z"] == expected
    z.press("End")
    z.press("ArrowUp")
    assert place(viewer)["z"] == size["z"] - 1
    slider = viewer.get_by_role("slider", name="Slice along y")
    slider.fill("7")
    assert place(viewer)["y"] == 7
    slider.press("ArrowRight")
    assert place(viewer)["y"] == 8


def test_a_box_is_moved_pulled_and_typed(viewer: Page) -> None:
    z = canvas(viewer, "z")
    drag(viewer, z, (0.35, 0.35), (0.5, 0.5))
    drawn = box(viewer)
    drag(viewer, z, (0.42, 0.42), (0.52, 0.46))
    moved = box(viewer)
    assert [stop - start for start, stop in moved.values()] == [
        stop - start for start, stop in drawn.values()
    ]
    assert moved["x"][0] > drawn["x"][0]
    viewer.locator("#id_z0").fill("3")
    viewer.locator("#id_z1").fill("2")
    expect(viewer.locator("#box-size")).to_contain_text("This is not a box")
    viewer.locator("#id_z1").fill("9")
    expect(viewer.locator("#box-size")).to_contain_text("× 6 voxels")
    expect(canvas(viewer, "y")).to_have_attribute("aria-label", re.compile("z 3 to 9"))


def test_contrast_changes_the_pictures(viewer: Page) -> None:
    z = canvas(viewer, "z")
    expect(z).not_to_have_attribute("data-busy", "")
    before = z.screenshot()
    with viewer.expect_response(lambda answer: "high=90" in answer.url) as answered:
        viewer.get_by_role("slider", name="White").fill("90")
    assert answered.value.status == 200
    expect(z).not_to_have_attribute("data-busy", "")
    assert z.screenshot() != before
    viewer.get_by_role("button", name="As imported").click()
    expect(viewer.locator("#high-value")).not_to_have_text("90")


def test_a_slice_is_asked_for_once(viewer: Page, site: Stack) -> None:
    """A slice seen before comes from memory; on another page, from the browser's cache."""
    z, there = canvas(viewer, "z"), place(viewer)["z"]
    z.press("ArrowUp")
    expect(z).not_to_have_attribute("data-busy", "")
    viewer.wait_for_load_state("networkidle")
    asked: list[str] = []
    viewer.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    for key in ("ArrowDown", "ArrowUp", "ArrowDown"):
        z.press(key)
    viewer.wait_for_load_state("networkidle")
    assert not {f"{there}.png", f"{there + 1}.png"} & set(asked)
    # this page shows that slice; it loads lazily and does not delay the load event
    viewer.goto(f"{site.url}/volumes/")
    viewer.wait_for_function("document.querySelector('.gallery img').naturalWidth > 0")
    taken = viewer.evaluate(
        """(name) => performance.getEntriesByType("resource")
            .filter((entry) => entry.name.endsWith(name)).map((entry) => entry.transferSize)""",
        f"/z/{there}.png",
    )
    assert taken == [0]


def test_all_tabs_follow(site: Stack, windows: Windows) -> None:
    """A message that is read, unread or deleted in one of a user's windows changes in the others too."""
    carol, alice = site.browser("carol"), site.browser("alice")
    inbox, other = windows.open(carol, "/messages/"), windows.open(carol, "/messages/")
    elsewhere = windows.open(carol, "/volumes/")
    for page in (inbox, other, elsewhere):
        expect(page.locator("#connection")).to_have_text("Live.")
    for number in (1, 2, 3):
        alice.send_message("carol", f"message {number}")
    for page in (inbox, other):
        expect(page.locator(".message h2")).to_have_text(["message 3", "message 2", "message 1"])
    expect(elsewhere).to_have_title("(3) Volumes · Sluice")
    first = inbox.locator(".message").first
    first.get_by_role("button", name="Mark as read").click()
    expect(other.locator(".message.unread h2")).to_have_text(["message 2", "message 1"])
    expect(elsewhere).to_have_title("(2) Volumes · Sluice")
    expect(elsewhere.locator("#news li")).to_have_count(2)
    first.get_by_role("button", name="Mark as unread").click()
    expect(other.locator(".message.unread")).to_have_count(3)
    first.get_by_role("button", name="Delete").click()
    expect(other.locator(".message h2")).to_have_text(["message 2", "message 1"])
    inbox.get_by_role("button", name="Mark all as read").click()
    for page in (inbox, other, elsewhere):
        expect(page.locator("#unread")).to_be_hidden()
        expect(page.locator("#news li")).to_have_count(0)


def test_the_focus_stays_where_it_was(site: Stack, windows: Windows) -> None:
    page = windows.open(site.browser("dave"), "/messages/")
    expect(page.locator("#connection")).to_have_text("Live.")
    site.browser("alice").send_message("dave", "one")
    button = page.locator(".message").first.get_by_role("button", name="Delete")
    button.focus()
    site.browser("alice").send_message("dave", "two")
    expect(page.locator(".message h2")).to_have_text(["two", "one"])
    assert page.evaluate("document.activeElement.id").startswith("delete-")
    page.locator(".message.unread").last.get_by_role("button", name="Mark as read").press("Enter")
    expect(page.locator(".message.unread")).to_have_count(1)
    assert page.evaluate("document.activeElement.id").startswith("mark-")


MARKUP = "<img src=x onerror=alert(1)> & </title><script>alert(2)</script> \u202egnp.exe"


def test_markup_is_shown_as_text_wherever_it_appears(site: Stack, windows: Windows) -> None:
    page = windows.open(site.browser("erin"), "/messages/")
    expect(page.locator("#connection")).to_have_text("Live.")
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    site.browser("alice").send_message("erin", MARKUP, f"{MARKUP}\n\n{MARKUP}")
    expect(page.locator("#news li a")).to_have_text(f"New message: {MARKUP}")
    expect(page.locator(".message h2")).to_have_text(MARKUP)
    expect(page.locator(".message .text p")).to_have_text([MARKUP, MARKUP])
    assert page.locator("main img, main script").count() == 0


def test_writing_with_a_mistake_and_without(site: Stack, windows: Windows) -> None:
    windows.expect_complaints("status of 422")  # Chromium's own message, about the page with the mistake
    page = windows.open(site.browser("alice"), "/messages/new/")
    reader = windows.open(site.browser("bob"), "/volumes/")
    expect(reader.locator("#connection")).to_have_text("Live.")
    page.get_by_label("To").fill("nobody at all")
    page.get_by_label("Title").fill("By the form")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".mistake")).to_have_text("There is no user of this name.")
    page.get_by_label("To").fill("bob")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".note")).to_have_text("Your message to bob was sent.")
    expect(reader.locator("#news li").first).to_contain_text("By the form")


def test_without_scripts_the_forms_do_it(site: Stack, windows: Windows) -> None:
    windows.expect_complaints()
    window = windows.window(site.browser("frank"))
    window.route("**/*.js", lambda route: route.abort())
    site.browser("alice").send_message("frank", "plain")
    page = windows.open(site.browser("frank"), f"/volumes/{sample(site).id}/", window=window)
    assert page.locator(".pane img").count() == 3
    page.locator("#id_x0").fill("70")
    page.get_by_role("button", name="Order the crop").click()
    expect(page.locator(".note")).to_contain_text("is queued")
    page.goto(f"{site.url}/messages/")
    page.get_by_role("button", name=re.compile("Mark as read.*plain")).click()
    expect(page.get_by_role("button", name=re.compile("Mark as unread.*plain"))).to_be_visible()


def test_a_small_screen_has_no_sideways_scrolling(site: Stack, windows: Windows) -> None:
    page = windows.open(site.browser("alice"), "/volumes/")
    page.set_viewport_size({"width": 360, "height": 740})
    paths = (
        "/volumes/",
        f"/volumes/{sample(site).id}/",
        "/crops/",
        "/messages/",
        "/messages/new/",
        "/connection/",
    )
    for path in paths:
        page.goto(site.url + path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
