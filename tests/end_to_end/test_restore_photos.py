"""``restore dehaze`` and ``restore derain`` on photos that are in order."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from restorecli.photo import read_photo
from tests.end_to_end.conftest import Call, left_behind
from tests.small import noise

Restore = Callable[..., Call]
Photo = Callable[..., Path]
Engine = Callable[[str], list[str]]
Pixels = Callable[[Path], np.ndarray]

KEYS = [
    *("input", "output", "status", "error", "width", "height", "task", "weights", "backend", "device", "precision"),
    *("tile", "tiles", "seconds"),
]


@pytest.mark.parametrize(("task", "name"), [("dehaze", "photo_dehazed.jpg"), ("derain", "photo_derained.jpg")])
def test_one_photo_lands_beside_its_input(task: str, name: str, restore: Restore, photo: Photo, engine: Engine) -> None:
    source = photo()
    call = restore(task, source, *engine(task))
    assert (call.code, call.err) == (0, "")
    assert call.out.startswith(f"{source} -> {source.with_name(name)}") and call.out.count("\n") == 1
    with Image.open(source.with_name(name)) as restored:
        assert (restored.format, restored.size) == ("JPEG", (56, 40))
    assert not left_behind(source.parent)


def test_json_is_what_the_contract_says(restore: Restore, photo: Photo, engine: Engine) -> None:
    source = photo("a.png")
    call = restore("derain", source, "--json", *engine("derain"))
    assert (call.code, call.err) == (0, "")
    (found,) = call.objects
    assert list(found) == KEYS
    assert list(found["seconds"]) == ["read", "restore", "write", "total"]
    assert found["input"] == str(source) and found["output"] == str(source.with_name("a_derained.png"))
    expected = {"status": "restored", "error": None, "width": 56, "height": 40, "task": "derain", "backend": "onnx"}
    assert expected.items() <= found.items()
    assert {"device": "cpu", "precision": "fp32", "weights": "derain.safetensors"}.items() <= found.items()


def test_torch_does_the_same_work(
    restore: Restore, photo: Photo, weights_files: dict[str, Path], pixels: Pixels
) -> None:
    source = photo("a.png")
    for backend in ("torch", "onnx"):
        call = restore(
            *("derain", source, "--weights", weights_files["derain"], "--backend", backend, "--precision", "fp32"),
            *("--device", "cpu", "--out", source.with_name(f"{backend}.png"), "--json"),
        )
        assert call.objects[0]["backend"] == backend
    torch, onnx = (pixels(source.with_name(f"{backend}.png")).astype(int) for backend in ("torch", "onnx"))
    assert np.abs(torch - onnx).max() <= 1


def test_a_folder_is_mirrored_and_the_rest_passed_over(
    restore: Restore, photo: Photo, engine: Engine, tmp_path: Path
) -> None:
    photo("in/a.jpg")
    photo("in/deep/er/b.PNG")
    (tmp_path / "in" / "notes.txt").write_text("no photo")
    call = restore("derain", tmp_path / "in", "--out", tmp_path / "out", *engine("derain"))
    assert call.code == 0
    assert sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.*")) == [
        Path("a.jpg"),
        Path("deep/er/b.PNG"),
    ]
    assert "2 restored" in call.err and "1 passed over" in call.err


def test_the_same_command_again_skips_what_is_there(restore: Restore, photo: Photo, engine: Engine) -> None:
    first, second = photo("in/a.png"), photo("in/b.png")
    options = engine("derain")
    assert restore("derain", first.parent, *options).code == 0
    done = first.with_name("a_derained.png")
    first_time = done.stat().st_mtime_ns
    second.with_name("b_derained.png").unlink()
    call = restore("derain", first.parent, "--json", *options)
    assert call.code == 0
    assert [found["status"] for found in call.objects] == ["skipped", "restored"]
    assert done.stat().st_mtime_ns == first_time
    call = restore("derain", first.parent, "--json", "--overwrite", *options)
    assert [found["status"] for found in call.objects] == ["restored", "restored"]
    assert done.stat().st_mtime_ns > first_time


def test_strength_0_is_the_photo_itself(restore: Restore, photo: Photo, engine: Engine, pixels: Pixels) -> None:
    source = photo("a.png")
    assert restore("dehaze", source, "--strength", "0", *engine("dehaze")).code == 0
    assert (pixels(source.with_name("a_dehazed.png")) == pixels(source)).all()


def test_tiles_make_no_difference(restore: Restore, photo: Photo, engine: Engine, pixels: Pixels) -> None:
    source = photo("a.png", 150, 210)
    outputs = []
    for tile in ("auto", "64"):
        out = source.with_name(f"{tile}.png")
        call = restore("derain", source, "--tile", tile, "--out", out, "--json", *engine("derain"))
        outputs.append(pixels(out).astype(int))
    assert call.objects[0]["tiles"] > 1
    assert np.abs(outputs[0] - outputs[1]).max() <= 1


@pytest.mark.parametrize(
    ("asked", "suffix", "format"),
    [("jpg", ".jpg", "JPEG"), ("png", ".png", "PNG"), ("webp", ".webp", "WEBP"), ("tiff", ".tiff", "TIFF")],
)
def test_formats(asked: str, suffix: str, format: str, restore: Restore, photo: Photo, engine: Engine) -> None:
    source = photo("a.png")
    assert restore("derain", source, "--format", asked, *engine("derain")).code == 0
    with Image.open(source.with_name("a_derained" + suffix)) as restored:
        assert restored.format == format


def test_a_photo_with_a_wrong_suffix_stays_what_it_is(restore: Restore, engine: Engine, tmp_path: Path) -> None:
    """16 bits and transparency of a PNG called .jpg; whoever names the output decides what it is to be."""
    deep = noise(24, 32, 3, np.uint16)
    assert cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    Image.fromarray(noise(24, 32, 4)).save(tmp_path / "clear.png")
    for name in ("deep", "clear"):
        (tmp_path / f"{name}.png").rename(tmp_path / f"{name}.jpg")
    assert restore("derain", tmp_path, *engine("derain")).code == 0
    made = [read_photo(tmp_path / f"{name}_derained.jpg") for name in ("deep", "clear")]
    assert [photo.format for photo in made] == ["png", "png"]
    assert made[0].pixels.dtype == np.uint16 and made[1].alpha is not None
    named = tmp_path / "named.jpg"
    assert restore("derain", tmp_path / "deep.jpg", "--out", named, *engine("derain")).code == 0
    assert read_photo(named).format == "jpeg"


def test_lower_quality_is_smaller(restore: Restore, photo: Photo, engine: Engine) -> None:
    source = photo()
    sizes = []
    for quality in ("95", "30"):
        out = source.with_name(f"q{quality}.jpg")
        assert restore("derain", source, "--quality", quality, "--out", out, *engine("derain")).code == 0
        sizes.append(out.stat().st_size)
    assert sizes[0] > sizes[1]


def test_preserve_times(restore: Restore, photo: Photo, engine: Engine) -> None:
    source = photo()
    os.utime(source, (10**9, 10**9 + 1))
    assert restore("derain", source, "--preserve-times", *engine("derain")).code == 0
    assert source.with_name("photo_derained.jpg").stat().st_mtime == 10**9 + 1
    assert restore("derain", source, "--preserve-times", "--overwrite", "--out", source, *engine("derain")).code == 0
    assert source.stat().st_mtime == 10**9 + 1


def test_dry_run_does_nothing(restore: Restore, photo: Photo, engine: Engine, tmp_path: Path) -> None:
    photo("in/a.png")
    photo("in/b.png")
    photo("in/b_derained.png")
    before = sorted(tmp_path.rglob("*"))
    call = restore("derain", tmp_path / "in", "--dry-run", "--json", *engine("derain"))
    assert call.code == 0
    assert [(Path(found["input"]).name, found["status"]) for found in call.objects] == [
        ("a.png", "planned"),
        ("b.png", "skipped"),
    ]
    assert sorted(tmp_path.rglob("*")) == before


def test_quiet_says_nothing(restore: Restore, photo: Photo, engine: Engine) -> None:
    call = restore("derain", photo(), "--quiet", *engine("derain"))
    assert (call.code, call.out, call.err) == (0, "", "")


def test_verbose_is_no_harm(restore: Restore, photo: Photo, engine: Engine) -> None:
    assert restore("derain", photo(), "--verbose", *engine("derain")).code == 0


def _pipe(data: bytes, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "restorecli", *map(str, arguments)], input=data, capture_output=True)


def test_standard_input_to_standard_output(photo: Photo, engine: Engine) -> None:
    found = _pipe(photo("a.png").read_bytes(), "derain", "-", *engine("derain"))
    assert found.returncode == 0, found.stderr
    with Image.open(io.BytesIO(found.stdout)) as restored:
        assert (restored.format, restored.size) == ("PNG", (56, 40))
    assert b"standard input" in found.stderr


def test_standard_input_to_a_file(photo: Photo, engine: Engine, tmp_path: Path) -> None:
    out = tmp_path / "out.webp"
    found = _pipe(photo().read_bytes(), "derain", "-", "--out", out, "--json", *engine("derain"))
    assert found.returncode == 0, found.stderr
    assert b'"input": "-"' in found.stdout and found.stdout.count(b"\n") == 1
    with Image.open(out) as restored:
        assert restored.format == "WEBP"


def test_broken_standard_input(engine: Engine) -> None:
    found = _pipe(b"", "derain", "-", *engine("derain"))
    assert (found.returncode, found.stdout) == (1, b"")
    assert found.stderr.startswith(b"restore: standard input") and found.stderr.count(b"\n") == 1


def test_standard_input_that_cannot_be_read(engine: Engine, tmp_path: Path) -> None:
    with (tmp_path / "for writing").open("wb") as no_input:
        command = [sys.executable, "-m", "restorecli", "derain", "-", "--out", "x.png", "--json", *engine("derain")]
        found = subprocess.run(command, stdin=no_input, capture_output=True)
    (told,) = map(json.loads, found.stdout.splitlines())
    assert (found.returncode, told["status"], told["error"]["kind"]) == (1, "failed", "unreadable")


def test_dry_run_downloads_nothing(restore: Restore, photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorecli.weights.resolving.fetch", lambda _: pytest.fail("it was downloaded"))
    call = restore("derain", photo(), "--dry-run", "--json", "--weights", "hf://somebody/something")
    assert (call.code, call.objects[0]["weights"]) == (0, "hf://somebody/something")


def test_times_that_cannot_be_kept_are_a_note(
    restore: Restore, photo: Photo, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("restorecli.photo.atomic.os.utime", refused)
    call = restore("derain", photo(), "--preserve-times", *engine("derain"))
    assert call.code == 0
    assert "photo_derained.jpg: its times cannot be set: Operation not permitted" in call.err


def test_only_the_first_picture_of_an_animation_is_told_of(restore: Restore, photo: Photo, engine: Engine) -> None:
    source = photo("a.png", save_all=True, append_images=[Image.new("RGB", (56, 40))])
    call = restore("derain", source, *engine("derain"))
    assert (call.code, call.err) == (0, f"restore: warning: {source}: only the first of 2 pictures is restored\n")
    assert restore("derain", source, "--overwrite", "--quiet", *engine("derain")).err == ""


def test_the_bar_moves_for_skipped_and_failed_photos(
    restore: Restore, photo: Photo, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[float] = []
    monkeypatch.setattr(
        "restorecli.cli.console.Progress.update", lambda _, completed, *__, **___: moves.append(completed)
    )
    done, broken = photo("in/a.png"), tmp_path / "in" / "b.png"
    photo("in/a_derained.png")
    broken.touch()
    assert restore("derain", done, broken, *engine("derain")).code == 1
    assert moves == [1, 2]
