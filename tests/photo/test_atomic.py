from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from restorecli.errors import PhotoError
from restorecli.photo import TEMP_PREFIX, write_bytes_atomic
from restorecli.photo.atomic import remove_remains, temporary


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


@pytest.mark.parametrize(("theirs", "ours"), [(0o600, 0o600), (0o640, 0o640), (0o444, 0o644), (0o777, 0o644)])
def test_what_is_made_of_a_private_photo_is_private(tmp_path: Path, theirs: int, ours: int) -> None:
    original, path = tmp_path / "photo.jpg", tmp_path / "new.jpg"
    original.write_bytes(b"old")
    original.chmod(theirs)
    before = os.umask(0o022)
    try:
        write_bytes_atomic(b"new", path, overwrite=False, original=original.stat())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == ours


def test_what_is_replaced_leaves_its_owner_and_attributes(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"old")
    path.chmod(0o460)
    owner = (1234, 1234) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(path, *owner)
    attributes = contextlib.suppress(OSError) if not hasattr(os, "setxattr") else contextlib.nullcontext()
    with attributes:
        os.setxattr(path, "user.note", b"a good one")
    write_bytes_atomic(b"new", path, overwrite=True)
    assert path.read_bytes() == b"new"
    assert (path.stat().st_uid, path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (*owner, 0o460)
    with attributes:
        assert os.getxattr(path, "user.note") == b"a good one"


def test_times_are_there_as_soon_as_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, path = tmp_path / "photo.jpg", tmp_path / "new.jpg"
    original.write_bytes(b"old")
    os.utime(original, ns=(10**18, 10**18 + 1))
    real, seen = os.link, []

    def link(temp: Path, name: Path) -> None:
        seen.append(temp.stat().st_mtime_ns)
        real(temp, name)

    monkeypatch.setattr(os, "link", link)
    write_bytes_atomic(b"new", path, overwrite=False, original=original.stat(), preserve_times=True)
    assert seen == [10**18 + 1] and path.stat().st_mtime_ns == 10**18 + 1


def test_only_what_dead_runs_left_is_removed(tmp_path: Path) -> None:
    def dead(name: str) -> Path:
        (tmp_path / name).write_bytes(b"half")
        return tmp_path / name

    remains = [dead(f"{TEMP_PREFIX}{number:016x}.tmp") for number in range(3)]
    # Killed between the two names of a finished file.
    os.link(dead("whole.jpg"), tmp_path / f"{TEMP_PREFIX}{9:016x}.tmp")
    kept = {dead(f"{TEMP_PREFIX}notes.txt").name, dead(f"{TEMP_PREFIX}0123.tmp").name, "whole.jpg"}
    kept.add(f"{TEMP_PREFIX}{7:016x}.tmp")
    os.mkfifo(tmp_path / f"{TEMP_PREFIX}{7:016x}.tmp")
    (tmp_path / f"{TEMP_PREFIX}{8:016x}.tmp").symlink_to("whole.jpg")
    kept.add(f"{TEMP_PREFIX}{8:016x}.tmp")
    with temporary(tmp_path) as living:
        remove_remains(tmp_path)
        assert set(names(tmp_path)) == {*kept, living.name}
    assert not any(path.exists() for path in remains) and set(names(tmp_path)) == kept
    remove_remains(tmp_path / "none")


def test_a_file_taken_for_a_dead_one_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, opened = os.open, []

    def open_and_lose(path: Path, *values: int) -> int:
        handle = real(path, *values)
        opened.append(path)
        if len(opened) == 1:
            os.unlink(path)
        return handle

    monkeypatch.setattr(os, "open", open_and_lose)
    with temporary(tmp_path) as temp:
        assert len(opened) == 2 and temp.exists()


def test_nothing_but_a_file_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert kind_of(tmp_path / "pipe.jpg", overwrite=True) == "unwritable"
    (tmp_path / "original.jpg").write_bytes(b"old")
    (tmp_path / "link.jpg").symlink_to("original.jpg")
    write_bytes_atomic(b"new", tmp_path / "link.jpg", overwrite=True)
    assert (tmp_path / "original.jpg").read_bytes() == b"old"
    assert (tmp_path / "link.jpg").read_bytes() == b"new" and not (tmp_path / "link.jpg").is_symlink()
    (tmp_path / "loop").symlink_to("loop")
    assert kind_of(tmp_path / "loop" / "photo.jpg") == "unwritable"


def test_a_bound_on_the_size_of_files(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert kind_of(tmp_path / "photo.jpg", overwrite=True, data=bytes(5000)) == "unwritable"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "photo.jpg").read_bytes() == b"old" and names(tmp_path) == ["photo.jpg"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only a superuser may mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "photo.jpg"
    write_bytes_atomic(b"old" * 10_000, path, overwrite=False)
    assert kind_of(path, overwrite=True, data=bytes(50_000)) == "disk_full"
    assert kind_of(small_disk / "other.jpg", data=bytes(50_000)) == "disk_full"
    assert path.read_bytes() == b"old" * 10_000 and names(small_disk) == ["photo.jpg"]


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{TEMP_PREFIX}{0:016x}.tmp").write_bytes(b"half")
    monkeypatch.setattr("restorecli.photo.atomic.fcntl.flock", failing(errno.ENOTSUP))
    write_bytes_atomic(b"new", tmp_path / "photo.jpg", overwrite=False)
    assert (tmp_path / "photo.jpg").read_bytes() == b"new"
    # Nobody can tell whose it is.
    remove_remains(tmp_path)
    assert len(names(tmp_path)) == 2
