"""What the shipped weights gain on photos with a known target, and what they do to photos that need nothing.

    python benchmarks/quality.py DATA [--weights TASK=FILE] [--ensemble 1] [--variants] [--json]

DATA holds ``val/rain_heavy``, ``val/rain_mixed``, ``val/haze_outdoor`` (each with ``input/`` and ``target/``),
``rgbd/rgb`` and ``rgbd/depth`` (numbers from 1300 on are used), and ``clear/scenes`` (``urban_051`` to ``urban_070``
are used). None of these photos was trained on. Indoor haze is rendered as RESIDE does: ``I = J t + A (1 - t)``,
``t = exp(-beta d / max d)``, beta 0.6 to 1.8, A 0.7 to 1.0, drawn with a fixed seed. Light rain is drawn line by line
over the twenty city photos, by other means than the renderer that the weights have learnt from. ``--variants`` measures
every set at half and at double size too, and through JPEG of quality 75.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import unpaired

from restorecli import Restorer
from restorecli.metrics import psnr, psnr_y, ssim, ssim_y
from restorecli.pairs import pair_folders
from restorecli.photo import read_photo
from restorecli.training.data import read_rgb

Pair = tuple[np.ndarray, np.ndarray]


def paired(folder: Path) -> Iterator[Pair]:
    """Input and target of each pair of a validation folder."""
    for source, target in pair_folders(folder / "input", folder / "target").pairs:
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


def clear_photos(folder: Path) -> Iterator[np.ndarray]:
    """City photos that nothing was trained on."""
    for number in range(51, 71):
        yield read_rgb(folder / f"urban_{number:03d}.jpg")


def light_rain(folder: Path) -> Iterator[Pair]:
    """City photos with a few thousand thin streaks on each megapixel, and the photos as they were."""
    rng = np.random.default_rng(11)
    for clear in clear_photos(folder):
        yield unpaired.light_rain(clear, rng), clear


def resized(pairs: Iterator[Pair], factor: float) -> Iterator[Pair]:
    """The pairs at another size."""
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    for photo, target in pairs:
        yield tuple(cv2.resize(one, None, fx=factor, fy=factor, interpolation=how) for one in (photo, target))


def as_jpeg(pairs: Iterator[Pair]) -> Iterator[Pair]:
    """The pairs with the input saved as JPEG of quality 75."""
    for photo, target in pairs:
        coded = cv2.imencode(".jpg", np.ascontiguousarray(photo[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
        yield np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[..., ::-1].copy(), target


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
    scores = [min(psnr(restorer.restore(photo), photo), 100.0) for photo in clear_photos(folder)]
    return {"photos": len(scores), "mean": float(np.mean(scores)), "worst": min(scores)}


def tell(results: dict[str, dict[str, float]], *, as_json: bool) -> None:
    """All figures on standard output, a line a set or as one JSON object."""
    if as_json:
        json.dump(results, sys.stdout, indent=1)
        print()
        return
    for name, values in results.items():
        print(name + ": " + ", ".join(f"{key} {value:.4g}" for key, value in values.items()))


def sets(task: str, data: Path) -> dict[str, Callable[[], Iterator[Pair]]]:
    """The sets of pairs of a task, by name."""
    scenes = data / "clear" / "scenes"
    if task == "derain":
        return {
            "rain_heavy": lambda: paired(data / "val" / "rain_heavy"),
            "rain_mixed": lambda: paired(data / "val" / "rain_mixed"),
            "rain_light": lambda: light_rain(scenes),
        }
    return {
        "haze_outdoor": lambda: paired(data / "val" / "haze_outdoor"),
        "haze_indoor": lambda: indoor_haze(data / "rgbd"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", action="append", default=[], metavar="TASK=FILE")
    parser.add_argument("--task", choices=["derain", "dehaze"])
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--ensemble", type=int, choices=[1, 2], help="views to take the mean of; default: auto")
    parser.add_argument("--variants", action="store_true", help="other sizes and JPEG too")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    chosen = dict(pair.split("=", 1) for pair in args.weights)
    data: Path = args.data
    results: dict[str, dict[str, float]] = {}
    for task in [args.task] if args.task else ["derain", "dehaze"]:
        restorer = Restorer(
            task,
            weights=chosen.get(task),
            backend=args.backend,
            precision=args.precision,
            ensemble=args.ensemble or "auto",
        )
        for name, pairs in sets(task, data).items():
            results[name] = score(restorer, pairs())
            if args.variants:
                results[f"{name}, half size"] = score(restorer, resized(pairs(), 0.5))
                results[f"{name}, double size"] = score(restorer, resized(pairs(), 2))
                results[f"{name}, JPEG 75"] = score(restorer, as_jpeg(pairs()))
        results[f"{task} on clear photos"] = harm(restorer, data / "clear" / "scenes")
    tell(results, as_json=args.json)


if __name__ == "__main__":
    main()
