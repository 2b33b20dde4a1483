from __future__ import annotations

import os
from pathlib import Path

import pytest

from restorecli.errors import PhotoError
from restorecli.photo import places
from restorecli.photo.places import Places, ground_of


def test_one_file_by_many_paths(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    found = Places()
    assert found.of(tmp_path / "real" / "a.jpg") == found.of(tmp_path / "link" / "a.jpg")
    assert found.of(tmp_path / "real" / "new" / "a.jpg") == found.of(tmp_path / "link" / "new" / "a.jpg")
    assert found.of(tmp_path / "real" / "a.jpg") != found.of(tmp_path / "real" / "b.jpg")
    assert found.of(tmp_path / "real" / "a.jpg") != found.of(tmp_path / "real" / "a" / "a.jpg")


@pytest.mark.parametrize("folds", [False, True])
def test_capital_letters_count_where_the_disk_tells_them_apart(
    folds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if folds:
        real = os.path.lexists
        # What a disk says that does not: whatever has a name in small letters is there in capital ones too.
        monkeypatch.setattr(
            os.path, "lexists", lambda path: real(path) or real(Path(path).with_name(Path(path).name.lower()))
        )
    found = Places()
    for one, other in (("a.jpg", "A.JPG"), ("\u00e9.jpg", "E\u0301.jpg"), ("new/a.jpg", "New/a.jpg")):
        assert found.of(tmp_path / one).folded() == found.of(tmp_path / other).folded()
        assert found.are_one(tmp_path / one, tmp_path / other) == folds
    assert not list(tmp_path.iterdir())


def test_a_ground_that_is_gone_or_another(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    ground = ground_of(disk / "out" / "deep")
    assert ground.path == disk
    ground.check(disk / "a.jpg")
    disk.rename(tmp_path / "taken out")
    with pytest.raises(PhotoError, match="is gone") as caught:
        ground.check(disk / "a.jpg")
    assert caught.value.kind == "unwritable"
    disk.mkdir()
    with pytest.raises(PhotoError):
        ground.check(disk / "a.jpg")
    assert places.ground_of(Path("nowhere/at/all")).path == Path(".")
