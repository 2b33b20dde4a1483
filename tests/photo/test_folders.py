from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from restorecli.photo.folders import is_special, walk


def found(folder: Path, without: Path | None = None) -> tuple[list[str], list[str]]:
    errors: list[str] = []
    paths = walk(folder, without=without, on_error=lambda path, _: errors.append(path.name))
    return [str(path.relative_to(folder)) for path in paths], errors


def test_links_never_lead_round_in_a_circle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.jpg", "sub/a.jpg", ".hidden.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "sub" / "round").symlink_to(tmp_path)
    (tmp_path / "c.jpg").symlink_to("c.jpg")
    (tmp_path / "d.jpg").symlink_to("nowhere")
    (tmp_path / "e.jpg").symlink_to("b.jpg")
    assert found(tmp_path) == (["b.jpg", "c.jpg", "d.jpg", "e.jpg", "sub/a.jpg"], [])
    assert len(caplog.messages) == 1 and str(tmp_path / "sub" / "round") in caplog.messages[0]


def test_a_folder_is_left_out_whatever_its_path_says(tmp_path: Path) -> None:
    for name in ("in/a.jpg", "in/out/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "elsewhere").symlink_to(tmp_path / "in" / "out")
    for without in (tmp_path / "in" / "out", tmp_path / "in" / "none" / ".." / "out", tmp_path / "elsewhere"):
        if without.exists():
            assert found(tmp_path / "in", without)[0] == ["a.jpg"]
    assert found(tmp_path / "in", tmp_path / "in")[0] == ["a.jpg", "out/a.jpg"]


def test_deep_trees(tmp_path: Path) -> None:
    before = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        Path("a.jpg").touch()
        os.chdir(tmp_path)
        assert found(Path("d"))[0] == ["/".join(["d"] * 1499 + ["a.jpg"])]
    finally:
        os.chdir(before)
        # Python's own way of removing folders would not get to the bottom.
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo.jpg").touch()
    (tmp_path / "b").chmod(0)
    tmp_path.chmod(0o755)
    user = os.geteuid()
    try:
        os.chdir(tmp_path)
        if user == 0:
            # A superuser may read anything.
            os.seteuid(65534)
        assert found(Path("."))[0] == ["a/photo.jpg", "c/photo.jpg"]
        assert found(Path("."))[1] == ["b"]
    finally:
        os.seteuid(user)
        os.chdir("/")
        (tmp_path / "b").chmod(0o700)


def test_pipes_and_devices_are_special(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "file.jpg").touch()
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    special = [is_special(tmp_path / f"{name}.jpg") for name in ("pipe", "link", "file", "none")]
    assert special == [True, True, False, False] and not is_special(tmp_path)
