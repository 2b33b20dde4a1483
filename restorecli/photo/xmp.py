"""XMP packets, edited as text: what is not ours to change keeps its every byte."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

_log = logging.getLogger(__name__)

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_RDF_END = re.compile(rb"</rdf:RDF\s*>")
# No pattern here may take more than one look at each byte: a packet is as long, and as odd, as anybody likes.
_ABOUT = re.compile(rb"""<rdf:Description\b[^<>]*?\brdf:about\s*=\s*("[^"<]*"|'[^'<]*')""")
_HISTORY_END = re.compile(rb"</rdf:Seq\s*>\s*</xmpMM:History\s*>")
_PACKET_END = b"<?xpacket end"
_BLANK = b" \t\r\n"
# The old picture once more, as base64; and what tells of things behind a JPEG (a video, a map that makes it HDR), which
# are not written.
_GONE = (
    *(b"xmp:Thumbnails", b"xap:Thumbnails", b"Container:Directory"),
    *(b"hdrgm:GainMapMin", b"hdrgm:GainMapMax", b"hdrgm:Gamma", b"hdrgm:OffsetSDR", b"hdrgm:OffsetHDR"),
)
_OF_APPENDED = rb"(?:G?Camera:(?:MotionPhoto|MicroVideo)\w*|hdrgm:\w+)"
_APPENDED = (
    re.compile(rb"(?<=\s)" + _OF_APPENDED + rb"""\s*=\s*(?:"[^"<]*"|'[^'<]*')"""),
    re.compile(rb"<(" + _OF_APPENDED + rb")>[^<]*</\1>"),
)
_VIDEO = re.compile(rb"""Camera:(?:MotionPhoto|MicroVideo)(?:\s*=\s*["']|>)1""")
_NAMESPACES = {
    b"xmpMM": b"http://ns.adobe.com/xap/1.0/mm/",
    b"stEvt": b"http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
}
_EMPTY = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    b"</rdf:RDF>\n</x:xmpmeta>\n"
    b'<?xpacket end="w"?>'
)


def checked_xmp(packet: bytes | str | None) -> bytes | None:
    """The packet, None (and a warning) when it is no sound XMP."""
    if not packet:
        return None
    data = packet.encode() if isinstance(packet, str) else bytes(packet)
    if not data.startswith(_UTF_16):
        data = data.rstrip(b"\0")
    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type")

    # XMP has none, and what entities expand to may be without bounds.
    parser.StartDoctypeDeclHandler = refuse
    try:
        if b"RDF" not in data.replace(b"\0", b""):
            raise ValueError("there is no RDF in it")
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError) as error:
        _log.warning("malformed XMP is left out: %s", error)
        return None
    return data


def tells_of_video(packet: bytes | None) -> bool:
    """Whether the photo is one with a video behind it (Motion Photo)."""
    return packet is not None and _VIDEO.search(packet) is not None


def upright_xmp(packet: bytes | None, *, rotated: bool, width: int, height: int) -> bytes | None:
    """A sound packet for a photo that stands upright at ``width`` x ``height``.

    What it says of the orientation becomes 1 when that was applied (``rotated``), the sizes become the real ones;
    thumbnails, which show the old picture, go, and so does what it says of videos and gain maps, which are not kept.
    """
    if not packet:
        return None
    for name in _GONE:
        packet = _without_element(packet, name)
    for pattern in _APPENDED:
        packet = pattern.sub(b"", packet)
    if rotated:
        packet = _with_value(packet, b"tiff:Orientation", b"[2-8]", b"1")
        for name, size in (
            (b"tiff:ImageWidth", width),
            (b"tiff:ImageLength", height),
            (b"exif:PixelXDimension", width),
            (b"exif:PixelYDimension", height),
        ):
            packet = _with_value(packet, name, rb"\d+", str(size).encode())
    return packet


def _without_element(packet: bytes, name: bytes) -> bytes:
    """The packet without all elements of this name that have an end."""
    closing = re.compile(rb"</" + name + rb"\s*>[ \t\r\n]*")
    kept, at, last = [], 0, 0
    end: re.Match[bytes] | None = None
    while (start := packet.find(b"<" + name, at)) >= 0 and (inside := packet.find(b">", start) + 1):
        if packet[start + len(name) + 1 : start + len(name) + 2].isalnum() or packet[inside - 2 : inside] == b"/>":
            # Of another name, or empty.
            kept.append(packet[at:inside])
            at = inside
            continue
        if last <= start:
            end = closing.search(packet, start)
            last = len(packet) if end is None else end.start()
        if end is None:
            break
        kept.append(packet[at:start])
        at = end.end()
    return b"".join([*kept, packet[at:]])


def _with_value(packet: bytes, name: bytes, old: bytes, new: bytes) -> bytes:
    """The packet with another value of a simple property, written as attribute or as element."""
    packet = re.sub(rb"(\b" + name + rb"""\s*=\s*["'])""" + old + rb"""(["'])""", rb"\g<1>" + new + rb"\2", packet)
    return re.sub(rb"(<" + name + rb">\s*)" + old + rb"(\s*<)", rb"\g<1>" + new + rb"\2", packet)


def with_history(packet: bytes | None, event: Mapping[str, str]) -> bytes | None:
    """The packet (None: a new one) with one more entry in ``xmpMM:History``, whose fields are ``event``.

    A packet that is written in an unusual way (UTF-16, other prefixes) is given back as it is.
    """
    packet = packet or _EMPTY
    names = b" ".join(b"xmlns:%s='%s'" % item for item in _NAMESPACES.items())
    fields = " ".join(f"stEvt:{name}={quoteattr(value)}" for name, value in event.items()).encode()
    history = _HISTORY_END.search(packet)
    end = _RDF_END.search(packet)
    if history:
        added, at = b"<rdf:li %s %s/>" % (names, fields), history.start()
    elif end and b"xmpMM:History" not in packet:
        about = _ABOUT.search(packet)
        added = (
            b"<rdf:Description rdf:about=%s %s><xmpMM:History><rdf:Seq><rdf:li %s/></rdf:Seq></xmpMM:History>"
            b"</rdf:Description>\n"
        ) % (about[1] if about else b'""', names, fields)
        at = end.start()
    else:
        _log.debug("this XMP cannot be added to")
        return packet
    longer = packet[:at] + added + packet[at:]
    end_of_packet = longer.rfind(_PACKET_END)
    blank = len(longer[: max(0, end_of_packet)].rstrip(_BLANK))
    padding = longer.find(b"\n", blank, max(0, end_of_packet)) + 1
    if padding:
        # Space that was left for such additions, so that the packet still fits where it was.
        longer = longer[:padding] + longer[padding + min(len(added), end_of_packet - padding) :]
    return longer
