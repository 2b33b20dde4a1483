"""What the shipped weights gain on photos with a known target, and what they do to photos that need nothing.

    python benchmarks/quality.py DATA [--weights derain=FILE] [--weights dehaze=FILE] [--json]

DATA holds ``val/rain_heavy``, ``val/rain_mixed``, ``val/haze_outdoor`` (each with ``input/`` and ``target/``),
``rgbd/rgb`` and ``rgbd/depth`` (numbers from 1300 on are used), and ``clear/scenes`` (``urban_051`` to ``urban_070``
are used). None of these photos was trained on. Indoor haze is rendered as RESIDE does: ``I = J t + A (1 - t)``,
``t = exp(-beta d / max d)``, beta 0.6 to 1.8, A 0.7 to 1.0, drawn with a fixed seed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from restorecli import Restorer
from restorecli.metrics import psnr, psnr_y, ssim, ssim_y
from restorecli.pairs import pair_folders
from restorecli.photo import read_photo
from restorecli.training.data import read_rgb

Pair = tuple[np.ndarray, np.ndarray]


def paired(folder: Path) -> Iterator[Pair]:
    """Input and target of each pair of a validation folder."""
    for source, target in pair_folders(folder / "input", folder / "target")[0]:
        yield read_rgb(source), read_rgb(target)


def indoor_haze(folder: Path) -> Iterator[Pair]:
    """Rendered haze and the photo it was rendered over, for every RGB-D photo numbered 1300 or higher."""
    rng = np.random.default_rng(7)
    margin = 12
    for path in sorted((folder / "rgb").iterdir()):
        if int(path.stem) < 1300:
            continue
        depth = read_photo(next((folder / "depth").glob(f"{path.stem}.*"))).pixels[margin:-margin, margin:-margin, :1]
        clear = read_rgb(path)[margin:-margin, margin:-margin]
        beta, airlight = rng.uniform(0.6, 1.8), rng.uniform(0.7, 1.0)
        transmission = np.exp(-beta * depth.astype(np.float64) / depth.max())
        hazy = clear / 255 * transmission + airlight * (1 - transmission)
        yield np.round(hazy * 255).astype(np.uint8), clear


def score(restorer: Restorer, pairs: Iterator[Pair]) -> dict[str, float]:
    """Means over the pairs, in dB and SSIM: before, after and gain."""
    rows = []
    for photo, target in pairs:
        out = restorer.restore(photo)
        rows.append(
            [psnr(photo, target), psnr(out, target), psnr_y(photo, target), psnr_y(out, target)]
            + [ssim(out, target), ssim_y(out, target)]
        )
    if not rows:
        raise SystemExit("no photos found: DATA does not hold what this benchmark measures")
    before, after, before_y, after_y, similar, similar_y = (float(v) for v in np.mean(rows, axis=0))
    return {
        "photos": len(rows),
        "psnr_rgb_before": before,
        "psnr_rgb": after,
        "gain_rgb": after - before,
        "psnr_y_before": before_y,
        "psnr_y": after_y,
        "gain_y": after_y - before_y,
        "ssim_rgb": similar,
        "ssim_y": similar_y,
    }


def harm(restorer: Restorer, folder: Path) -> dict[str, float]:
    """PSNR of what becomes of clear photos against themselves: mean and worst, RGB."""
    scores = []
    for number in range(51, 71):
        photo = read_rgb(folder / f"urban_{number:03d}.jpg")
        scores.append(min(psnr(restorer.restore(photo), photo), 100.0))
    return {"photos": len(scores), "mean": float(np.mean(scores)), "worst": min(scores)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", action="append", default=[], metavar="TASK=FILE")
    parser.add_argument("--task", choices=["derain", "dehaze"])
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    chosen = dict(pair.split("=", 1) for pair in args.weights)
    data: Path = args.data
    results: dict[str, dict[str, float]] = {}
    for task in [args.task] if args.task else ["derain", "dehaze"]:
        restorer = Restorer(task, weights=chosen.get(task), backend=args.backend, precision=args.precision)
        if task == "derain":
            for name in ("rain_heavy", "rain_mixed"):
                results[name] = score(restorer, paired(data / "val" / name))
        else:
            results["haze_outdoor"] = score(restorer, paired(data / "val" / "haze_outdoor"))
            results["haze_indoor"] = score(restorer, indoor_haze(data / "rgbd"))
        results[f"{task} on clear photos"] = harm(restorer, data / "clear" / "scenes")
    if args.json:
        json.dump(results, sys.stdout, indent=1)
        print()
        return
    for name, values in results.items():
        print(name + ": " + ", ".join(f"{key} {value:.4g}" for key, value in values.items()))


if __name__ == "__main__":
    main()
