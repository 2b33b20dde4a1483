from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from restorecli.errors import PhotoError
from restorecli.photo import TEMP_PREFIX, write_bytes_atomic


def kind_of(path: Path, *, overwrite: bool = False, data: bytes = b"new") -> str:
    with pytest.raises(PhotoError) as caught:
        write_bytes_atomic(data, path, overwrite=overwrite)
    assert "\n" not in str(caught.value) and ";" in str(caught.value)
    return caught.value.kind


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(code: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_writes_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "photo.jpg"
    write_bytes_atomic(b"new", path, overwrite=False)
    assert path.read_bytes() == b"new" and names(path.parent) == ["photo.jpg"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes_atomic(b"new", tmp_path / "photo.jpg", overwrite=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "photo.jpg").stat().st_mode) == 0o640


def test_existing_is_kept_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"old")
    assert kind_of(path) == "exists"
    assert path.read_bytes() == b"old"
    write_bytes_atomic(b"new", path, overwrite=True)
    assert path.read_bytes() == b"new" and names(tmp_path) == ["photo.jpg"]


def test_a_dangling_link_is_something_too(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    assert kind_of(tmp_path / "photo.jpg") == "exists"
    assert not (tmp_path / "elsewhere.jpg").exists()


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.jpg"
    real = os.fsync

    def fsync(descriptor: int) -> None:
        path.write_bytes(b"theirs")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert kind_of(path) == "exists"
    assert path.read_bytes() == b"theirs" and names(tmp_path) == ["photo.jpg"]


def test_one_of_many_writers_wins(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    errors: list[PhotoError] = []

    def write(number: int) -> None:
        try:
            write_bytes_atomic(bytes([number]) * 100_000, path, overwrite=False)
        except PhotoError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error.kind for error in errors] == ["exists"] * 7
    assert len(set(path.read_bytes())) == 1 and path.stat().st_size == 100_000
    assert names(tmp_path) == ["photo.jpg"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_disks_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(os, "link", failing(code))
    path = tmp_path / "photo.jpg"
    write_bytes_atomic(b"new", path, overwrite=False)
    assert path.read_bytes() == b"new" and names(tmp_path) == ["photo.jpg"]
    assert kind_of(path, data=b"newer") == "exists"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("call", ["fsync", "link", "replace"])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EROFS, "unwritable"),
        (errno.EACCES, "unwritable"),
        (errno.EIO, "unwritable"),
    ],
)
def test_failures_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, kind: str
) -> None:
    monkeypatch.setattr(os, call, failing(code))
    path = tmp_path / "photo.jpg"
    if call == "replace":
        path.write_bytes(b"old")
    assert kind_of(path, overwrite=call == "replace") == kind
    assert names(tmp_path) == (["photo.jpg"] if call == "replace" else [])
    assert call != "replace" or path.read_bytes() == b"old"


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        assert [name.startswith(TEMP_PREFIX) for name in names(tmp_path)] == [True]
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes_atomic(b"new", tmp_path / "photo.jpg", overwrite=False)
    assert names(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    assert kind_of(tmp_path / ("n" * 300 + ".jpg")) == "unwritable"
    assert kind_of(tmp_path / ("n" * 300) / "photo.jpg") == "unwritable"
    (tmp_path / "file").touch()
    assert kind_of(tmp_path / "file" / "photo.jpg") == "unwritable"
    (tmp_path / "folder.jpg").mkdir()
    assert kind_of(tmp_path / "folder.jpg", overwrite=True) == "unwritable"
    assert names(tmp_path) == ["file", "folder.jpg"]


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert kind_of(tmp_path / "photo.jpg") == "unwritable"
    tmp_path.chmod(0o700)


def test_what_is_replaced_leaves_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"old")
    path.chmod(0o604)
    write_bytes_atomic(b"new", path, overwrite=True)
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == 0o604
