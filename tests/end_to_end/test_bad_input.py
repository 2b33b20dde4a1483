"""What is wrong gets one clear line and the contract's exit code; everything else of the call is still done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Call, left_behind

Restore = Callable[..., Call]
Photo = Callable[..., Path]
Engine = Callable[[str], list[str]]


def _missing(path: Path) -> None:
    pass


def _empty(path: Path) -> None:
    path.touch()


def _text(path: Path) -> None:
    path.write_text("Dear photo, this is a letter.\n" * 20)


def _truncated(path: Path) -> None:
    data = path.with_name("good.jpg").read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("make", "kind"),
    [(_missing, "missing"), (_empty, "empty"), (_text, "not_a_photo"), (_truncated, "truncated")],
)
def test_a_bad_photo_fails_alone(
    make: Callable[[Path], None], kind: str, restore: Restore, photo: Photo, engine: Engine, tmp_path: Path
) -> None:
    good, other, bad = photo("good.jpg"), photo("other.png"), tmp_path / "bad.jpg"
    make(bad)
    call = restore("derain", good, bad, other, "--json", *engine("derain"))
    assert call.code == 1
    (line,) = call.errors
    assert str(bad) in line
    by_input = {found["input"]: found for found in call.objects}
    assert by_input[str(bad)]["status"] == "failed"
    assert by_input[str(bad)]["output"] is None
    assert by_input[str(bad)]["error"]["kind"] == kind
    assert line == f"restore: {by_input[str(bad)]['error']['message']}"
    assert by_input[str(good)]["status"] == by_input[str(other)]["status"] == "restored"
    assert (tmp_path / "good_derained.jpg").exists() and (tmp_path / "other_derained.png").exists()
    assert not (tmp_path / "bad_derained.jpg").exists()
    assert not left_behind(tmp_path)


def test_a_folder_without_photos_is_a_wrong_command_line(restore: Restore, engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "letter.txt").write_text("Dear photo")
    call = restore("derain", folder, *engine("derain"))
    assert (call.code, call.out) == (2, "")
    (line,) = call.err.splitlines()
    assert str(folder) in line


def test_beside_a_photo_a_folder_without_photos_fails_alone(
    restore: Restore, photo: Photo, engine: Engine, tmp_path: Path
) -> None:
    folder = tmp_path / "letters"
    folder.mkdir()
    call = restore("derain", folder, photo(), *engine("derain"))
    assert call.code == 1
    assert str(folder) in call.errors[0]
    assert (tmp_path / "photo_derained.jpg").exists()


def test_an_output_folder_that_cannot_be_written(
    restore: Restore, photo: Photo, engine: Engine, tmp_path: Path
) -> None:
    # Below a file, because a superuser may write into any folder.
    (tmp_path / "file").touch()
    call = restore("derain", photo(), "--out", tmp_path / "file" / "folder", "--json", *engine("derain"))
    assert call.code == 1
    (line,) = call.errors
    assert str(tmp_path / "file" / "folder" / "photo.jpg") in line
    assert call.objects[0]["error"]["kind"] == "unwritable"
    assert not left_behind(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="a superuser may write anywhere")
def test_a_read_only_output_folder(restore: Restore, photo: Photo, engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    call = restore("derain", photo(), "--out", folder, *engine("derain"))
    assert call.code == 1
    assert str(folder) in call.errors[0]
    assert not list(folder.iterdir())


def test_weights_of_the_wrong_task(restore: Restore, photo: Photo, weights_files: dict[str, Path]) -> None:
    source = photo()
    call = restore("derain", source, "--weights", weights_files["dehaze"])
    assert (call.code, call.out, len(call.err.splitlines())) == (3, "", 1)
    assert "haze" in call.err
    assert not source.with_name("photo_derained.jpg").exists()


@pytest.mark.parametrize("damage", ["cut", "noise", "text"])
def test_corrupt_weights(
    damage: str, restore: Restore, photo: Photo, weights_files: dict[str, Path], tmp_path: Path
) -> None:
    data = weights_files["derain"].read_bytes()
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes({"cut": data[: len(data) // 2], "noise": os.urandom(1000), "text": b"weights"}[damage])
    call = restore("derain", photo(), "--weights", broken)
    assert (call.code, call.out, len(call.err.splitlines())) == (3, "", 1)
    assert str(broken) in call.err


def test_a_missing_weights_file(restore: Restore, photo: Photo) -> None:
    call = restore("derain", photo(), "--weights", "nowhere/weights.safetensors")
    assert (call.code, len(call.err.splitlines())) == (3, 1)
    assert "nowhere/weights.safetensors" in call.err


def test_pickles_are_refused(restore: Restore, photo: Photo, tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"\x80\x04.")
    call = restore("derain", photo(), "--weights", tmp_path / "model.pth")
    assert (call.code, len(call.err.splitlines())) == (3, 1)


def test_offline_weights_that_are_not_here(
    restore: Restore, photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    code = "import sys; from restorecli.cli.app import run; sys.exit(run(sys.argv[1:]))"
    found = subprocess.run(
        [sys.executable, "-c", code, "derain", str(photo()), "--offline", "--weights", "hf://nobody/nothing"],
        capture_output=True,
        text=True,
    )
    assert (found.returncode, len(found.stderr.splitlines())) == (3, 1)


@pytest.mark.parametrize("backend", ["auto", "torch", "onnx"])
def test_cuda_without_cuda(backend: str, restore: Restore, photo: Photo, weights_files: dict[str, Path]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    source = photo()
    call = restore("derain", source, "--weights", weights_files["derain"], "--device", "cuda", "--backend", backend)
    assert (call.code, call.out, len(call.err.splitlines())) == (4, "", 1)
    assert "cuda" in call.err
    assert not source.with_name("photo_derained.jpg").exists()


def test_onnx_without_an_onnx_file(
    restore: Restore, photo: Photo, weights_files: dict[str, Path], tmp_path: Path
) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(weights_files["derain"].read_bytes())
    call = restore("derain", photo(), "--weights", alone, "--backend", "onnx")
    assert (call.code, len(call.err.splitlines())) == (4, 1)
    assert "export" in call.err


def test_too_many_pixels(restore: Restore, photo: Photo, engine: Engine) -> None:
    call = restore("derain", photo(), "--max-pixels", "2000", "--json", *engine("derain"))
    assert call.code == 1
    assert call.objects[0]["error"]["kind"] == "too_large"


def test_two_inputs_never_share_an_output(restore: Restore, photo: Photo, engine: Engine, tmp_path: Path) -> None:
    one, two = photo("one/a.png"), photo("two/a.png")
    call = restore("derain", one, two, "--out", tmp_path / "out", *engine("derain"))
    assert (call.code, len(call.err.splitlines())) == (2, 1)
    assert not (tmp_path / "out").exists()


def test_an_input_is_never_its_own_output_unasked(restore: Restore, photo: Photo, engine: Engine) -> None:
    source = photo("a.png")
    before = source.read_bytes()
    call = restore("derain", source, "--out", source, *engine("derain"))
    assert call.code == 2
    assert source.read_bytes() == before
    assert restore("derain", source, "--out", source, "--overwrite", *engine("derain")).code == 0
    assert source.read_bytes() != before


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another matter there")
def test_an_interrupted_folder_is_finished_by_the_same_command(
    restore: Restore, photo: Photo, engine: Engine, tmp_path: Path
) -> None:
    for index in range(40):
        photo(f"in/{index:02}.png", 160, 160)
    command = ["derain", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--json", *engine("derain")]
    process = subprocess.Popen(
        [sys.executable, "-m", "restorecli", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("restore: interrupted") and "Traceback" not in err
    assert not left_behind(tmp_path)
    call = restore(*command)
    assert call.code == 0
    statuses = [found["status"] for found in call.objects]
    assert len(statuses) == 40 and set(statuses) == {"skipped", "restored"}


def test_weights_and_device_are_looked_at_before_photos(restore: Restore, weights_files: dict[str, Path]) -> None:
    call = restore("derain", "nope.jpg", "--weights", weights_files["dehaze"])
    assert (call.code, len(call.err.splitlines())) == (3, 1)
    call = restore("derain", "nope.jpg", "--weights", weights_files["derain"], "--device", "cuda:99")
    assert (call.code, len(call.err.splitlines())) == (4, 1)
