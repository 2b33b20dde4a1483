"""What the README's speed table comes from: the network alone, one photo, and a folder.

    python benchmarks/speed.py all     [--task derain] [--runs 5] [--json]
    python benchmarks/speed.py network [--task derain] [--tile 1024] [--json]
    python benchmarks/speed.py photo   [--task derain] [--megapixels 24] [--runs 5] [--json] [-- --backend torch ...]
    python benchmarks/speed.py folder  [--task derain] [--megapixels 12] [--photos 10] [--json] [-- --jobs 2 ...]
    python benchmarks/speed.py large   [--task derain] [--megapixels 100] [--json]

``all`` is every figure of docs/engine.md, one below the other, in some ten minutes: ``photo`` for both tasks,
``folder``, ``large``, tiles against none and ``auto`` against every other choice on a photo of 6 MP, and a photo of
1 MP from nothing to the file. ``--scale 0.01`` makes all its photos smaller, to try it.

``network`` is one window of each size of tile, cut from nothing and kept in memory, for each backend and precision that
this machine has. ``photo`` and ``folder`` are whole commands, JPEG to JPEG; what follows ``--`` goes to the command.
``folder`` also tells the time of the command over that of as many photos restored one after the other by a process
that does nothing else. ``large`` is one photo, say
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
from collections.abc import Iterator
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
    parser.add_argument("what", choices=["all", "network", "photo", "folder", "large"])
    parser.add_argument("--task", choices=["dehaze", "derain"], default="derain")
    parser.add_argument("--weights")
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--tile", type=int, action="append", help="edge of a window; may be repeated")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="with all: of the sizes of its photos")
    parser.add_argument("--json", action="store_true", help="one object a row")
    parser.add_argument("options", nargs="*", help="for the command, after --")
    args = parser.parse_intermixed_args()
    kinds = {"all": everything, "network": network, "photo": photo, "folder": folder, "large": large}
    for row in kinds[args.what](args):
        shown = json.dumps(row) if args.json else "  ".join(f"{key} {_shown(value)}" for key, value in row.items())
        print(shown, flush=True)


def everything(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What docs/engine.md shows."""

    def sized(megapixels: float, task: str | None = None) -> argparse.Namespace:
        values = vars(args) | {"task": task or args.task, "megapixels": megapixels * args.scale}
        return argparse.Namespace(**values)

    for task in ("derain", "dehaze"):
        for row in photo(sized(24, task)):
            yield {"what": f"{task}, whole command"} | row
    for row in folder(sized(12)):
        yield {"what": "folder"} | row
    for row in large(sized(100), small=6 * args.scale):
        yield {"what": "large photo"} | row
    yield from choices(sized(6))
    for options in ([], ["--backend", "onnx"]):
        one = sized(1)
        one.options = [*args.options, *options]
        for row in photo(one):
            yield {"what": "start-up"} | row | {"torch imported": str(imports_torch(one)).lower()}


def choices(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Tiles against none, and ``auto`` against every backend and precision, on one photo; a slow one once only."""
    weights = resolve(args.weights, args.task)
    auto = Setting("auto", "auto", "auto")
    height, width = sides(args.megapixels)

    def seconds(setting: Setting, tile: int | str = "auto", give_up: float | None = None) -> tuple[str, float]:
        found = measure(weights, setting, height=height, width=width, tile=tile, runs=args.runs, give_up=give_up)
        return found.problem or str(found.setting), found.seconds_per_megapixel

    ran_on, tiled = seconds(auto)
    _, whole = seconds(auto, tile=10**6)
    sizes = {"megapixels": args.megapixels, "on": ran_on}
    yield {"what": "tiles"} | sizes | {"s/MP": tiled, "untiled s/MP": whole, "against untiled": tiled / whole}
    best = tiled
    for setting in settings_for(weights, auto):
        named, found = seconds(setting, give_up=2 * best * args.megapixels)
        best = min(best, found)
        yield {"what": "choice", "megapixels": args.megapixels, "on": named, "s/MP": found}
    yield {"what": "auto"} | sizes | {"s/MP": tiled, "best s/MP": best, "against the best": tiled / best}


def imports_torch(args: argparse.Namespace) -> bool:
    """Whether the command imports PyTorch."""
    code = "import runpy, sys, atexit; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr)); "
    code += "runpy.run_module('restorecli', run_name='__main__')"
    with tempfile.TemporaryDirectory() as place:
        source = jpeg(Path(place) / "photo.jpg", args.megapixels)
        command = [sys.executable, "-c", code, args.task, str(source), "--quiet", *args.options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stderr.split()[-1] == "True"


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
    height, width = sides(args.megapixels)
    named = dict(zip(("backend", "device", "precision"), runs[0].ran_on.split(), strict=True))
    alone = measure(
        resolve(args.weights, args.task), Setting(**named), height=height, width=width, runs=args.runs
    ).seconds
    whole = statistics.median(run.seconds for run in runs)
    sizes = {"photos": args.photos, "megapixels": args.megapixels}
    network = args.photos * statistics.median(alone)
    return [
        sizes | median(runs) | {"photos/s": args.photos / whole, "alone s": network, "against alone": whole / network}
    ]


def large(args: argparse.Namespace, small: float = 6.0) -> list[dict[str, Any]]:
    """A large photo beside a small one."""
    rows = []
    for size in (small, args.megapixels):
        args.megapixels = size
        (row,) = photo(args)
        rows.append(row | {"s/MP": row["restoring s"] / size})
    return [rows[0], rows[1] | {"against the small one": rows[1]["s/MP"] / rows[0]["s/MP"]}]


def jpeg(path: Path, megapixels: float) -> Path:
    """A 3:2 photo of that size."""
    path.parent.mkdir(exist_ok=True)
    height, width = sides(megapixels)
    image = Image.fromarray(data.astronaut()).resize((width, height), Image.Resampling.BICUBIC)
    image.save(path, quality=95)
    return path


def sides(megapixels: float) -> tuple[int, int]:
    """Height and width of a 3:2 photo."""
    height = round(math.sqrt(megapixels * 1e6 / 1.5))
    return height, round(megapixels * 1e6 / height)


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
