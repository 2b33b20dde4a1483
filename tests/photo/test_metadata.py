from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from restorecli.photo import metadata

from .photos import MAKER_NOTE, exif_block

THUMBNAIL = b"\xff\xd8" + bytes(500) + b"\xff\xd9"


@pytest.mark.parametrize("order", ["<", ">"])
def test_only_what_must_change_changes(order: str) -> None:
    before = exif_block(6, order=order, size=(60, 40))
    after = metadata.upright_exif(before, 40, 60)
    assert after is not None and len(after) == len(before)
    # Orientation, width, height; the height is a long.
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 3
    assert metadata.orientation_of(before) == 6 and metadata.orientation_of(after) == 1
    found = Image.Exif()
    found.load(after)
    details = found.get_ifd(metadata.EXIF_IFD)
    assert (details[0xA002], details[0xA003], details[0x927C]) == (40, 60, MAKER_NOTE)


def test_large_sizes_fit_short_fields() -> None:
    found = Image.Exif()
    found.load(metadata.upright_exif(exif_block(), 70_000, 80_000) or b"")
    details = found.get_ifd(metadata.EXIF_IFD)
    assert (details[0xA002], details[0xA003]) == (70_000, 80_000)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_thumbnail_goes(order: str) -> None:
    block = exif_block(6, order=order, thumbnail=THUMBNAIL)
    after = metadata.upright_exif(block, 1, 1)
    assert after is not None and THUMBNAIL not in after and MAKER_NOTE in after
    found = Image.Exif()
    found.load(after)
    assert not found.get_ifd(0x927D) and not found.get_ifd(1)
    assert found[0x010F] == "A Camera"
    # What lies behind the thumbnail may belong to a maker's note: then the thumbnail is unlinked and nothing is moved.
    longer = metadata.upright_exif(block + b"something else", 1, 1)
    assert longer is not None and len(longer) == len(block) + 14


def test_prefixes_of_jpeg_are_taken_off() -> None:
    block = exif_block()
    assert metadata.upright_exif(b"Exif\0\0Exif\0\0" + block, 1, 1) == block


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_can_be_taken_out(order: str) -> None:
    block = exif_block(1, order=order, size=(3, 4), thumbnail=THUMBNAIL)
    bare = metadata.without_orientation(block)
    assert len(bare) == len(block)
    found = Image.Exif()
    found.load(bare)
    assert metadata.ORIENTATION not in found
    assert found[0x010F] == "A Camera"
    assert found.get_ifd(metadata.EXIF_IFD)[0x927C] == MAKER_NOTE
    assert THUMBNAIL in bare


@pytest.mark.parametrize("broken", [b"", b"II", b"II*\0", b"II*\0\xff\xff\xff\xff", b"no exif at all", bytes(50)])
def test_malformed_exif_is_nothing(broken: bytes) -> None:
    assert metadata.upright_exif(broken, 1, 1) is None
    assert metadata.orientation_of(broken) == 1


@given(st.binary(max_size=40), st.integers(0, 400), st.sampled_from(["<", ">"]))
def test_no_exif_is_too_broken(junk: bytes, at: int, order: str) -> None:
    block = exif_block(6, order=order, thumbnail=THUMBNAIL)
    damaged = block[:at] + junk + block[at + len(junk) :]
    assert metadata.orientation_of(damaged) in range(1, 9)
    after = metadata.upright_exif(damaged, 3, 4)
    if after is not None:
        assert metadata.orientation_of(after) == 1 or metadata.orientation_of(damaged) == metadata.orientation_of(after)
        metadata.without_orientation(after)


def test_fields_are_added_and_nothing_else_moves() -> None:
    for order in "<>":
        block = exif_block(1, order=order, size=(3, 4))
        longer = metadata.with_fields(block, {metadata.SOFTWARE: "a program", 0x011A: Fraction(300), 0x0128: 2})
        assert longer[8 : len(block)] == block[8:]
        found = Image.Exif()
        found.load(longer)
        assert (found[metadata.SOFTWARE], found[0x011A], found[0x0128]) == ("a program", 300, 2)
        assert found[0x010F] == "A Camera" and found.get_ifd(metadata.EXIF_IFD)[0x927C] == MAKER_NOTE
        again = metadata.with_fields(longer, {metadata.SOFTWARE: "another"})
        assert metadata.has_field(again, metadata.SOFTWARE) and not metadata.has_field(block, metadata.SOFTWARE)
    found = Image.Exif()
    found.load(metadata.with_fields(None, {metadata.SOFTWARE: "a program"}))
    assert dict(found) == {metadata.SOFTWARE: "a program"}


@pytest.mark.parametrize("dpi", [None, 72, (0, 0), (1, 1), (float("nan"), 72), (72, 1e9), ("a", "b"), (1, 2, 3)])
def test_implausible_resolutions(dpi: object) -> None:
    assert metadata.checked_dpi(dpi, swapped=False) is None


def test_resolution_turns_with_the_photo() -> None:
    assert metadata.checked_dpi((300, 150), swapped=False) == (300, 150)
    assert metadata.checked_dpi((300, 150), swapped=True) == (150, 300)
