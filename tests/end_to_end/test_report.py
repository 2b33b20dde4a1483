"""``--report`` and ``restore compare``, as a user calls them."""

from __future__ import annotations

import base64
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.conftest import Call, left_behind

Restore = Callable[..., Call]
Photo = Callable[..., Path]
Engine = Callable[[str], list[str]]


def _shown(page: Path) -> list[tuple[str, str, int]]:
    """Name, status and number of pictures of each photo on a page."""
    tiles = re.findall(r'<li class="tile" data-status="(\w+)".*?</li>', page.read_text("utf-8"), re.DOTALL)
    whole = re.findall(r'<li class="tile".*?</li>', page.read_text("utf-8"), re.DOTALL)
    names = [re.search(r"<h2><bdi>(.*?)</bdi></h2>", tile) for tile in whole]
    return [
        (name[1], status, tile.count("data-part"))
        for name, status, tile in zip(names, tiles, whole, strict=True)
        if name is not None
    ]


def test_a_report_tells_of_every_photo(restore: Restore, photo: Photo, engine: Engine, tmp_path: Path) -> None:
    photo("in/a.jpg")
    photo("in/deep/b.png")
    photo("in/there.png")
    photo("out/there.png")
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0broken")
    report = tmp_path / "pages" / "report.html"
    arguments = ["derain", tmp_path / "in", "--out", tmp_path / "out", *engine("derain"), "--report", report]
    call = restore(*arguments, "--strength", "0.5")
    assert (call.code, len(call.errors)) == (1, 1)
    assert call.err.splitlines()[-1] == f"report: {report}"
    assert _shown(report) == [
        ("a.jpg", "restored", 2),
        ("broken.jpg", "failed", 0),
        ("there.png", "skipped", 2),
        ("deep/b.png", "restored", 2),
    ]
    text = report.read_text("utf-8")
    for told in ("derain.safetensors", "onnx, cpu, fp32", "<dd>0.5</dd>", " s for restoring", "cut short"):
        assert told in text
    # The same command again has the same photos, and replaces its own page.
    assert restore(*arguments).code == 1
    assert [status for _, status, _ in _shown(report)] == ["skipped", "failed", "skipped", "skipped"]
    assert not left_behind(tmp_path)


def test_a_report_of_photos_that_replace_themselves(
    restore: Restore, photo: Photo, engine: Engine, tmp_path: Path
) -> None:
    """Their form before is nowhere but on the page."""
    path = photo("a.png")
    before = np.asarray(Image.open(path)).astype(int)
    report = tmp_path / "r.html"
    options = ["--overwrite", "--report", report, *engine("derain"), "--ensemble", "1", "--quiet"]
    call = restore("derain", path, "--out", path, *options)
    assert (call.code, call.err) == (0, "")
    parts = dict(re.findall(r'data-part="(\w+)"[^>]*>([^<]*)<', report.read_text("utf-8")))
    after = np.asarray(Image.open(path)).astype(int)
    shown = {name: np.asarray(Image.open(BytesIO(base64.b64decode(data)))).astype(int) for name, data in parts.items()}
    for name, pixels in (("before", before), ("after", after)):
        assert np.abs(shown[name] - pixels).mean() < np.abs(before - after).mean() / 2


def test_wrong_names_for_a_report(restore: Restore, photo: Photo, tmp_path: Path) -> None:
    source = photo()
    (tmp_path / "mine.html").write_text("mine")
    for name in ("photo.jpg", "mine.html", "report"):
        call = restore("derain", source, "--report", tmp_path / name)
        assert (call.code, len(call.err.splitlines())) == (2, 1)
        call = restore("compare", source, source, "--out", tmp_path / name)
        assert (call.code, len(call.err.splitlines())) == (2, 1)
    # Below a file, because a superuser may write into any folder.
    call = restore("derain", source, "--report", source / "r.html")
    assert (call.code, len(call.err.splitlines())) == (2, 1)
    assert (tmp_path / "mine.html").read_text() == "mine"
    assert not source.with_name("photo_derained.jpg").exists()
    assert restore("derain", source, "--report", tmp_path / "r.html", "--dry-run").code == 0
    assert not (tmp_path / "r.html").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupted_run_has_a_report(photo: Photo, engine: Engine, tmp_path: Path) -> None:
    for index in range(20):
        photo(f"in/{index:02}.png", 400, 600)
    report = tmp_path / "r.html"
    command = [
        "derain",
        str(tmp_path / "in"),
        "--out",
        str(tmp_path / "out"),
        *engine("derain"),
        "--report",
        str(report),
    ]
    running = subprocess.Popen(
        [sys.executable, "-m", "restorecli", *command, "--jobs", "1"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    while len(list((tmp_path / "out").glob("*.png"))) < 3 and running.poll() is None:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    done = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert {name for name, status, pictures in _shown(report) if (status, pictures) == ("restored", 2)} == done
    assert f"It ended early: {len(done)} of 20 photos are here." in report.read_text("utf-8")
    assert not left_behind(tmp_path)


def test_compare_pairs_scores_and_names_what_is_left(restore: Restore, photo: Photo, tmp_path: Path) -> None:
    for name in ("before/a.jpg", "before/b.jpg", "before/lost.jpg", "after/a_dehazed.jpg", "after/more.jpg"):
        photo(name)
    photo("after/b.png", 41, 56)
    photo("target/a.png")
    page = tmp_path / "c.html"
    folders = [tmp_path / "before", tmp_path / "after"]
    call = restore("compare", *folders, "--out", page, "--json")
    assert call.code == 1
    kinds = [(each["status"], (each["error"] or {}).get("kind")) for each in call.objects]
    assert kinds == [("unmatched", "unmatched"), ("compared", None), ("failed", "size"), ("unmatched", "unmatched")]
    assert "is 56x41, but" in call.errors[1] and "compare photos of one size" in call.errors[1]
    assert [pictures for _, _, pictures in _shown(page)] == [0, 2, 0, 0]
    call = restore("compare", *folders, "--target", tmp_path / "target", "--out", page, "--json")
    (compared,) = [each for each in call.objects if each["status"] == "compared"]
    assert compared["target"] == str(tmp_path / "target" / "a.png") and compared["error"] is None
    assert compared["scores"]["after"].keys() == {"psnr", "ssim", "psnr_y", "ssim_y"}
    assert "Against the target" in page.read_text("utf-8")


def test_compare_two_photos(restore: Restore, photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = photo("one.png"), photo("o<b>ther.png")
    call = restore("compare", one, other, "--target", other)
    assert (call.code, call.errors) == (0, [])
    assert "ssim 1.0000 -> 1.0000" in call.out and "compare.html" in call.err
    assert _shown(tmp_path / "compare.html") == [("one.png", "compared", 2)]
    assert "<b>" not in (tmp_path / "compare.html").read_text("utf-8")
    for wrong in ([one, tmp_path], [one, tmp_path / "nowhere"], [tmp_path, tmp_path]):
        call = restore("compare", *wrong)
        assert (call.code, len(call.err.splitlines())) == (2, 1)
