"""The page as a person has it before them, in a real browser."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from restorecli.photo import Photo
from restorecli.report import Entry, Scores, capture
from tests.report.conftest import BLUE, RED, Browser, Make, plain


def _split(browser: Browser) -> int:
    return int(browser.find("#divider").get_attribute("aria-valuenow"))


def _near(colour: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) < 12


def _zoom(browser: Browser) -> str:
    return browser.find("#zoom").get_property("value")


def test_the_divider_is_dragged_and_shows_both_photos(browser: Browser, make_page: Make) -> None:
    browser.open(make_page())
    photo = browser.box("#plane")
    middle = photo["y"] + photo["height"] * 0.25
    at = {part: photo["x"] + photo["width"] * part for part in (0.1, 0.4, 0.5, 0.6, 0.9)}
    assert (_split(browser), browser.find("#divider").accessible_name) == (50, "Part that shows the photo before")
    assert _near(browser.colour(at[0.4], middle), RED) and _near(browser.colour(at[0.6], middle), BLUE)
    browser.drag((at[0.5], middle), (at[0.9], middle))
    assert _split(browser) == 90
    assert _near(browser.colour(at[0.6], middle), RED)
    # From anywhere on the photo, and not beyond its edge.
    browser.drag((at[0.6], middle), (photo["x"] - 40, middle))
    assert _split(browser) == 0
    assert _near(browser.colour(at[0.1], middle), BLUE)


def test_keys_move_the_divider(browser: Browser, make_page: Make) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(make_page())
    browser.press(Keys.TAB)
    assert browser.run("return document.activeElement.id") == "divider"
    found = []
    for key in (
        Keys.ARROW_LEFT,
        Keys.ARROW_RIGHT,
        Keys.ARROW_UP,
        Keys.PAGE_DOWN,
        Keys.HOME,
        Keys.END,
        Keys.ARROW_RIGHT,
    ):
        browser.press(key)
        found.append(_split(browser))
    assert found == [49, 50, 51, 41, 0, 100, 100]
    assert browser.find("#divider").get_attribute("aria-valuetext") == "100 % before, 0 % after"
    outline = browser.run("return getComputedStyle(document.querySelector('.grip')).outlineStyle")
    assert outline == "solid"


def test_zoom_and_pan(browser: Browser, make_page: Make) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    pair = plain(RED, 1800, 1500), plain(BLUE, 1800, 1500)
    browser.open(make_page(pair))
    stage = browser.box("#stage")
    fitted = browser.box("#plane")
    assert fitted["height"] == pytest.approx(stage["height"], abs=1)
    browser.find("#full").click()
    assert (_zoom(browser), browser.find("#full").get_attribute("aria-pressed")) == ("100 %", "true")
    assert browser.box("#before img")["width"] == pytest.approx(1800)
    # Zoomed in the photo is dragged, by mouse and keys, and the divider by its handle.
    before = browser.box("#plane")
    browser.drag((stage["x"] + 100, stage["y"] + 100), (stage["x"] + 160, stage["y"] + 60))
    moved = browser.box("#plane")
    assert (moved["x"] - before["x"], moved["y"] - before["y"]) == pytest.approx((60, -40))
    assert _split(browser) == 50
    browser.find("#divider").send_keys(Keys.SHIFT, Keys.ARROW_RIGHT)
    assert browser.box("#plane")["x"] == pytest.approx(moved["x"] - 60)
    middle = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    browser.drag(middle, (stage["x"] + stage["width"] * 0.75, middle[1]))
    assert _split(browser) == 75
    # It never leaves the stage.
    browser.drag((stage["x"] + 50, stage["y"] + 50), (stage["x"] + 5000, stage["y"] + 5000))
    assert (browser.box("#plane")["x"], browser.box("#plane")["y"]) == pytest.approx((stage["x"], stage["y"]), abs=1)
    browser.press("0")
    assert browser.box("#plane") == pytest.approx(fitted)
    # The wheel holds what is under the pointer.
    x, y = stage["x"] + 0.4 * stage["width"], stage["y"] + 0.4 * stage["height"]
    point = (x - fitted["x"]) / fitted["width"]
    browser.wheel(x, y, -400)
    browser.wait("return document.getElementById('stage').classList.contains('zoomed')")
    zoomed = browser.box("#plane")
    assert (x - zoomed["x"]) / zoomed["width"] == pytest.approx(point, abs=1e-3)
    ActionChains(browser.driver).double_click(browser.find("#stage")).perform()
    assert browser.box("#plane") == pytest.approx(fitted)
    browser.press("1", "+")
    assert _zoom(browser) == "125 %"


def test_fingers_move_the_divider_and_pinch(browser: Browser, make_page: Make) -> None:
    browser.dress(390, 844, scale=2)
    browser.open(make_page(count=3))
    photo = browser.box("#plane")
    x, y = photo["x"] + photo["width"] / 2, photo["y"] + photo["height"] * 0.3
    browser.touch([(x, y)], [(x + 20, y)], [(photo["x"] + photo["width"] * 0.8, y)])
    assert _split(browser) == 80
    browser.touch([(x - 30, y), (x + 30, y)], [(x - 45, y), (x + 45, y)], [(x - 60, y), (x + 60, y)])
    assert browser.box("#plane")["width"] == pytest.approx(2 * photo["width"], rel=0.05)
    browser.find("#full").click()
    # One photo pixel is one pixel of the screen, of which there are two to the length.
    assert browser.box("#plane")["width"] == pytest.approx(150)


def test_a_reduced_photo_has_a_sharp_detail(browser: Browser, make_page: Make) -> None:
    from selenium.webdriver.common.keys import Keys

    random = np.random.default_rng(0)
    pixels = np.full((1500, 2000, 3), 128, np.uint8)
    pixels[650:950, 900:1200] = random.integers(0, 2, (300, 300, 1), np.uint8) * 255
    page = make_page((Photo(np.full_like(pixels, 128)), Photo(pixels)), share=400_000)
    browser.open(page)
    assert "Shown reduced to " in browser.find("#about .note").text
    frame = "return getComputedStyle(document.getElementById('frame')).display"
    assert browser.run(frame) == "none"
    browser.find("#full").click()
    assert browser.run(frame) == "block"
    box = browser.box("#frame")
    stage = browser.box("#stage")
    # It lies in the middle of the stage as far as the photo reaches, and its pixels are those of the photo.
    assert box["x"] + box["width"] / 2 == pytest.approx(stage["x"] + stage["width"] / 2, abs=1)
    left, top = box["x"] - browser.box("#plane")["x"], box["y"] - browser.box("#plane")["y"]
    browser.find("#divider").send_keys(Keys.HOME)
    for row, column in ((700, 950), (700, 951), (701, 951), (702, 1000), (750, 1150)):
        assert left <= column < left + box["width"] and top <= row < top + box["height"]
        seen = browser.colour(browser.box("#plane")["x"] + column + 0.5, browser.box("#plane")["y"] + row + 0.5)
        assert (seen[1] > 127) == (pixels[row, column, 1] > 127)


def test_a_folder_of_many_photos(browser: Browser, make_page: Make) -> None:
    from selenium.webdriver.support.ui import Select

    previews = capture(plain(RED), plain(BLUE), 50_000).encode()
    scores = {"psnr": 20.0, "ssim": 0.5, "psnr_y": 21.0, "ssim_y": 0.6}
    entries = [
        Entry(f"day{n % 7}/{n:03}.jpg", "restored", None, (), Scores(scores, scores | {"psnr": 20 + n % 9}), previews)
        for n in range(300)
    ]
    entries[4] = Entry("day4/004.jpg", "failed", "the JPEG file is cut short")
    browser.open(make_page(*entries), "#photo=7")
    assert browser.find("#place").text.startswith("7 / 300")
    assert browser.find("#about h2").text == "day6/006.jpg"
    assert browser.run("return document.querySelectorAll('.side img').length") == 2
    # However quickly one comes after the other.
    key = "new KeyboardEvent('keydown', {key: 'p', bubbles: true})"
    browser.run(f"for (const _ of 'pp') document.body.dispatchEvent({key})")
    browser.settled()
    assert browser.find("#about h2").text == "day4/004.jpg"
    assert browser.find("#about .reason").text == "Failed: the JPEG file is cut short"
    assert browser.find("#nothing").is_displayed() and not browser.find("#in").is_enabled()
    browser.find("#next").click()
    browser.settled()
    assert browser.find("#about h2").text == "day5/005.jpg"
    browser.find("#find").send_keys("day4/")
    browser.wait("return document.querySelectorAll('.tile:not([hidden])').length === 43")
    Select(browser.find("#status")).select_by_visible_text("failed")
    browser.wait("return document.querySelectorAll('.tile:not([hidden])').length === 1")
    browser.find("#find").clear()
    Select(browser.find("#status")).select_by_visible_text("all")
    Select(browser.find("#order")).select_by_visible_text("highest PSNR first")
    browser.find(".tile a").click()
    browser.settled()
    assert browser.find("#about h2").text == "day1/008.jpg"
    assert "+8.00" in browser.find("#about table").text
    assert "20.00 \N{RIGHTWARDS ARROW} 23.9" in browser.find(".means").text


@pytest.mark.parametrize(("width", "height"), [(1200, 800), (390, 844), (320, 640)])
def test_it_fits_and_suits_the_eye(width: int, height: int, browser: Browser, make_page: Make) -> None:
    page = make_page(count=5)
    grounds = []
    for dark in (False, True):
        browser.dress(width, height, dark=dark)
        browser.open(page)
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        grounds.append(sum(browser.colour(2, 2)))
        # No text fades into what is behind it.
        contrasts = browser.run(CONTRASTS)
        assert min(contrasts.values()) >= 4.5, contrasts
    assert grounds[0] > 600 and grounds[1] < 150


CONTRASTS = """
const light = (text) => {
  const linear = (c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const [r, g, b] = text.match(/[\\d.]+/g).map((n) => linear(n / 255));
  return .2126 * r + .7152 * g + .0722 * b;
};
const ground = (element) => {
  const own = getComputedStyle(element).backgroundColor;
  return own !== "rgba(0, 0, 0, 0)" ? own : ground(element.parentElement);
};
const found = {};
const texts = "h1, h2, dt, dd, .name, .counts li, button:enabled, #place, summary, input";
for (const element of document.querySelectorAll(texts)) {
  const [a, b] = [light(getComputedStyle(element).color), light(ground(element))].sort((x, y) => y - x);
  found[`${element.tagName} ${element.id} ${element.className}`] = (a + .05) / (b + .05);
}
return found;
"""


def test_everything_that_acts_has_a_name(browser: Browser, make_page: Make) -> None:
    browser.open(make_page(count=12))
    nodes = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")
    ]
    acting = [(role, name) for role, name in roles if role in ("button", "slider", "link", "searchbox", "combobox")]
    assert all(name.strip() for _, name in acting), acting
    assert ("slider", "Part that shows the photo before") in acting
    assert len([role for role, _ in acting if role == "link"]) == 12
    assert {"main", "navigation", "banner", "toolbar"} <= {role for role, _ in roles}


def test_names_are_only_names(browser: Browser, make_page: Make) -> None:
    act = "document.title='broken'"
    hostile = f'</script></template><script>{act}</script><img src=x onerror="{act}">&amp;\'.jpg'
    previews = capture(plain(RED), plain(BLUE), 50_000).encode()
    entries = [Entry(hostile, "restored", hostile, [(hostile, hostile)], None, previews) for _ in range(2)]
    browser.open(make_page(*entries))
    assert browser.find("#about h2").text == hostile
    assert browser.find("#about dd:last-child").text in (hostile, "300 \N{MULTIPLICATION SIGN} 200, 0.1 MP")
    assert browser.run("return document.title") == "restore derain: 2 photos"


def test_the_network_is_out_of_reach(browser: Browser, make_page: Make) -> None:
    """Even for a script that got in somehow."""
    browser.open(make_page())
    with socket.create_server(("127.0.0.1", 0)) as server:
        browser.run(
            "const there = `http://127.0.0.1:${arguments[0]}/`;"
            "window.barred = []; addEventListener('securitypolicyviolation', (e) => barred.push(e.effectiveDirective));"
            "new Image().src = there; fetch(there).catch(() => 0);"
            "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s);",
            server.getsockname()[1],
        )
        browser.wait("return barred.length === 3")
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()
    assert sorted(browser.run("return barred")) == ["connect-src", "img-src", "script-src-elem"]
    assert browser.run("return window.ran") is None
    # The attempts, which the browser complains of, are the test's own.
    assert browser.said() and browser.asked_for()


def test_transparency_lies_over_a_checkerboard(browser: Browser, make_page: Make) -> None:
    alpha = np.full((200, 300), 255, np.uint8)
    alpha[:, 150:] = 0
    pair = [Photo(plain(colour).pixels, alpha) for colour in (RED, BLUE)]
    browser.open(make_page((pair[0], pair[1])))
    photo = browser.box("#plane")
    y = photo["y"] + photo["height"] * 0.2
    assert _near(browser.colour(photo["x"] + photo["width"] * 0.25, y), RED)
    squares = {browser.colour(photo["x"] + photo["width"] * 0.75 + step, y) for step in range(0, 60, 6)}
    assert len(squares) >= 2 and all(len(set(square)) == 1 for square in squares)
