"""Strictly unpaired learning: what ``dcd`` gains on light rain and ``cdd`` on indoor haze, with no pair to learn from.

    python benchmarks/unpaired.py dcd|cdd DATA [--work FOLDER] [--steps N] [--time-limit 150m] [--set key=value]

The scenes of DATA are split once, with a fixed seed: 30 are held out; over half of the others rain or haze is rendered,
and they become the degraded folder; the other half, as it is, becomes the clear one. The trainer sees these two folders
of different scenes and nothing else: no pairs, and no rendered training pairs (``rendered.weight`` 0). It is scored, at
the end, on the 30 held-out pairs of the same rendering, with the last weights.

Rain: ``clear/scenes`` and ``clear/bsds``, a few thousand thin streaks on each megapixel, drawn line by line. Haze:
``rgbd/rgb`` with ``rgbd/depth``, ``I = J t + A (1 - t)``, ``t = exp(-beta d / max d)``, beta 0.6 to 1.8, A 0.7 to 1.0.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from restorecli.cli.quantities import duration
from restorecli.pairs import pair_folders, photos_in
from restorecli.training.config import TrainConfig, load_preset
from restorecli.training.data import read_rgb
from restorecli.training.examination import validate
from restorecli.training.loop import train
from restorecli.training.options import Event, Options
from restorecli.weights import load_network, resolve

HELD_OUT = 30
EDGE = 640
"""Longest side of the photos that are worked with."""


def light_rain(clear: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Thin streaks over a photo (H, W, 3) uint8, drawn at four times its size."""
    height, width = clear.shape[:2]
    layer = np.zeros((height * 4, width * 4), np.uint8)
    slant, length = np.radians(rng.normal(0, 12)), rng.uniform(12, 40)
    thickness, brightness = rng.uniform(0.8, 1.6), rng.uniform(0.35, 0.7)
    for _ in range(int(rng.uniform(1200, 4000) * height * width / 1e6)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        angle, reach = slant + np.radians(rng.normal(0, 2)), length * rng.uniform(0.5, 1.5) / 2
        dx, dy = np.sin(angle) * reach, np.cos(angle) * reach
        ends = [(round((x + sign * dx) * 4), round((y + sign * dy) * 4)) for sign in (-1, 1)]
        cv2.line(layer, *ends, color=int(255 * brightness * rng.uniform(0.4, 1)), thickness=round(thickness * 4))
    rain = cv2.GaussianBlur(cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA), (0, 0), 0.5)
    return np.rint(clear + rain[..., None] / 255 * (255 - clear.astype(np.float64))).astype(np.uint8)


def indoor_haze(clear: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Haze over a photo (H, W, 3) uint8 by its depth (H, W)."""
    beta, airlight = rng.uniform(0.6, 1.8), rng.uniform(0.7, 1.0)
    transmission = np.exp(-beta * depth.astype(np.float64) / depth.max())[..., None]
    return np.round(clear * transmission + 255 * airlight * (1 - transmission)).astype(np.uint8)


def scenes(method: str, data: Path) -> list[Path]:
    """The clear photos that there are."""
    if method == "dcd":
        return [path for folder in ("scenes", "bsds") for path in photos_in(data / "clear" / folder)]
    depths = {path.stem for path in photos_in(data / "rgbd" / "depth")}
    return [path for path in photos_in(data / "rgbd" / "rgb") if path.stem in depths]


def pair(method: str, path: Path, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A clear photo, and the same photo degraded."""
    clear = read_rgb(path)
    if method == "dcd":
        scale = EDGE / max(clear.shape[:2])
        if scale < 1:
            clear = cv2.resize(clear, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return clear, light_rain(clear, rng)
    depth = read_rgb(next((path.parent.parent / "depth").glob(f"{path.stem}.*")))
    # Cameras that measure depth leave an unreliable margin.
    clear, depth = (one[12:-12, 12:-12] for one in (clear, depth))
    return clear, indoor_haze(clear, depth[..., 0], rng)


def prepare(method: str, data: Path, work: Path) -> None:
    """The folders ``degraded``, ``clear``, ``held/input`` and ``held/target`` under ``work``, unless they are there."""
    if (work / "ready").exists():
        return
    for name in ("degraded", "clear", "held/input", "held/target"):
        (work / name).mkdir(parents=True, exist_ok=True)
    found = scenes(method, data)
    if len(found) <= HELD_OUT + 2:
        raise SystemExit(f"{data} holds {len(found)} scenes of this kind: too few")
    for rank, index in enumerate(np.random.default_rng(5).permutation(len(found))):
        path = found[index]
        clear, degraded = pair(method, path, np.random.default_rng((3, int(index))))
        if rank < HELD_OUT:
            files = {"held/target": clear, "held/input": degraded}
        else:
            files = {"clear": clear} if rank % 2 else {"degraded": degraded}
        for folder, photo in files.items():
            name = f"{path.parent.name}_{path.stem}.png"
            cv2.imwrite(str(work / folder / name), np.ascontiguousarray(photo[..., ::-1]))
    (work / "ready").touch()


def learn(config: TrainConfig, work: Path, run: Path, device: str, limit: float | None) -> dict[str, float]:
    """Train on the two folders alone and score the last weights on the held-out pairs."""
    assert config.rendered.weight == 0, "rendered pairs would be pairs"

    def tell(event: Event) -> None:
        if event.kind in ("start", "step", "warning", "stop"):
            values = "  ".join(f"{name} {value:.3g}" for name, value in event.values.items())
            print(f"step {event.step}/{event.steps}  {event.message}{values}", file=sys.stderr, flush=True)

    began = time.monotonic()
    options = Options(work / "degraded", work / "clear", run, config, device=device, time_limit=limit)
    outcome = train(options, tell)
    network = load_network(resolve(str(outcome.weights), config.task))
    pairs = pair_folders(work / "held" / "input", work / "held" / "target").pairs
    scores = validate(network, pairs, torch.device("cpu"), torch.float32)  # type: ignore[arg-type]
    return {"steps": outcome.step, "minutes": round((time.monotonic() - began) / 60, 1), "pairs": len(pairs), **scores}


def arguments(description: str) -> argparse.ArgumentParser:
    """What the benchmarks of unpaired learning have in common."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("method", choices=["dcd", "cdd"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs"), help="where folders and runs are kept")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--time-limit", default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser


def main() -> None:
    args = arguments((__doc__ or "").splitlines()[0]).parse_args()
    work = args.work / f"unpaired-{args.method}"
    prepare(args.method, args.data, work)
    steps = [f"steps={args.steps}"] if args.steps else []
    config = load_preset(args.method).with_overrides([*steps, *args.set])
    limit = duration(args.time_limit) if args.time_limit else None
    print(json.dumps(learn(config, work, work / "run", args.device, limit), indent=1))


if __name__ == "__main__":
    main()
