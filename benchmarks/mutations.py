"""Photos with damage of every kind: whether a folder of them is restored, or each failure named, in time and memory.

    python benchmarks/mutations.py [--files 2000] [--folder FOLDER] [--weights FILE] [--seed 0] [--keep FOLDER]

Bits flipped, ends cut off, numbers in headers made huge, and the head of one file put before the tail of another, for
every format that is read. They are restored in folders of --batch, each by a process of its own that takes photos of
--max-pixels at most. Wrong are: a traceback or an internal error, more than 10 s for one file, a process of more than
--memory MB or ended by a signal, an exit code but 0 and 1, a file without its line of JSON, a failure that does not
name its file, an output that cannot be read. Prints what it counted, copies what went wrong to --keep, and exits with 1
when there is anything.

Each batch is a process that was forked from one that has imported everything.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forked
import numpy as np
from PIL import Image, ImageCms

from restorecli.errors import PhotoError
from restorecli.photo import SUFFIXES, Photo, encode_photo, read_photo
from restorecli.photo.formats import ALPHA_FORMATS, DEEP_FORMATS
from restorecli.photo.names import shown

LIMIT_SECONDS = 10
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


def smooth(height: int, width: int, channels: int, dtype: Any = np.uint8) -> np.ndarray:
    """(H, W, C) gradients with some noise."""
    y, x = np.mgrid[:height, :width]
    planes = [(x + index * y) / (width + index * height) for index in range(channels)]
    noisy = np.stack(planes, -1) * 0.9 + np.random.default_rng(0).random((height, width, channels)) * 0.1
    return (noisy * np.iinfo(dtype).max).astype(dtype)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def sound_files() -> list[tuple[str, bytes]]:
    """Suffix and bytes of sound photos: each format, depth and kind, with metadata."""
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A Camera", 6
    about: dict[str, Any] = {"exif": exif.tobytes(), "dpi": (300.0, 300.0)}
    about["xmp"] = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF></rdf:RDF></x:xmpmeta>'
    found = []
    for format, suffix in SUFFIXES.items():
        for channels in (1, 3):
            for dtype in (np.uint8, np.uint16) if format in DEEP_FORMATS else (np.uint8,):
                for alpha in (False, True) if format in ALPHA_FORMATS else (False,):
                    plane = smooth(40, 50, 1, dtype)[..., 0] if alpha else None
                    profile = icc if channels == 3 else None
                    photo = Photo(smooth(40, 50, channels, dtype), plane, format=format, icc=profile, **about)
                    try:
                        found.append((suffix, encode_photo(photo)[0]))
                    except PhotoError as error:
                        # Formats of optional packages are damaged where those are installed.
                        if error.kind != "extra":
                            raise
    colour, other = (Image.fromarray(smooth(40, 50, 3)[::step]) for step in (1, -1))
    for mode, format, suffix, options in (
        ("RGB", "JPEG", ".jpg", {"progressive": True, "exif": exif, "icc_profile": icc}),
        ("CMYK", "JPEG", ".jpg", {}),
        ("P", "PNG", ".png", {"transparency": 3}),
        ("1", "PNG", ".png", {}),
        ("RGB", "PNG", ".png", {"save_all": True, "append_images": [other]}),
        ("RGB", "TIFF", ".tif", {"compression": "tiff_lzw"}),
        ("RGB", "TIFF", ".tif", {"compression": "jpeg"}),
        ("L", "TIFF", ".tif", {"compression": "packbits", "save_all": True, "append_images": [other.convert("L")]}),
        ("CMYK", "TIFF", ".tif", {}),
        ("1", "TIFF", ".tif", {"compression": "group4"}),
        ("RGB", "WEBP", ".webp", {"lossless": True, "exif": exif}),
        ("RGB", "WEBP", ".webp", {"save_all": True, "append_images": [other]}),
        ("P", "BMP", ".bmp", {}),
        ("P", "GIF", ".gif", {"save_all": True, "append_images": [other.convert("P")], "disposal": 2}),
    ):
        found.append((suffix, saved(colour.convert(mode), format, **options)))
    return found


def mutated(sound: list[tuple[str, bytes]], chance: random.Random) -> tuple[str, bytes]:
    """Suffix and bytes of one damaged file."""
    suffix, whole = chance.choice(sound)
    data = bytearray(whole)

    def place() -> int:
        # Headers are short, and what goes wrong there goes furthest.
        return chance.randrange(min(len(data), 512 if chance.random() < 0.6 else len(data)))

    kind = chance.choice(("bits", "bits", "cut", "numbers", "splice", "repeat"))
    if kind == "bits":
        for _ in range(chance.choice((1, 2, 4, 16, 64))):
            data[place()] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del data[chance.randrange(len(data)) :]
    elif kind == "numbers":
        for _ in range(chance.choice((1, 1, 2, 4))):
            number, at = chance.choice(NUMBERS), place()
            size = max(1, (number.bit_length() + 7) // 8)
            data[at : at + size] = number.to_bytes(size, chance.choice(("big", "little")))
    elif kind == "splice":
        _, tail = chance.choice(sound)
        data = data[: place()] + tail[chance.randrange(len(tail)) :]
    else:
        at = place()
        data[at:at] = data[at : at + chance.randrange(1, 200)] * chance.choice((1, 10, 1000))
    return suffix, bytes(data)


@dataclass
class Batch:
    """What came of one folder."""

    code: int
    lines: list[str] = field(default_factory=list)
    slowest: float = 0.0
    megabytes: float = 0.0
    errors: str = ""


def restore(folder: Path, out: Path, options: list[str]) -> Batch:
    """Restore a folder in a process of its own, which is killed when nothing comes of it for LIMIT_SECONDS."""
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as errors:
        process = forked.start(
            ["derain", folder, "--out", out, "--json", *options], stdout=writing, stderr=errors.fileno()
        )
        os.close(writing)
        output, slowest, last = b"", 0.0, time.perf_counter()
        while True:
            ready = select.select([reading], [], [], LIMIT_SECONDS)[0]
            slowest = max(slowest, time.perf_counter() - last)
            if not ready:
                os.kill(process, signal.SIGKILL)
                break
            last = time.perf_counter()
            part = os.read(reading, 1 << 16)
            if not part:
                break
            output += part
        os.close(reading)
        _, status, usage = os.wait4(process, 0)
        errors.seek(0)
        text = errors.read().decode(errors="replace")
    megabytes = usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    return Batch(os.waitstatus_to_exitcode(status), output.decode().splitlines(), slowest, megabytes, text)


def problems(batch: Batch, files: list[Path], megabytes: int) -> Iterator[tuple[str, Path | None]]:
    """What went wrong, each with the file where one can be told."""
    if "Traceback" in batch.errors:
        yield "TRACEBACKS", None
    if batch.slowest > LIMIT_SECONDS:
        yield "HANGS", None
    elif batch.code not in (0, 1):
        yield f"ENDED WITH {batch.code}", None
    if batch.megabytes > megabytes:
        yield "OVER THE MEMORY BOUND", None
    told = {found["input"]: found for found in map(json.loads, batch.lines)}
    for path in files:
        found = told.get(str(path))
        if found is None:
            yield "NOT TOLD OF", path
        elif found["status"] == "failed":
            if found["error"]["kind"] == "internal":
                yield "INTERNAL ERRORS", path
            if not found["error"]["message"].startswith((shown(path), shown(found["output"] or path))):
                yield "FAILURES THAT DO NOT NAME THEIR FILE", path
            if f"restore: {found['error']['message']}" not in batch.errors.splitlines():
                yield "FAILURES NOT ON STANDARD ERROR", path
        else:
            try:
                read_photo(found["output"])
            except PhotoError:
                yield "OUTPUTS THAT CANNOT BE READ", path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--max-pixels", default="4MP")
    parser.add_argument("--memory", type=int, default=1000, help="bound on each process, in MB")
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's temporary folder")
    parser.add_argument("--weights", help="default: the shipped ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the files that something went wrong with")
    args = parser.parse_args()
    # A process that loses control is not to take the machine along.
    resource.setrlimit(resource.RLIMIT_DATA, (16 << 30, 16 << 30))
    options = ["--backend", "onnx", "--device", "cpu", "--max-pixels", args.max_pixels]
    options += ["--weights", args.weights] if args.weights else []
    sound, chance = sound_files(), random.Random(args.seed)
    statuses: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    slowest = most = 0.0
    for first in range(0, args.files, args.batch):
        with tempfile.TemporaryDirectory(dir=args.folder) as place:
            folder, files = Path(place, "in"), []
            folder.mkdir()
            for number in range(first, min(first + args.batch, args.files)):
                suffix, data = mutated(sound, chance)
                files.append(folder / f"{number:05}{suffix}")
                files[-1].write_bytes(data)
            batch = restore(folder, Path(place, "out"), options)
            slowest, most = max(slowest, batch.slowest), max(most, batch.megabytes)
            for found in map(json.loads, batch.lines):
                statuses[found["error"]["kind"] if found["error"] else found["status"]] += 1
            for what, path in problems(batch, files, args.memory):
                wrong[what] += 1
                if args.keep is not None:
                    args.keep.mkdir(parents=True, exist_ok=True)
                    for one in files if path is None else [path]:
                        shutil.copy(one, args.keep / f"{what.lower().replace(' ', '-')}-{one.name}")
    print(f"{args.files} files of {len(sound)} sound ones: " + ", ".join(f"{n} {s}" for s, n in statuses.most_common()))
    print(f"longest wait for the next result {slowest:.1f} s, largest process {most:.0f} MB")
    for what, count in wrong.items() or [("NOTHING WRONG", 0)]:
        print(f"{count or ''} {what.lower()}".strip())
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
