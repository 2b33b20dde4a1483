"""A real browser, and pages for it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restorecli.photo import Photo
from restorecli.report import Entry, Page, capture, share_of

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--disable-dev-shm-usage"),
)


class Browser:
    """Chromium with one page open, and what it said and asked for meanwhile."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.dress()

    def dress(self, width: int = 1200, height: int = 800, *, scale: float = 1, dark: bool = False) -> None:
        """A window of a size, a screen of a density, a person's preference."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": width < 600})

    def open(self, page: Path, fragment: str = "") -> None:
        self.driver.get("about:blank")
        self.said(), self.asked_for()
        self.driver.get(page.as_uri() + fragment)
        self.settled()

    def settled(self) -> None:
        """Wait until the photo that is wanted is on the stage."""
        self.wait("return document.getElementById('stage').getAttribute('aria-busy') === 'false'")

    def wait(self, script: str) -> None:
        for _ in range(500):
            if self.run(script):
                return
            time.sleep(0.02)
        raise AssertionError(f"never became true: {script}")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def press(self, *keys: str) -> None:
        """Keys to whatever has the focus."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """The mouse, pressed at ``start`` and let go at ``end``, in pixels of the window."""
        self._mouse("mousePressed", *start, buttons=1)
        for part in (0.3, 0.7, 1):
            point = (a + (b - a) * part for a, b in zip(start, end, strict=True))
            self._mouse("mouseMoved", *point, buttons=1)
        self._mouse("mouseReleased", *end, buttons=0)

    def wheel(self, x: float, y: float, delta: float) -> None:
        self._mouse("mouseWheel", x, y, deltaX=0, deltaY=delta)

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        event = {"type": kind, "x": x, "y": y, "button": "none" if kind == "mouseWheel" else "left", **more}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"clickCount": 1, **event})

    def touch(self, *steps: list[tuple[float, float]]) -> None:
        """Fingers: where each is in each step; they are lifted after the last."""
        for number, points in enumerate(steps):
            kind = "touchMove" if number else "touchStart"
            fingers = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def box(self, selector: str) -> dict[str, float]:
        """Where an element lies in the window: ``x``, ``y``, ``width``, ``height``."""
        return self.run("return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector)

    def colour(self, x: float, y: float) -> tuple[int, ...]:
        """The colour of a pixel of the window."""
        from io import BytesIO

        from PIL import Image

        with Image.open(BytesIO(self.driver.get_screenshot_as_png())) as shot:
            density = shot.width / self.run("return innerWidth")
            return shot.convert("RGB").getpixel((round(x * density), round(y * density)))

    def said(self) -> list[str]:
        """Errors and warnings on the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def asked_for(self) -> list[str]:
        """Addresses outside the page that were asked for since the last call."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith(("data:", "about:"))]


@pytest.fixture(scope="session")
def _driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None or find_spec("selenium") is None:
        reason = "needs chromium, chromedriver (apt-get install chromium chromium-driver) and selenium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    yield driver
    driver.quit()


@pytest.fixture
def browser(_driver: Any) -> Iterator[Browser]:
    """Chromium; the test fails when a page says anything on its console or asks for anything but itself."""
    browser = Browser(_driver)
    yield browser
    assert browser.said() == []
    assert all(url.startswith("file:") and ".html" in url for url in browser.asked_for())


RED, BLUE = (200, 30, 30), (30, 30, 200)


def plain(colour: tuple[int, int, int], width: int = 300, height: int = 200) -> Photo:
    return Photo(np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy())


Make = Callable[..., Path]


@pytest.fixture
def make_page(tmp_path: Path) -> Make:
    """A page of photos that are red before and blue after, or of the pairs and entries that are given."""

    def make(*shown: tuple[Photo, Photo] | Entry, count: int = 1, share: int | None = None) -> Path:
        path = tmp_path / "page.html"
        entries = shown or [(plain(RED), plain(BLUE))] * count
        with Page(path, "restore derain", [("Weights", "derain")], len(entries)) as page:
            for number, each in enumerate(entries, 1):
                if not isinstance(each, Entry):
                    previews = capture(*each, share or share_of(len(entries))).encode()
                    each = Entry(f"photo{number}.jpg", "restored", previews=previews)
                page.add(each)
        return path

    return make
