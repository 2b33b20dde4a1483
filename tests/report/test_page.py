"""How the page is written: whole or not at all, over nothing of anybody's, the same for the same photos."""

from __future__ import annotations

import base64
import errno
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from restorecli.errors import PhotoError, UsageError
from restorecli.report import Entry, Page, check_path
from restorecli.report.behind import Behind
from tests.report.conftest import Make


def test_the_same_photos_give_the_same_page(make_page: Make) -> None:
    assert make_page(count=2).read_bytes() == make_page(count=2).read_bytes()


def test_the_policy_is_of_what_the_page_holds(make_page: Make) -> None:
    text = make_page(count=2).read_text("utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy and policy[1].startswith("default-src 'none'; img-src data:; ")
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]
    assert not re.search(r"(https?:)?//\w", re.sub(r"base64,[^\"]*|>[A-Za-z0-9+/=]*</script>", "", text))


def test_what_is_no_page_is_never_replaced(tmp_path: Path, make_page: Make) -> None:
    check_path(make_page())
    check_path(tmp_path / "not" / "there.HTM")
    (tmp_path / "mine.html").write_text("<!doctype html>\n<html lang=en>mine")
    (tmp_path / "folder.html").mkdir()
    for name in ("mine.html", "folder.html", "photo.jpg", "page.html.png", "page"):
        with pytest.raises(UsageError):
            check_path(tmp_path / name)
        with pytest.raises(UsageError), Page(tmp_path / name, "x"):
            pass
    assert (tmp_path / "mine.html").read_text().endswith("mine")


def test_a_page_that_ends_early_says_so(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"

    def interrupted() -> None:
        with Page(path, "x", photos=9) as page, Behind(page) as behind:
            for name in ("one", "two"):
                behind.add(lambda name=name: Entry(name, "failed", "why"))  # type: ignore[misc]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    text = path.read_text("utf-8")
    assert "It ended early: 2 of 9 photos are here." in text and "two" in text and text.endswith("</html>\n")
    assert [found.name for found in path.parent.iterdir()] == ["page.html"]


def test_a_full_disk_leaves_the_page_that_was(tmp_path: Path, make_page: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_page()
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def on_a_full_disk() -> None:
        with Page(path, "x", option="--report") as page:
            monkeypatch.setattr(page, "_file", type("File", (), {"write": full})())
            page.add(Entry("a", "failed"))
            page.add(Entry("b", "failed"))

    with pytest.raises(PhotoError, match=r"disk is full.*--report") as caught:
        on_a_full_disk()
    assert caught.value.kind == "disk_full"
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["page.html"]
