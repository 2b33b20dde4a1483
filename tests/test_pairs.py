"""How photos of two folders find each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from restorecli.errors import UsageError
from restorecli.pairs import pair_folders, photos_in


def _touch(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_pairs_by_stem_whatever_the_suffix_and_by_the_part_before_the_underscore(tmp_path: Path) -> None:
    inputs = _touch(tmp_path / "in", "7.jpg", "12_0.8_0.2.png", "3_x.jpg", "lost.jpg", "notes.txt")
    targets = _touch(tmp_path / "out", "7.png", "12.png", "3_x.png", "3.png")
    pairs, alone = pair_folders(inputs, targets)
    assert [(a.name, b.name) for a, b in pairs] == [
        ("12_0.8_0.2.png", "12.png"),
        ("3_x.jpg", "3_x.png"),
        ("7.jpg", "7.png"),
    ]
    assert [p.name for p in alone] == ["lost.jpg"]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        photos_in(tmp_path / "none")
