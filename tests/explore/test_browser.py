"""The page in a browser: a slider, a preview, the divider, the map, the command, a saved picture.

Needs playwright (from pip) and a Chromium of the system; see CONTRIBUTING.md.
"""

from __future__ import annotations

import re
import shutil
import threading

import pytest

from unconv.explore.server import Server
from unconv.explore.site import Site
from unconv.explore.subject import Subject

from .small_site import Remembered, photograph

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
PATIENCE = 120_000  # ms, of machines that are busy


@pytest.fixture(scope="module")
def site():
    return Site(Subject("y.png", photograph(300), None, True), Remembered())


@pytest.fixture(scope="module")
def page(site):
    """The page, opened, and all that the browser complained of."""
    playwright.expect.set_options(timeout=PATIENCE)
    with Server(site) as server, playwright.sync_playwright() as driver:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1200, "height": 760})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(server.url)
        yield page
        browser.close()
        server.shutdown()
        thread.join()
        assert server.close()


def assert_on(page, selector: str):
    return playwright.expect(page.locator(selector))


def settled(page) -> None:
    assert_on(page, "#status").to_have_text(re.compile("^Restored with"))


def test_the_page_shows_before_and_after(page):
    assert_on(page, "#after").to_be_visible()
    assert_on(page, "#name").to_have_text("y.png")
    assert_on(page, "#command").to_have_text(re.compile("--psf disk:3$"))
    settled(page)
    assert not page.complaints


def test_a_slider_moves_the_psf(page):
    before = page.get_attribute("#after", "src")
    page.focus("#slider-0")
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert_on(page, "#after").not_to_have_attribute("src", before)
    radius = page.input_value("#number-0")
    assert float(radius) < 3
    assert_on(page, "#command").to_have_text(re.compile(f"--psf disk:{radius}$"))
    settled(page)


def test_the_evidence_tells_the_radius_and_is_taken(page):
    take = ".best button"
    assert_on(page, take).to_be_visible()
    best = float(page.text_content(take).split()[1])
    assert abs(best - 2) < 0.15
    page.click(take)
    assert_on(page, take).to_be_disabled()
    assert_on(page, "#command").to_have_text(re.compile(f"--psf disk:{best:g}$"))
    settled(page)


def test_auto_reads_the_psf_and_moves_the_sliders_there(page):
    page.click("#auto")
    assert_on(page, "#auto").to_be_enabled()
    found = page.text_content("#found")
    family, _, numbers = found.split(" (")[0].partition(":")
    assert_on(page, '[role="radio"][aria-checked="true"]').to_have_text(family)
    assert float(page.input_value("#number-0")) == float(numbers.split(",")[0])
    settled(page)
    page.click("text=/^disk$/")
    settled(page)


def test_the_divider_is_dragged(page):
    handle = page.locator("#divider").bounding_box()
    y = handle["y"] + handle["height"] / 2
    page.mouse.move(handle["x"] + handle["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(200, y, steps=5)
    page.mouse.up()
    box = page.locator("#stage").bounding_box()
    assert_on(page, "#divider").to_have_attribute("aria-valuenow", str(round(20000 / box["width"])))
    page.focus("#divider")
    page.keyboard.press("ArrowRight")
    value = str(round(20000 / box["width"] + 2))
    assert_on(page, "#divider").to_have_attribute("aria-valuenow", value)


def test_it_is_zoomed_and_moved(page):
    whole = page.text_content("#zoom")
    page.mouse.move(300, 300)
    for _ in range(4):
        page.mouse.wheel(0, -300)
    assert_on(page, "#zoom").not_to_have_text(whole)
    left = page.locator("#before").bounding_box()["x"]
    page.mouse.down()
    page.mouse.move(340, 320, steps=4)
    page.mouse.up()
    assert abs(page.locator("#before").bounding_box()["x"] - left - 40) < 2


def test_a_prior_with_a_strength(page):
    page.select_option("#prior", "tv")
    assert_on(page, "#status").to_have_text(re.compile("^Restored with tv"))
    assert_on(page, "#weight-value").not_to_have_text("auto")
    page.focus("#weight")
    page.keyboard.press("ArrowRight")
    assert_on(page, "#weight-auto").not_to_be_checked()
    settled(page)


def test_motion_has_two_sliders_with_evidence_each(page):
    page.select_option("#prior", "wiener")
    page.click("text=motion")
    assert_on(page, ".parameter").to_have_count(2)
    assert_on(page, ".best button").to_have_count(2)
    settled(page)


def test_the_command_is_copied(page):
    page.click("#copy")
    assert_on(page, "#copy").to_have_text("Copied")
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied == page.text_content("#command")


def test_the_picture_is_saved(page, site):
    page.click("#save")
    assert_on(page, "#saved").to_have_text("Saved x.png. ")
    assert site.command.saved[-1].family == "motion"


def test_the_browser_complained_of_nothing(page):
    assert page.screenshot().startswith(b"\x89PNG")
    assert not page.complaints
