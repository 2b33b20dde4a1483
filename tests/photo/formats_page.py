"""``docs/formats.md``, from real runs: ``python -m tests.photo.formats_page`` writes it, a test holds it to it.

One photo of every kind goes through ``restore``, and what comes out is read again, by this package for its pixels and
by exiftool for everything else. Every difference that exiftool sees has to be one of those that are explained here.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pylibjxl
import tifffile
from PIL import Image

from restorecli.photo import format_of, jpeg, photoshop, png, read_photo, tiff
from restorecli.photo.formats import TITLES

from .judges import complaints, tags_of
from .photos import (
    MAKER_NOTE,
    XMP,
    cmyk_profile,
    dng_file,
    exif_block,
    grey_profile,
    heic_file,
    png_chunk,
    png_file,
    rgb_profile,
    saved,
    smooth,
)

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
HEIGHT, WIDTH = 64, 80
IPTC = b"\x1c\x02\x5a\x00\x04Graz"
TITLED = XMP.replace(
    b' tiff:Orientation="6"/>', b' tiff:Orientation="6" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Label="A"/>'
)
DPI = (300.0, 300.0)


@dataclass(frozen=True)
class Case:
    """One kind of photo."""

    file: str
    kind: str
    bits: int
    channels: str
    make: Callable[[], bytes]
    has: frozenset[str] = field(default_factory=frozenset)
    """What its file carries: ``icc``, ``exif``, ``xmp``, ``iptc``, ``dpi``, ``turn``."""


def everything(dtype: Any = np.uint8, channels: int = 3) -> np.ndarray:
    """(H, W, C); the last of two or four channels is alpha, with holes."""
    colours = smooth(HEIGHT, WIDTH, 3 if channels > 2 else 1, dtype)
    if channels % 2:
        return colours
    alpha = smooth(HEIGHT, WIDTH, 1, dtype)
    alpha[:10, :10] = 0
    return np.concatenate([colours, alpha], -1)


def thumbnail() -> bytes:
    return saved(smooth(8, 10), "JPEG")


def about(icc: bytes | None) -> dict[str, Any]:
    exif = exif_block(6, size=(WIDTH, HEIGHT), thumbnail=thumbnail())
    return {"icc": icc, "exif": exif, "xmp": TITLED, "dpi": DPI}


def jpeg_file(subsampling: str | None, channels: int = 3, *, progressive: bool = False) -> bytes:
    pixels = everything(channels=channels) if channels < 4 else inks(np.uint8)
    data = jpeg.encode(pixels, coding=jpeg.Coding(subsampling, progressive=progressive), quality=90)
    icc = {1: grey_profile(1.8), 3: rgb_profile(), 4: cmyk_profile()}[channels]
    return jpeg.with_metadata(
        data, **about(icc), photoshop=photoshop.joined(b"", IPTC), segments=jpeg.Segments((b"a comment",))
    )


def inks(dtype: Any) -> np.ndarray:
    return np.concatenate([smooth(HEIGHT, WIDTH, 3, dtype), smooth(HEIGHT, WIDTH, 1, dtype)[::-1] // 2], -1)


def png_of(data: bytes, *, grey: bool = False) -> bytes:
    icc = grey_profile(1.8) if grey else rgb_profile()
    return png.with_metadata(data, **about(icc), iptc=IPTC, texts=((b"tEXt", b"Author\0Somebody"),))


def tiff_of(pixels: np.ndarray, icc: bytes, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels.squeeze(), software=False, metadata=None, **options)
    return tiff.with_metadata(file.getvalue(), **about(icc), iptc=IPTC)


def tiled_tiff() -> bytes:
    tags = [(274, 3, 1, 6, True), (700, 1, len(TITLED), TITLED, True), (33723, 7, len(IPTC), IPTC, True)]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        everything(np.uint16),
        photometric="rgb",
        tile=(32, 32),
        compression="lzw",
        predictor=True,
        iccprofile=rgb_profile(),
        resolution=DPI,
        extratags=tags,
        software=False,
        metadata=None,
    )
    return file.getvalue()


def pages() -> bytes:
    pictures = [Image.fromarray(everything()), Image.new("RGB", (20, 10))]
    return saved(pictures[0], "TIFF", save_all=True, append_images=pictures[1:], compression="tiff_lzw")


def by_pillow(format: str, channels: int, **options: Any) -> bytes:
    own = {"icc_profile": rgb_profile(), "exif": about(None)["exif"], "xmp": TITLED}
    return saved(everything(channels=channels), format, **own, **options)


def heic(dtype: Any, channels: int) -> bytes:
    exif = b"Exif\0\0" + exif_block(6, size=(WIDTH, HEIGHT))
    return heic_file(everything(dtype, channels), exif=exif, xmp=TITLED, icc_profile=rgb_profile())


def jxl(channels: int) -> bytes:
    exif = exif_block(1, size=(WIDTH, HEIGHT))
    return bytes(
        pylibjxl.encode(everything(channels=channels), lossless=True, exif=exif, xmp=TITLED, icc=rgb_profile())
    )


def palette() -> Image.Image:
    return Image.fromarray(everything()).quantize(64)


ALL = frozenset({"icc", "exif", "xmp", "iptc", "dpi", "turn"})
SOME = ALL - {"iptc", "dpi"}
RGB_OPTIONS, ALPHA_OPTIONS = {"photometric": "rgb"}, {"photometric": "rgb", "extrasamples": ["unassalpha"]}

CASES = [
    Case("jpeg-420.jpg", "JPEG, baseline, 4:2:0", 8, "RGB", lambda: jpeg_file("4:2:0"), ALL),
    Case("jpeg-422.jpg", "JPEG, progressive, 4:2:2", 8, "RGB", lambda: jpeg_file("4:2:2", progressive=True), ALL),
    Case("jpeg-440.jpg", "JPEG, 4:4:0", 8, "RGB", lambda: jpeg_file("4:4:0"), ALL),
    Case("jpeg-411.jpg", "JPEG, 4:1:1", 8, "RGB", lambda: jpeg_file("4:1:1"), ALL),
    Case("jpeg-grey.jpg", "JPEG, grey", 8, "grey", lambda: jpeg_file(None, 1), ALL),
    Case("jpeg-cmyk.jpg", "JPEG, CMYK", 8, "CMYK", lambda: jpeg_file(None, 4), ALL - {"dpi"}),
    Case(
        "png-1.png",
        "PNG, black and white",
        1,
        "grey",
        lambda: png_of(saved(Image.fromarray(everything(channels=1)[..., 0]).convert("1"), "PNG"), grey=True),
        ALL,
    ),
    Case("png-palette.png", "PNG, palette", 8, "RGB", lambda: png_of(saved(palette(), "PNG")), ALL),
    Case(
        "png-trns.png",
        "PNG, palette with transparency",
        8,
        "RGBA",
        lambda: png_of(saved(palette(), "PNG", transparency=bytes([0, 90]))),
        ALL,
    ),
    Case("png-8.png", "PNG", 8, "RGB", lambda: png_of(saved(everything(), "PNG")), ALL),
    Case(
        "png-chunks.png",
        "PNG, chunks in place of a profile",
        8,
        "RGB",
        lambda: png_file(
            everything(), 2, before=png_chunk(b"gAMA", b"\0\0\xb1\x8f") + png_chunk(b"sRGB", b"\0"), depth=8
        ),
    ),
    Case(
        "png-8a.png",
        "PNG, grey with alpha",
        8,
        "grey+alpha",
        lambda: png_of(saved(everything(channels=2), "PNG"), grey=True),
        ALL,
    ),
    Case("png-16.png", "PNG", 16, "RGB", lambda: png_of(png_file(everything(np.uint16), 2)), ALL),
    Case("png-16a.png", "PNG, alpha", 16, "RGBA", lambda: png_of(png_file(everything(np.uint16, 4), 6)), ALL),
    Case(
        "png-16ga.png",
        "PNG, grey with alpha",
        16,
        "grey+alpha",
        lambda: png_of(png_file(everything(np.uint16, 2), 4), grey=True),
        ALL,
    ),
    Case("tiff-8.tif", "TIFF", 8, "RGB", lambda: tiff_of(everything(), rgb_profile(), **RGB_OPTIONS), ALL),
    Case(
        "tiff-8a.tif",
        "TIFF, alpha",
        8,
        "RGBA",
        lambda: tiff_of(everything(channels=4), rgb_profile(), **ALPHA_OPTIONS),
        ALL,
    ),
    Case(
        "tiff-8k.tif",
        "TIFF, CMYK",
        8,
        "CMYK",
        lambda: tiff_of(inks(np.uint8), cmyk_profile(), photometric="separated"),
        ALL,
    ),
    Case("tiff-16.tif", "TIFF, LZW, tiled", 16, "RGB", tiled_tiff, ALL - {"exif"}),
    Case(
        "tiff-16g.tif",
        "TIFF, grey",
        16,
        "grey",
        lambda: tiff_of(everything(np.uint16, 1), grey_profile(1.8), photometric="minisblack"),
        ALL,
    ),
    Case(
        "tiff-16ga.tif",
        "TIFF, grey with alpha",
        16,
        "grey+alpha",
        lambda: tiff_of(
            everything(np.uint16, 2),
            grey_profile(1.8),
            photometric="minisblack",
            extrasamples=["unassalpha"],
            planarconfig="contig",
        ),
        ALL,
    ),
    Case(
        "tiff-16a.tif",
        "TIFF, alpha",
        16,
        "RGBA",
        lambda: tiff_of(everything(np.uint16, 4), rgb_profile(), **ALPHA_OPTIONS),
        ALL,
    ),
    Case(
        "tiff-16k.tif",
        "TIFF, CMYK",
        16,
        "CMYK",
        lambda: tiff_of(inks(np.uint16), cmyk_profile(), photometric="separated"),
        ALL,
    ),
    Case("tiff-pages.tif", "TIFF, two pages", 8, "RGB", pages),
    Case("webp-lossy.webp", "WebP, lossy", 8, "RGB", lambda: by_pillow("WEBP", 3, quality=90), SOME),
    Case(
        "webp-alpha.webp", "WebP, lossy, alpha", 8, "RGBA", lambda: by_pillow("WEBP", 4, quality=90, exact=True), SOME
    ),
    Case(
        "webp-lossless.webp",
        "WebP, lossless, alpha",
        8,
        "RGBA",
        lambda: by_pillow("WEBP", 4, lossless=True, exact=True),
        SOME,
    ),
    Case("avif.avif", "AVIF", 8, "RGB", lambda: by_pillow("AVIF", 3, quality=90), SOME),
    Case("avif-alpha.avif", "AVIF, alpha", 8, "RGBA", lambda: by_pillow("AVIF", 4, quality=90), SOME),
    Case("bmp.bmp", "BMP", 8, "RGB", lambda: saved(everything(), "BMP", dpi=DPI), frozenset({"dpi"})),
    Case("gif.gif", "GIF", 8, "RGB", lambda: saved(palette(), "GIF")),
    Case("heic-8.heic", "HEIC", 8, "RGB", lambda: heic(np.uint8, 3), SOME),
    Case("heic-10.heic", "HEIC, alpha", 10, "RGBA", lambda: heic(np.uint16, 4), SOME),
    Case("jxl.jxl", "JPEG XL", 8, "RGB", lambda: jxl(3), SOME - {"turn"}),
    Case("jxl-alpha.jxl", "JPEG XL, alpha", 8, "RGBA", lambda: jxl(4), SOME - {"turn"}),
    Case("raw.dng", "camera RAW (DNG)", 12, "mosaic", dng_file, frozenset({"turn"})),
]

EXPLAINED = {
    "`IFD1:*`": (r"IFD1:.*", "The thumbnail, which shows the old picture, is dropped."),
    "`IFD0:Orientation`, `XMP-tiff:Orientation`": (
        r"(IFD0|XMP-tiff):Orientation",
        "The orientation has been applied: the tags say 1, or are left out where a box of the file says it.",
    ),
    "image width and height": (
        r"(File:Image|ExifIFD:ExifImage)(Width|Height)|Composite:ImageSize",
        "A photo that lay on its side stands upright now: width and height have changed places.",
    ),
    "`IFD0:Software`, `XMP-xmpMM:History*`": (
        r"IFD0:Software|XMP-xmpMM:History.*",
        "The stamp: `Software` in the EXIF, one more entry of `xmpMM:History` in the XMP (`--no-stamp`: neither).",
    ),
    "`IFD0:*Resolution*`, `JFIF:*`": (
        r"IFD0:(ResolutionUnit|XResolution|YResolution)|JFIF:.*",
        "The resolution stands where the format has its place for it.",
    ),
    "tags that describe the coding": (
        r"(IFD0|PNG):(ImageWidth|ImageHeight|BitDepth|BitsPerSample|ColorType|Palette|Transparency|Interlace|Compression"
        r"|Predictor|RowsPerStrip|StripOffsets|StripByteCounts|Tile.*|PlanarConfiguration|ExtraSamples|SampleFormat"
        r"|SubfileType|PhotometricInterpretation|PageNumber|FillOrder|Filter|ProfileName)"
        r"|File:(BitsPerSample|ColorComponents|EncodingProcess|YCbCrSubSampling|ExifByteOrder|Num.*Colors|ImageLength)"
        r"|(RIFF|GIF|Meta|APP14|QuickTime):.*",
        "How the pixels are stored: sizes, palettes, compression, strips.",
    ),
}


def photograph(folder: Path) -> None:
    for case in CASES:
        (folder / case.file).write_bytes(case.make())


def run_restore(source: Path, out: Path, weights: Path, *options: str) -> None:
    command = [sys.executable, "-m", "restorecli", "derain", str(source), "--out", str(out), *options]
    engine = ["--weights", str(weights), "--backend", "onnx", "--device", "cpu", "--quiet"]
    subprocess.run(command + engine, check=True)


def rows(folder: Path, weights: Path) -> tuple[list[list[str]], list[str]]:
    """The rows of the table, and the problems: what nobody explained, and what a judge does not accept."""
    source, out, same = folder / "in", folder / "out", folder / "same"
    source.mkdir()
    photograph(source)
    run_restore(source, out, weights)
    run_restore(source, same, weights, "--strength", "0", "--no-stamp")
    before, after = tags_of(source), tags_of(out)
    table, problems = [], []
    for case in CASES:
        target = next(out.glob(Path(case.file).stem + ".*"))
        format = format_of(target) or ""
        problems += [f"{case.file}: {text}" for text in complaints(target, format)]
        if case.channels != "mosaic":
            problems += [f"{case.file}: {text}" for text in unexplained(before[case.file], after[target.name])]
        table.append(row(case, target, same / target.name, source / case.file, after[target.name]))
        problems += [f"{case.file}: {cell}" for cell in table[-1] if "LOST" in cell]
    return table, problems


def unexplained(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [
        f"{tag}: {str(before.get(tag))[:60]!r} -> {str(after.get(tag))[:60]!r}"
        for tag in sorted({*before, *after})
        if before.get(tag) != after.get(tag)
        and not any(re.fullmatch(pattern, tag) for pattern, _ in EXPLAINED.values())
    ]


def row(case: Case, target: Path, untouched: Path, source: Path, tags: dict[str, Any]) -> list[str]:
    given, found, same = (read_photo(path) for path in (source, target, untouched))
    data = target.read_bytes()
    stored = found.pixels if found.native is None else found.native
    bits = 10 if found.format == "heic" and stored.dtype == np.uint16 else 8 * stored.itemsize
    colours = {1: "grey", 3: "RGB", 4: "CMYK"}[stored.shape[2]]
    if found.alpha is not None:
        colours = {"grey": "grey+alpha", "RGB": "RGBA"}[colours]

    def kept(what: str, is_there: bool) -> str:
        return "-" if what not in case.has else "kept" if is_there else "LOST"

    # Within JPEG XL metadata are compressed in a way that not every exiftool can read.
    compressed, camera = found.format == "jxl", "A Camera"
    upright = found.pixels.shape[:2] == given.pixels.shape[:2] and tags.get("IFD0:Orientation", 1) in (
        1,
        "Horizontal (normal)",
    )
    turned = "turn" in case.has and found.pixels.shape[0] > found.pixels.shape[1]
    values = [photo.pixels if photo.native is None else photo.native for photo in (given, same)]
    identical = values[0].shape == values[1].shape and np.array_equal(*values)
    if given.alpha is not None:
        identical = identical and np.array_equal(given.alpha, same.alpha)
    alpha = "-" if given.alpha is None else "kept" if found.alpha is not None else "LOST"
    return [
        case.kind,
        TITLES[found.format],
        str(case.bits) if case.bits == bits else f"{case.bits} -> {bits}",
        case.channels if case.channels == colours else f"{case.channels} -> {colours}",
        alpha,
        kept("icc", found.icc == given.icc and (compressed or "ICC-header:ProfileClass" in tags)),
        kept(
            "exif",
            MAKER_NOTE in (found.exif or b"" if compressed else data) and tags.get("IFD0:Make", camera) == camera,
        ),
        kept("xmp", b'Label="A"' in (found.xmp or b"") if compressed else tags.get("XMP-xmp:Label") == "A"),
        kept("iptc", tags.get("IPTC:City") == "Graz"),
        kept("dpi", found.dpi is not None and abs(found.dpi[0] - 300) < 1),
        "-" if "turn" not in case.has else "applied" if upright and turned else "LOST",
        "identical" if identical else "coded anew",
    ]


HEADERS = [
    "Photo",
    "Comes back as",
    "Bits",
    "Colours",
    "Alpha",
    "ICC",
    "EXIF",
    "XMP",
    "IPTC",
    "DPI",
    "Orientation",
    "At strength 0",
]

PROSE = """# What becomes of a file

Made by `python -m tests.photo.formats_page` from real runs, and held to it by a test: one photo of every kind went
through `restore`, and what came out was read again, by exiftool for all that is not pixels, and accepted by
ImageMagick's `identify`, `djpeg`, `pngcheck` and `tiffinfo`. (The metadata of JPEG XL are compressed in a way that not
every exiftool can read: those were read by this package alone.) Every file carried a wide-gamut, grey or CMYK
ICC profile, EXIF with maker notes, XMP, IPTC and a resolution, as far as its format has a place for them (`-`: it has
none, or the file had none).

"""

AFTER = """
## Why not all is as it was

- **Bits.** 1, 2 and 4 bits become 8, because restoring makes more shades. 16 bits are computed in floating point and
  rounded once; where the photo has another profile than sRGB, the network works on 16-bit sRGB in between. HEIC holds
  10 bits. Camera RAW becomes TIFF of 16 bits, which has room for all of them and opens everywhere; nothing writes RAW.
  An AVIF of more than 8 bits is read with 8, and a JPEG XL of more than 8 bits is written with 8; both are told
  (`--format tiff` keeps 16 of a JPEG XL).
- **Palettes** become RGB in PNG, because restored colours are more than a palette's. GIF gets a new palette of 256.
- **Colours.** The network sees sRGB. A photo with another profile is converted for it, and what the network changed is
  put back onto the photo's own values in its own profile: a pixel that was not changed keeps its exact value, and
  colours beyond sRGB stay beyond it. CMYK goes into JPEG and TIFF only; elsewhere it becomes sRGB. A YCCK JPEG is
  stored as CMYK. Lab TIFFs become sRGB. Photos without a profile are taken for sRGB. Linear, logarithmic, HDR photos
  (PQ, HLG, floating-point TIFF) are refused: made for another range of light, they would be mangled.
- **Alpha** is never changed, but for what lossy coding does to it in HEIC and JPEG XL. What lies under transparent
  pixels is neither changed nor seen by the network. HEIC and JPEG XL have no grey with alpha: it becomes RGBA.
- **IPTC** has a place in JPEG and TIFF; in PNG it stands where ImageMagick and exiftool keep it. WebP, AVIF, HEIC and
  JPEG XL have none (the XMP often says the same).
- **Resolution** of WebP, AVIF, HEIC, JPEG XL and CMYK JPEGs is in the EXIF. GIF has none.
- **Thumbnails** in EXIF, XMP and Photoshop's resources are dropped: they show the old picture. Previews inside maker
  notes are left, as maker notes stay byte for byte.
- **Other pictures** (pages, frames, HDR gain maps, depth maps, the video of a motion photo) are dropped; that the first
  of several pages or frames was restored is told. In its own place such a photo is not replaced. Dropped too are
  content credentials (C2PA), whose signature would not fit any more.
- **At strength 0** lossless files come back with every value identical. JPEG, lossy WebP, AVIF and HEIC are coded anew:
  `--quality same` gives a JPEG the quantisation tables and the subsampling that it had. JPEG XL is without loss at
  `--quality 100`. A GIF is identical as long as its colours fit into one palette.
- **Makers' own segments** of a JPEG (APP3 to APP12) are dropped: they hold previews, and settings of the old coding.
- **The stamp** has no time, so that the same command makes the same file.

## Differences that exiftool sees

| Tags | Why |
| --- | --- |
"""

END = """
Everything else is the same before and after: the test fails over any other difference. (A camera RAW becomes another
kind of file; what says how to develop it goes.)
"""


def page(table: list[list[str]]) -> str:
    lines = [HEADERS, ["---"] * len(HEADERS), *table]
    text = PROSE + "".join(f"| {' | '.join(line)} |\n" for line in lines) + AFTER
    text += "".join(f"| {tags} | {reason} |\n" for tags, (_, reason) in EXPLAINED.items())
    return text + END


def main() -> None:
    from tests.small import save_weights

    with tempfile.TemporaryDirectory() as folder:
        weights = save_weights(Path(folder), "derain")
        table, problems = rows(Path(folder), weights)
    for problem in problems:
        print(problem, file=sys.stderr)
    PAGE.write_text(page(table), "utf-8")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
