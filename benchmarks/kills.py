"""Folder runs that are killed at random moments: what is left of them, and whether the same command then finishes.

    python benchmarks/kills.py [--kills 200] [--folder FOLDER] [--weights FILE] [--seed 0]

Photos of every kind are restored from one folder into another below FOLDER (a local disk), and the process gets SIGKILL
at a random moment between its start and its end. Every file that then has an output's name must be the output of a run
that nobody disturbed, pixel by pixel; where outputs are being replaced, that or the one before. Then the same command
must finish, and leave nothing of the killed run behind. Prints what it counted; exits with 1 when anything is wrong.

Each run is a process that was forked from one that has imported everything, so that the moments lie where files are
read and written, not where Python starts.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import forked
import numpy as np
from PIL import Image

from restorecli.photo import TEMP_PREFIX, Photo, read_photo, write_photo

SIZE = (48, 64)
KINDS = ("a.jpg", "b.png", "c 16 bits.png", "d.tiff", "e.webp", "sub/f.jpg", "sub/g.bmp", "sub/deep/h 16 bits.tif")
NAMES = tuple(f"{folder}/{kind}" for folder in range(5) for kind in KINDS)


@dataclass(frozen=True)
class Folders:
    """Where the photos of this benchmark lie."""

    photos: Path
    undisturbed: Path
    before: Path
    """What outputs hold that are to be replaced."""
    out: Path


def make_photos(folder: Path, seed: int) -> None:
    """One photo for each of NAMES."""
    numbers = np.random.default_rng(seed)
    for name in NAMES:
        dtype = np.uint16 if "16" in name else np.uint8
        pixels = numbers.integers(0, np.iinfo(dtype).max, (*SIZE, 3), dtype)
        write_photo(Photo(pixels), folder / name)


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Checksum and time of each file below a folder."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def is_whole(path: Path, *wanted: Path) -> bool:
    """Whether Pillow and our own reader decode a file to its end, to the pixels of one of the wanted ones."""
    try:
        with Image.open(path) as image:
            image.load()
        pixels = read_photo(path).pixels
    except Exception:
        return False
    return any(np.array_equal(pixels, read_photo(one).pixels) for one in wanted if one.is_file())


def remains(folder: Path) -> int:
    """Half-written files anywhere below a folder."""
    return sum(path.name.startswith(TEMP_PREFIX) for path in folder.rglob("*"))


def broken(folders: Folders) -> list[Path]:
    """Files under an output's name that no run to its end would have left there."""
    found = [path for path in folders.out.rglob("*") if path.is_file() and not path.name.startswith(TEMP_PREFIX)]
    names = {path: path.relative_to(folders.out) for path in found}
    return [p for p in found if not is_whole(p, folders.undisturbed / names[p], folders.before / names[p])]


def finished(folders: Folders) -> int:
    """How many outputs are those of the undisturbed run."""
    return sum(is_whole(folders.out / name, folders.undisturbed / name) for name in NAMES)


def killed_after(arguments: list[str | Path], seconds: float, sink: int) -> bool:
    """Run a command line and kill it after this long; False when it had ended by then."""
    process = forked.start(arguments, stdout=sink, stderr=sink)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.WIFSIGNALED(status)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's temporary folder")
    parser.add_argument("--weights", help="default: the shipped ones")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    moments = random.Random(args.seed)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=args.folder) as name, open(Path(name, "log"), "wb") as log:
        folders = Folders(*(Path(name, kind) for kind in ("photos", "undisturbed", "before", "out")))
        make_photos(folders.photos, args.seed)
        inputs = state(folders.photos)
        options = ["--backend", "onnx", "--device", "cpu", "--preserve-times"]
        options += ["--weights", args.weights] if args.weights else []
        command = ["derain", folders.photos, *options, "--out"]

        def finishes(*last: str | Path) -> bool:
            return forked.run([*command, *last], stdout=log.fileno(), stderr=log.fileno()) == 0

        if not (finishes(folders.undisturbed) and finishes(folders.before, "--strength", "0")):
            raise SystemExit(f"the command fails undisturbed: {Path(log.name).read_text(errors='replace')}")
        began = time.perf_counter()
        finishes(folders.out)
        duration = time.perf_counter() - began
        while counts["kills"] < args.kills:
            shutil.rmtree(folders.out, ignore_errors=True)
            last: list[str | Path] = [folders.out]
            if counts["kills"] % 2:
                shutil.copytree(folders.before, folders.out)
                last.append("--overwrite")
            if not killed_after([*command, *last], moments.uniform(0, duration), log.fileno()):
                continue
            counts["kills"] += 1
            done = finished(folders)
            moment = "before the first" if not done else "between the first and the last" if done < len(NAMES) else ""
            counts[f"of them {moment or 'after the last'} output"] += 1
            counts["half-written files left by them, under names of their own"] += remains(folders.out)
            counts["BROKEN OUTPUTS"] += len(broken(folders))
            counts["RERUNS THAT DID NOT FINISH"] += not (
                finishes(*last) and not broken(folders) and finished(folders) == len(NAMES)
            )
            counts["RUNS THAT CHANGED AN INPUT"] += state(folders.photos) != inputs
            counts["HALF-WRITTEN FILES AFTER THE RERUN"] += remains(folders.out)
    for what, count in counts.items():
        print(f"{count} {what.lower()}")
    sys.exit(any(count for what, count in counts.items() if what.isupper()))


if __name__ == "__main__":
    main()
