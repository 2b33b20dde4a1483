"""Folders that hold what folders can hold, runs that are killed, and files that are damaged."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.end_to_end.conftest import Call, left_behind
from tests.small import noise

Restore = Callable[..., Call]
Engine = Callable[[str], list[str]]

ROOT = Path(__file__).parents[2]
GOOD = [b"a b.jpg", b"line\nbreak.png", "rain \U0001f327.webp".encode(), b"\xff\xfe.tif", b"n" * 240 + b".jpg"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five photos under odd names, and things that only look like photos."""
    photos = tmp_path / "in"
    photos.mkdir()
    for name in GOOD:
        path = photos / os.fsdecode(name)
        suffix = {".tif": "TIFF", ".jpg": "JPEG"}.get(path.suffix, path.suffix[1:].upper())
        Image.fromarray(noise(40, 56)).save(path, suffix)
    (photos / "loop.jpg").symlink_to("loop.jpg")
    (photos / "round").symlink_to(".")
    os.mkfifo(photos / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        before = os.getcwd()
        os.chdir(photos)  # a socket's path is not to be long
        server.bind("socket.jpg")
        os.chdir(before)
    (photos / "empty.jpg").touch()
    (photos / "\x1b[31mred.jpg").write_text("no photo")
    return photos


def test_a_folder_of_everything_twice_with_its_output_inside(folder: Path, restore: Restore, engine: Engine) -> None:
    out = folder / "out"
    for status in ("restored", "skipped"):
        call = restore("derain", folder, "--out", out, "--json", *engine("derain"))
        assert call.code == 1
        # What JSON says leads back to the file, whatever its bytes.
        done = {os.fsencode(Path(found["input"]).name): found for found in call.objects if found["status"] == status}
        assert set(done) == set(GOOD)
        assert all(Path(found["output"]).is_file() for found in done.values())
        failed = {Path(found["input"]).name: found["error"]["kind"] for found in call.objects if found["error"]}
        assert failed == {"loop.jpg": "unreadable", "empty.jpg": "empty", "\x1b[31mred.jpg": "not_a_photo"}
        # One line each, and none that commands the terminal.
        assert len(call.errors) == 4 and "\x1b" not in call.err and "2 passed over" in call.err
        assert sorted(os.fsencode(path.name) for path in out.iterdir()) == sorted(GOOD)
    assert not left_behind(folder)


def test_names_too_long_for_an_ending_fail_alone(folder: Path, restore: Restore, engine: Engine) -> None:
    long = folder / ("n" * 240 + ".jpg")
    long.rename(long := folder / ("n" * 250 + ".jpg"))
    call = restore("derain", long, folder / "a b.jpg", "--json", *engine("derain"))
    assert [found["status"] for found in call.objects] == ["failed", "restored"]
    assert "the name is too long" in call.objects[0]["error"]["message"]
    # By a name that is too long itself, and by one that is there as something else.
    call = restore("derain", folder / ("n" * 300), folder / "pipe.jpg", "--json", *engine("derain"))
    assert [found["error"]["kind"] for found in call.objects] == ["unreadable", "unreadable"]


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-"])
def test_a_closed_stream_does_not_get_into_the_photo(closed: str, folder: Path, engine: Engine) -> None:
    given = f"< '{folder / 'a b.jpg'}'" if "0<" not in closed else ""
    source = "-" if given else f"'{folder / 'a b.jpg'}' --out '{folder / 'new.jpg'}'"
    command = f"{sys.executable} -m restorecli derain {source} {' '.join(engine('derain'))} {given} {closed}"
    found = subprocess.run(["sh", "-c", command], capture_output=True)
    assert found.returncode == 0
    (folder / "piped.jpg").write_bytes(found.stdout)
    with Image.open(folder / ("piped.jpg" if given else "new.jpg")) as restored:
        restored.load()
        assert restored.size == (56, 40)


def test_a_photo_for_a_closed_standard_output_is_refused(folder: Path, engine: Engine) -> None:
    command = f"{sys.executable} -m restorecli derain - {' '.join(engine('derain'))} < '{folder / 'a b.jpg'}' >&-"
    found = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True)
    assert found.returncode == 2
    assert "standard output, which is closed" in found.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("source", ["-", "a b.jpg"])
def test_a_full_standard_output_is_said_so(source: str, folder: Path, engine: Engine) -> None:
    command = [sys.executable, "-m", "restorecli", "derain", source, *engine("derain")]
    with open("/dev/full", "wb") as full, open(folder / "a b.jpg", "rb") as photo:
        found = subprocess.run(command, stdin=photo, stdout=full, stderr=subprocess.PIPE, cwd=folder)
    assert found.returncode == 1
    (line,) = found.stderr.decode().splitlines()
    assert line.startswith("restore: standard output cannot be written (No space left on device)")
    assert source == "-" or (folder / "a b_derained.jpg").exists()


def benchmark(name: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *map(str, arguments)]
    found = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_runs_that_are_killed(weights_files: dict[str, Path], tmp_path: Path) -> None:
    counts = benchmark("kills", "--kills", "4", "--folder", tmp_path, "--weights", weights_files["derain"])
    assert "4 kills" in counts and "0 broken outputs" in counts


def test_files_that_are_damaged(weights_files: dict[str, Path], tmp_path: Path) -> None:
    counts = benchmark("mutations", "--files", "120", "--folder", tmp_path, "--weights", weights_files["derain"])
    assert "120 files" in counts and "nothing wrong" in counts
