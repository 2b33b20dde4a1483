from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restorecli.photo.xmp import checked_xmp, upright_xmp, with_history

from .photos import XMP

EVENT = {"action": "edited", "softwareAgent": 'restorecli 1 & "more"'}


def upright(packet: bytes) -> bytes:
    result = upright_xmp(packet, rotated=True, width=30, height=40)
    assert result is not None
    return result


def test_orientation_and_sizes_become_those_of_the_photo() -> None:
    assert upright_xmp(XMP, rotated=False, width=1, height=1) == XMP
    assert upright(XMP) == XMP.replace(b'"6"', b'"1"')
    element = XMP.replace(b' tiff:Orientation="6"/>', b"><tiff:Orientation> 8 </tiff:Orientation></rdf:Description>")
    assert b"<tiff:Orientation> 1 <" in upright(element)
    sizes = XMP.replace(b"/>", b" tiff:ImageWidth='40' tiff:ImageLength='30' exif:PixelXDimension='40'/>")
    assert b"tiff:ImageWidth='30' tiff:ImageLength='40' exif:PixelXDimension='30'" in upright(sizes)


def test_thumbnails_of_the_old_picture_go() -> None:
    old = b"<xmp:Thumbnails><rdf:Alt><rdf:li>/9j/4AAQ</rdf:li></rdf:Alt></xmp:Thumbnails>"
    assert upright(XMP.replace(b"</rdf:RDF>", old + b"</rdf:RDF>")) == upright(XMP)


@pytest.mark.parametrize(
    "packet",
    [
        b"junk",
        XMP[:-20],
        XMP.replace(b"</rdf:RDF>", b""),
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + XMP,
        XMP.replace(b"RDF", b"XXX"),
        b"\xff" * 40,
    ],
)
def test_malformed_packets_are_left_out(packet: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert checked_xmp(packet) is None
    assert caplog.messages[0].startswith("malformed XMP is left out: ")


def test_sound_packets_stay_as_they_are() -> None:
    utf16 = XMP.decode().encode("utf-16")
    for packet in (XMP, utf16, b"<?xpacket begin=''?>" + XMP + b"  \n<?xpacket end='w'?>"):
        assert checked_xmp(packet) == packet
    assert checked_xmp(XMP + bytes(3)) == XMP and checked_xmp(XMP.decode()) == XMP
    assert checked_xmp(None) is None and checked_xmp(b"") is None


def test_history_is_added_and_nothing_else_changes() -> None:
    first = with_history(XMP, EVENT)
    assert first is not None and checked_xmp(first) == first
    assert re.sub(rb"<rdf:Description rdf:about=.*</rdf:Description>\n", b"", first, flags=re.DOTALL) == XMP
    second = with_history(first, EVENT)
    assert second is not None and checked_xmp(second) == second
    assert second.count(b"<xmpMM:History>") == 1 and second.count(b"<rdf:li ") == 2
    new = with_history(None, EVENT)
    assert checked_xmp(new) == new and new is not None and b"restorecli 1 &amp;" in new
    # What cannot be added to is better left alone.
    utf16 = XMP.decode().encode("utf-16")
    assert with_history(utf16, EVENT) == utf16


def test_padding_makes_room() -> None:
    padded = b"<?xpacket begin=''?>\n" + XMP + b"\n" + b" " * 2000 + b"<?xpacket end='w'?>"
    longer = with_history(padded, EVENT)
    assert longer is not None and len(longer) == len(padded) and checked_xmp(longer) == longer


@given(st.binary(max_size=30), st.integers(0, len(XMP)))
def test_no_packet_is_too_broken(junk: bytes, at: int) -> None:
    found = checked_xmp(XMP[:at] + junk + XMP[at:])
    if found is not None:
        assert checked_xmp(with_history(upright_xmp(found, rotated=True, width=1, height=2), EVENT)) is not None
