"""Small photos for this room's tests, made here."""

from __future__ import annotations

import struct
import warnings
import zlib
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
MAKER_NOTE = b"maker\0" + bytes(range(200))


def smooth(height: int, width: int, channels: int = 3, dtype: Any = np.uint8) -> np.ndarray:
    """(H, W, C) gradients that no two corners share, so that a wrong turn shows, and that JPEG keeps well."""
    y, x = np.mgrid[0:height, 0:width]
    down, across = y / max(1, height - 1), x / max(1, width - 1)
    planes = [0.1 + 0.8 * across, 0.1 + 0.8 * down, 0.1 + 0.4 * across + 0.4 * down]
    return (np.stack(planes[:channels], -1) * np.iinfo(dtype).max).round().astype(dtype)


def noise(height: int, width: int, channels: int = 3, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    """(H, W, C) of every value, which no lossy step survives."""
    high = int(np.iinfo(dtype).max)
    return np.random.default_rng(seed).integers(0, high, (height, width, channels), dtype=dtype, endpoint=True)


def saved(pixels: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    """A file of Pillow's making."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels.squeeze())
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def png_file(pixels: np.ndarray, colour: int, *, before: bytes = b"", after: bytes = b"", depth: int = 16) -> bytes:
    """A PNG made by hand: chunks before and after the pixels as asked for."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in pixels)
    header = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0)
    pixel_data = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + before + pixel_data + after + png_chunk(b"IEND", b"")


def exif_block(
    orientation: int = 1, *, order: str = "<", size: tuple[int, int] = (1, 1), thumbnail: bytes = b""
) -> bytes:
    """EXIF by hand, without prefix: make, orientation, an Exif directory with a maker's note, maybe a thumbnail."""

    def directory(at: int, fields: list[tuple[int, int, int, bytes]], following: int = 0) -> bytes:
        entries, values = b"", b""
        behind = at + 2 + 12 * len(fields) + 4
        for tag, kind, count, value in fields:
            if len(value) > 4:
                entries += struct.pack(order + "HHLL", tag, kind, count, behind + len(values))
                values += value + b"\0" * (len(value) % 2)
            else:
                entries += struct.pack(order + "HHL", tag, kind, count) + value.ljust(4, b"\0")
        return struct.pack(order + "H", len(fields)) + entries + struct.pack(order + "L", following) + values

    def short(value: int) -> bytes:
        return struct.pack(order + "H", value)

    def long(value: int) -> bytes:
        return struct.pack(order + "L", value)

    def first(details_at: int, following: int) -> bytes:
        make = b"A Camera\0"
        fields = [(0x010F, 2, len(make), make), (0x0112, 3, 1, short(orientation)), (0x8769, 4, 1, long(details_at))]
        return directory(8, fields, following)

    details_at = 8 + len(first(0, 0))
    sizes = [(0xA002, 3, 1, short(size[0])), (0xA003, 4, 1, long(size[1]))]
    details = directory(details_at, [(0x927C, 7, len(MAKER_NOTE), MAKER_NOTE), *sizes])
    second_at = details_at + len(details)
    second = b""
    if thumbnail:
        image_at = second_at + 2 + 12 * 2 + 4
        second = directory(second_at, [(0x0201, 4, 1, long(image_at)), (0x0202, 4, 1, long(len(thumbnail)))])
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + long(8) + first(details_at, second_at if thumbnail else 0) + details + second + thumbnail


@lru_cache
def rgb_profile(
    gamma: float = 2.2, primaries: tuple[float, ...] = (0.64, 0.33, 1, 0.21, 0.71, 1, 0.15, 0.06, 1)
) -> bytes:
    """A wide-gamut profile; its primaries are those of Adobe RGB unless told otherwise."""
    from imagecodecs import cms_profile

    return bytes(cms_profile("rgb", whitepoint=(0.3127, 0.3290, 1), primaries=primaries, gamma=gamma))


@lru_cache
def grey_profile(gamma: float) -> bytes:
    from imagecodecs import cms_profile

    return bytes(cms_profile("gray", whitepoint=(0.3127, 0.3290, 1), gamma=gamma))


def cmyk_profile() -> bytes:
    """A printer's profile of tables: what is printed is the inks' product, and black takes the place of all it can."""
    from skimage import color

    def lut(grid: int, outputs: int, values: np.ndarray, inputs: int) -> bytes:
        head = b"mft2" + bytes(4) + bytes([inputs, outputs, grid, 0])
        identity = struct.pack(">9l", *(65536 * (row == column) for row in range(3) for column in range(3)))
        line = struct.pack(">2H", 0, 65535)
        clut = np.rint(np.clip(values, 0, 1) * 65535).astype(">u2").tobytes()
        return head + identity + struct.pack(">2H", 2, 2) + line * inputs + clut + line * outputs

    c, m, y, k = np.meshgrid(*[np.linspace(0, 1, 9)] * 4, indexing="ij")
    printed = (1 - np.stack([c, m, y], -1)) * (1 - k[..., None])
    lab = color.rgb2lab(printed.reshape(1, -1, 3), illuminant="D50")[0]
    to_lab = lut(
        9, 3, np.stack([lab[:, 0] / 100, (lab[:, 1] + 128) / 256, (lab[:, 2] + 128) / 256], -1) * 0xFF00 / 0xFFFF, 4
    )
    light, a, b = np.meshgrid(*[np.linspace(0, 0xFFFF / 0xFF00, 33)] * 3, indexing="ij")
    wanted = np.stack([light * 100, a * 256 - 128, b * 256 - 128], -1).reshape(1, -1, 3)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rgb = np.clip(color.lab2rgb(wanted, illuminant="D50")[0], 0, 1)
    black = 1 - rgb.max(axis=1, keepdims=True)
    to_inks = lut(33, 4, np.hstack([1 - rgb / np.maximum(1 - black, 1e-6), black]), 3)
    text = b"text" + bytes(4) + b"none\0"
    name = b"desc" + bytes(4) + struct.pack(">L", 5) + b"CMYK\0" + bytes(78)
    white = b"XYZ " + bytes(4) + struct.pack(">3l", 63190, 65536, 54061)
    tags = [(b"desc", name), (b"cprt", text), (b"wtpt", white), (b"A2B0", to_lab), (b"B2A0", to_inks)]
    at, table, bodies = 128 + 4 + 12 * len(tags), b"", b""
    for kind, body in tags:
        body += bytes(-len(body) % 4)
        table += struct.pack(">4sLL", kind, at + len(bodies), len(body))
        bodies += body
    header = struct.pack(">L4sL4s4s4s", at + len(bodies), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ") + bytes(12)
    header = (header + b"acsp").ljust(68, b"\0") + struct.pack(">3l", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">L", len(tags)) + table + bodies


def heic_file(pixels: np.ndarray, **options: Any) -> bytes:
    """(H, W, 1, 3 or 4) uint8, or uint16 for 10 bits."""
    import pillow_heif

    mode = {1: "L", 3: "RGB", 4: "RGBA"}[pixels.shape[2]] + (";16" if pixels.dtype == np.uint16 else "")
    file = BytesIO()
    image = pillow_heif.from_bytes(mode=mode, size=pixels.shape[1::-1], data=pixels.tobytes())
    image.save(file, quality=90, **options)
    return file.getvalue()


def dng_file(height: int = 96, width: int = 128) -> bytes:
    """A camera RAW of a sensor with an RGGB mosaic, 12 bits, of :func:`smooth` in linear light."""
    import tifffile

    light = (smooth(height, width, dtype=np.uint16) / 65535) ** 2.2
    mosaic = light[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = light[::2, ::2, 0], light[1::2, 1::2, 2]
    to_camera = [(3240970, 10**6), (-1537383, 10**6), (-498611, 10**6), (-969244, 10**6), (1875968, 10**6)]
    to_camera += [(41555, 10**6), (55630, 10**6), (-203977, 10**6), (1056972, 10**6)]
    tags = [
        (271, 2, 0, "A Camera", True),
        (274, 3, 1, 6, True),
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),
        (50708, 2, 0, "A Camera", True),
        (50717, 4, 1, 4095, True),
        (50721, 10, 9, tuple(number for pair in to_camera for number in pair), True),
        (50728, 5, 3, (1, 1, 1, 1, 1, 1), True),
        (50778, 3, 1, 21, True),
    ]
    file = BytesIO()
    mosaic = np.rint(mosaic * 4095).astype(np.uint16)
    tifffile.imwrite(file, mosaic, photometric=32803, extratags=tags, software=False, metadata=None)
    return file.getvalue()
