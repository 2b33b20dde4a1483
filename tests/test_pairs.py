"""How photos of two folders find each other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from restorecli.errors import UsageError
from restorecli.inference.jobs import OUTPUT_ENDINGS
from restorecli.pairs import ENDINGS, pair_folders, photos_in


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_pairs_by_stem_whatever_the_suffix_and_by_the_part_before_the_underscore(tmp_path: Path) -> None:
    inputs = _touch(tmp_path / "in", "7.jpg", "12_0.8_0.2.png", "3_x.jpg", "lost.jpg", "notes.txt")
    targets = _touch(tmp_path / "out", "7.png", "12.png", "3_x.png", "3.png")
    found = pair_folders(inputs, targets)
    assert [(a.name, b.name) for a, b in found.pairs] == [
        ("12_0.8_0.2.png", "12.png"),
        ("3_x.jpg", "3_x.png"),
        ("7.jpg", "7.png"),
    ]
    assert [p.name for p in found.alone] == ["lost.jpg"]
    assert [p.name for p in found.unused] == ["3.png"] and found.unsure == []


def test_pairs_of_trees_by_path_first_and_never_by_guessing(tmp_path: Path) -> None:
    inputs = _touch(tmp_path / "in", "a/1.jpg", "b/1.jpg", "b/5_derained.png", "2.jpg", "x_1_dehazed.jpg", "4.tif")
    there = ("a/1.png", "b/1.png", "c/2.png", "d/2.png", "x_1.png", "x.png", "5.png", "4.png", "4.jpg")
    targets = _touch(tmp_path / "out", *there)
    found = pair_folders(inputs, targets)
    assert [(str(a.relative_to(inputs)), str(b.relative_to(targets))) for a, b in found.pairs] == [
        ("a/1.jpg", "a/1.png"),
        ("b/1.jpg", "b/1.png"),
        ("b/5_derained.png", "5.png"),
        ("x_1_dehazed.jpg", "x_1.png"),
    ]
    unsure = {path.name: [str(target.relative_to(targets)) for target in fitting] for path, fitting in found.unsure}
    assert unsure == {"2.jpg": ["c/2.png", "d/2.png"], "4.tif": ["4.jpg", "4.png"]}
    assert found.alone == [] and [p.name for p in found.unused] == ["x.png"]


def test_of_photos_and_their_results_in_one_folder_only_those_that_are_meant(tmp_path: Path) -> None:
    inputs = _touch(tmp_path / "in", "1.jpg", "1_derained.png", "2_derained.jpg", "a/1_derained.jpg")
    targets = _touch(tmp_path / "out", "1.png", "1_derained.png", "2.png", "a/1.png")
    told = {True: ["1_derained.png", "2_derained.jpg", "a/1_derained.jpg"]}
    told[False] = ["1.jpg", *told[True][1:]]
    for restored in (False, True):
        found = pair_folders(inputs, targets, restored=restored)
        assert [str(path.relative_to(inputs)) for path, _ in found.pairs] == told[restored]
        assert [path.name for _, path in found.pairs] == ["1.png", "2.png", "1.png"]
        assert not (found.alone or found.unsure or found.unused)
    assert set(ENDINGS) == set(OUTPUT_ENDINGS.values())


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        photos_in(tmp_path / "none")


def test_hidden_files_are_no_photos_and_unreadable_folders_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _touch(tmp_path / "in", "b.jpg", "a/c.png", "._b.jpg", ".thumbs/b.jpg", "a/.d.png", "e.txt")
    assert [path.name for path in photos_in(folder)] == ["c.png", "b.jpg"]
    genuine = os.scandir

    def locked(place: Path) -> object:
        if Path(place).name == "a":
            raise PermissionError(13, "Permission denied")
        return genuine(place)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(UsageError, match=r"in/a cannot be read \(Permission denied\)"):
        photos_in(folder)
    with pytest.raises(UsageError, match="not a folder"):
        photos_in(tmp_path / ("x" * 300))
