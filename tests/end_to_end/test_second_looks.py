"""What only shows at a second run, in place, or beside other things of the same name."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restorecli.inference import pipeline
from tests.end_to_end.conftest import Call
from tests.small import noise

Restore = Callable[..., Call]
Photo = Callable[..., Path]
Engine = Callable[[str], list[str]]


@pytest.mark.parametrize("how", ["written", "renamed"])
def test_a_photo_saved_anew_while_it_is_restored_in_place_stays(
    how: str, restore: Restore, photo: Photo, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, newer = photo("in/p.png"), noise(30, 50, seed=9)
    genuine = pipeline.read_within

    def read(*arguments: object, **options: object) -> object:
        found = genuine(*arguments, **options)  # type: ignore[arg-type]
        target = there if how == "written" else there.with_name("new.png")
        Image.fromarray(newer).save(target)
        os.replace(target, there)
        return found

    monkeypatch.setattr(pipeline, "read_within", read)
    call = restore("derain", there, "--out", there, "--overwrite", "--json", *engine("derain"))
    assert call.code == 1 and call.objects[0]["error"]["kind"] == "changed"
    with Image.open(there) as kept:
        assert np.array_equal(np.asarray(kept), newer)
    # Beside it nothing is lost, and the next run takes what is there.
    monkeypatch.undo()
    assert restore("derain", there, "--out", there, "--overwrite", *engine("derain")).code == 0


def test_pages_are_not_lost_in_place(restore: Restore, tmp_path: Path, engine: Engine) -> None:
    scan = tmp_path / "scan.tif"
    pages = [Image.fromarray(noise(40, 48, seed=seed)) for seed in range(3)]
    pages[0].save(scan, save_all=True, append_images=pages[1:])
    before = scan.read_bytes()
    call = restore("derain", scan, "--out", scan, "--overwrite", "--quiet", *engine("derain"))
    assert call.code == 1 and "holds 3 pictures" in call.err and scan.read_bytes() == before
    assert restore("derain", scan, "--out", tmp_path / "other.tif", "--quiet", *engine("derain")).code == 0


def test_a_folder_of_that_name_does_not_choose_the_weights(
    restore: Restore, photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "derain").mkdir()
    monkeypatch.chdir(tmp_path)
    call = restore("weights", "show", "derain")
    assert call.code == 0, call.err
    call = restore("weights", "show", "./derain")
    assert call.code == 3 and "generator.safetensors" in call.err


def test_results_of_either_task_are_passed_over(restore: Restore, photo: Photo, engine: Engine) -> None:
    folder = photo("in/x.jpg").parent
    for task in ("dehaze", "derain", "dehaze", "derain"):
        assert restore(task, folder, *engine(task)).code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["x.jpg", "x_dehazed.jpg", "x_derained.jpg"]


@pytest.mark.skipif(os.name != "posix", reason="links need no rights here")
def test_an_output_that_is_a_link_to_an_input_is_skipped_then_replaced(
    restore: Restore, photo: Photo, engine: Engine, tmp_path: Path
) -> None:
    first, second = photo("h/1.jpg"), photo("h/2.jpg")
    original = first.read_bytes()
    out = tmp_path / "cl"
    out.mkdir()
    (out / "2.jpg").symlink_to(first)
    call = restore("derain", first.parent, "--out", out, "--json", *engine("derain"))
    assert call.code == 0, call.err
    assert [one["status"] for one in call.objects] == ["restored", "skipped"]
    assert restore("derain", first.parent, "--out", out, "--overwrite", *engine("derain")).code == 0
    assert first.read_bytes() == original and not (out / "2.jpg").is_symlink() and second.exists()


def test_a_report_does_not_compare_photos_of_two_sizes(
    restore: Restore, photo: Photo, engine: Engine, tmp_path: Path
) -> None:
    source, out = photo("g.jpg"), tmp_path / "sk"
    out.mkdir()
    Image.fromarray(noise(20, 200)).save(out / "g.jpg")
    page = tmp_path / "page.html"
    assert restore("derain", source, "--out", out, "--report", page, *engine("derain")).code == 0
    assert "has another size" in page.read_text()


def test_a_dry_run_tells_of_a_folder_in_the_place_of_an_output(
    restore: Restore, photo: Photo, engine: Engine, tmp_path: Path
) -> None:
    source, out = photo("in/1.jpg"), tmp_path / "o"
    (out / "1.jpg").mkdir(parents=True)
    for more in ([], ["--dry-run"]):
        call = restore("derain", source.parent, "--out", out, "--json", *more, *engine("derain"))
        assert (call.code, call.objects[0]["status"]) == (1, "failed"), more


def test_remains_of_a_killed_page_go(restore: Restore, photo: Photo, engine: Engine, tmp_path: Path) -> None:
    remains = tmp_path / "pages" / ".restore-0123456789abcdef.tmp"
    remains.parent.mkdir()
    remains.write_bytes(b"half a page")
    page = remains.with_name("r.html")
    assert restore("derain", photo(), "--report", page, "--out", tmp_path / "o.jpg", *engine("derain")).code == 0
    assert page.exists() and not remains.exists()


def test_photos_in_the_folder_of_the_outputs_are_told_of(restore: Restore, photo: Photo, engine: Engine) -> None:
    folder = photo("in/x.jpg").parent
    call = restore("derain", folder, "--out", folder / "done", *engine("derain"))
    assert (call.code, call.err) == (0, "")
    photo("in/done/original.jpg")
    call = restore("derain", folder, "--out", folder / "done", *engine("derain"))
    assert call.code == 0 and "a photo that is no output" in call.err and "1 skipped, 1 passed over" in call.err
    # Another input's outputs are outputs too.
    other = photo("other/original.jpg")
    call = restore("derain", folder, other.parent, "--out", folder / "done", *engine("derain"))
    assert call.code == 0 and "no output" not in call.err


def test_another_format_into_the_input_itself_is_refused_at_once(
    restore: Restore, photo: Photo, engine: Engine
) -> None:
    folder = photo("in/x.jpg").parent
    call = restore("derain", folder, "--out", folder, "--format", "png", *engine("derain"))
    assert call.code == 2 and "is the input itself" in call.err and os.listdir(folder) == ["x.jpg"]


def test_a_file_called_minus_is_a_file(
    restore: Restore, photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    os.replace(photo("x.png"), tmp_path / "-")
    monkeypatch.chdir(tmp_path)
    call = restore("derain", "./-", "--out", "done.png", "--json", *engine("derain"))
    assert call.code == 0, call.err
    assert call.objects[0]["input"] == str(tmp_path / "-") and (tmp_path / "done.png").exists()


def phone_photo(path: Path, kinds: list[int], xmp: bytes | None = None) -> None:
    """A JPEG with an index (CIPA DC-007) of further pictures of these kinds behind it."""
    pictures = [io.BytesIO() for _ in (0, *kinds)]
    for seed, file in enumerate(pictures):
        Image.fromarray(noise(48, 64, seed=seed)).save(file, "JPEG", **({"xmp": xmp} if xmp and not seed else {}))
    bodies = [file.getvalue() for file in pictures]
    count = len(bodies)
    index = b"MPF\0MM\0*" + struct.pack(">IH", 8, 3)
    index += struct.pack(">HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHII", 0xB001, 4, 1, count)
    index += struct.pack(">HHIII", 0xB002, 7, 16 * count, 50, 0)
    for kind, body in zip((0x030000, *kinds), bodies, strict=True):
        index += struct.pack(">IIIHH", kind, len(body), 0, 0, 0)
    segment = struct.pack(">BBH", 0xFF, 0xE2, len(index) + 2) + index
    path.write_bytes(bodies[0][:2] + segment + bodies[0][2:] + b"".join(bodies[1:]))


MOTION = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
    b"<rdf:Description rdf:about='' xmlns:GCamera='http://ns.google.com/photos/1.0/camera/' %s/></rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize(
    ("kinds", "xmp", "lost"),
    [
        ([0], None, 2),
        ([0, 0x020002], None, 3),
        ([0], MOTION % b"GCamera:MotionPhoto='1'", 3),
        ([0x010001, 0x010002], None, 1),
        ([], MOTION % b'GCamera:MicroVideo="1"', 2),
        ([], MOTION % b'GCamera:MotionPhoto="0"', 1),
    ],
)
def test_what_phones_put_behind_a_jpeg_is_not_lost_in_place(
    restore: Restore, tmp_path: Path, engine: Engine, kinds: list[int], xmp: bytes | None, lost: int
) -> None:
    there = tmp_path / "phone.jpg"
    phone_photo(there, kinds, xmp)
    before = there.read_bytes()
    call = restore("derain", there, "--out", there, "--overwrite", "--quiet", *engine("derain"))
    assert call.code == (lost > 1), call.err
    assert (f"holds {lost} pictures" in call.err) == (there.read_bytes() == before) == (lost > 1)
    call = restore("derain", there, "--out", tmp_path / "other.jpg", *engine("derain"))
    assert (call.code, call.err) == (0, "")


def test_a_dry_run_fails_where_the_device_that_was_asked_for_is_not_there(restore: Restore, photo: Photo) -> None:
    call = restore("derain", photo("in/x.jpg"), "--dry-run", "--device", "cuda:77", "--json")
    assert call.code == 4 and "--device cuda:77 is not available" in call.err and not call.objects


def test_results_of_a_photo_without_a_suffix_are_passed_over(restore: Restore, photo: Photo, engine: Engine) -> None:
    there = photo("in/x.png")
    os.replace(there, there.with_suffix(""))
    for given in (there.with_suffix(""), there.parent):
        call = restore("derain", given, "--format", "png", *engine("derain"))
    assert call.code == 2 and sorted(os.listdir(there.parent)) == ["x", "x_derained.png"]


def test_a_folder_is_no_source_of_a_photo_of_its_name(restore: Restore, photo: Photo, engine: Engine) -> None:
    trip, beside = photo("in/trip/a.png").parent, photo("in/trip_derained.png")
    for given in ([trip.parent], [trip, beside]):
        call = restore("derain", *given, "--dry-run", "--json", *engine("derain"))
        assert sorted(Path(each["input"]).name for each in call.objects) == ["a.png", "trip_derained.png"]
