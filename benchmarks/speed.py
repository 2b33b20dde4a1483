"""What the README's speed table comes from: the network alone, one photo, and a folder.

    python benchmarks/speed.py network [--task derain] [--tile 1024] [--json]
    python benchmarks/speed.py photo   [--task derain] [--megapixels 24] [--runs 5] [--json] [-- --backend torch ...]
    python benchmarks/speed.py folder  [--task derain] [--megapixels 12] [--photos 10] [--json] [-- --jobs 2 ...]
    python benchmarks/speed.py large   [--task derain] [--megapixels 100] [--json]

``network`` is one window of each size of tile, cut from nothing and kept in memory, for each backend and precision that
this machine has. ``photo`` and ``folder`` are whole commands, JPEG to JPEG; what follows ``--`` goes to the command.
``folder`` also tells the time of the command over the sum of what restoring took. ``large`` is one photo, say
``--megapixels 100``, with its peak memory and its time a megapixel against that of a photo of 6 MP.

The photo is one that scikit-image carries, enlarged. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from skimage import data

from restorecli.inference.benchmark import settings_for
from restorecli.inference.measure import Setting, measure
from restorecli.weights import resolve


@dataclass(frozen=True)
class Run:
    """One whole command."""

    seconds: float
    peak_megabytes: float
    restored: float
    """Seconds that restoring took, all photos together."""
    ran_on: str


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["network", "photo", "folder", "large"])
    parser.add_argument("--task", choices=["dehaze", "derain"], default="derain")
    parser.add_argument("--weights")
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--tile", type=int, action="append", help="edge of a window; may be repeated")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one object a row")
    parser.add_argument("options", nargs="*", help="for the command, after --")
    args = parser.parse_args()
    rows = {"network": network, "photo": photo, "folder": folder, "large": large}[args.what](args)
    for row in rows:
        print(json.dumps(row) if args.json else "  ".join(f"{key} {_shown(value)}" for key, value in row.items()))


def network(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds per megapixel of windows that are restored whole."""
    weights, rows = resolve(args.weights, args.task), []
    stride = weights.descriptor.stride
    for edge in args.tile or [512, 1024, 1536, 2048]:
        side = edge // stride * stride
        for setting in settings_for(weights, Setting("auto", "auto", "auto")):
            found = measure(weights, setting, height=side, width=side, tile=10**6, runs=args.runs)
            row = {"window": side, "setting": str(found.setting), "s/MP": found.seconds_per_megapixel}
            rows.append(row | {"peak MB": (found.peak_memory or 0) / 1e6, "problem": found.problem or ""})
    return rows


def photo(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One photo, the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        source = jpeg(Path(folder) / "photo.jpg", args.megapixels)
        runs = commands(args, source, Path(folder) / "out.jpg")
    return [{"megapixels": args.megapixels} | median(runs)]


def folder(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A folder of photos, the whole command."""
    with tempfile.TemporaryDirectory() as place:
        for number in range(args.photos):
            jpeg(Path(place) / "in" / f"{number}.jpg", args.megapixels)
        runs = commands(args, Path(place) / "in", Path(place) / "out")
    share = statistics.median(run.seconds / run.restored for run in runs)
    rate = args.photos / statistics.median(run.seconds for run in runs)
    sizes = {"photos": args.photos, "megapixels": args.megapixels}
    return [sizes | median(runs) | {"photos/s": rate, "command over restoring": share}]


def large(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A large photo beside one of 6 MP."""
    rows = []
    for size in (6.0, args.megapixels):
        args.megapixels = size
        (row,) = photo(args)
        rows.append(row | {"s/MP": row["restoring s"] / size})
    return [rows[0], rows[1] | {"against 6 MP": rows[1]["s/MP"] / rows[0]["s/MP"]}]


def jpeg(path: Path, megapixels: float) -> Path:
    """A 3:2 photo of that size."""
    path.parent.mkdir(exist_ok=True)
    height = round(math.sqrt(megapixels * 1e6 / 1.5))
    image = Image.fromarray(data.astronaut()).resize(
        (round(megapixels * 1e6 / height), height), Image.Resampling.BICUBIC
    )
    image.save(path, quality=95)
    return path


def commands(args: argparse.Namespace, source: Path, out: Path) -> list[Run]:
    """The command, once to warm the disk and then ``--runs`` times."""
    chosen = ["--weights", args.weights] if args.weights else []
    command = [sys.executable, "-m", "restorecli", args.task, str(source), "--out", str(out), "--overwrite", "--json"]
    return [_run([*command, *chosen, *args.options]) for _ in range(args.runs + 1)][1:]


def _run(command: list[str]) -> Run:
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    photos = [json.loads(line) for line in process.stdout]
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status != 0:
        raise SystemExit(f"the command failed: {' '.join(command)}")
    first = photos[0]
    return Run(
        seconds,
        usage.ru_maxrss / (1000 if sys.platform == "linux" else 1e6),
        sum(found["seconds"]["restore"] for found in photos),
        f"{first['backend']} {first['device']} {first['precision']}",
    )


def median(runs: list[Run]) -> dict[str, Any]:
    """What a row shows of the runs."""
    return {
        "command s": statistics.median(run.seconds for run in runs),
        "restoring s": statistics.median(run.restored for run in runs),
        "peak MB": max(run.peak_megabytes for run in runs),
        "on": runs[0].ran_on,
    }


def _shown(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


if __name__ == "__main__":
    main()
