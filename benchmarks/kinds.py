"""What the derain weights gain on rain drawn in ten ways, none of them that of the renderer or of ``quality.py``.

    python benchmarks/kinds.py DATA [--weights FILE] [--ensemble 1] [--json]

DATA holds ``val/haze_outdoor/target`` and ``val/rain_heavy/target``, of which every fourth and every eighth photo is
used; none of them was trained on. As photo editors make rain: peaks of noise, blurred along a line, added or screened.
As augmentation libraries do: lines of one grey, blended, with or without a blur of all. As long exposures show it:
threads of light, sharp or out of focus, that hide what is behind them. As drops are known to look (Garg and Nayar, IJCV
2007): all as bright as the sky that they gather, the nearer the longer, wider and more out of focus, with or without
the beads of a drop that oscillates. All is drawn with a fixed seed. The renderer got ragged sprinkles after a first
look at the figures of noise, lines and threads, so they are no blind test of noise; nothing was chosen by the drops.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import quality
from quality import Pair

from restorecli import Restorer
from restorecli.pairs import photos_in
from restorecli.training.data import read_rgb


def blurred_noise(
    clear: np.ndarray,
    rng: np.random.Generator,
    *,
    length: int,
    above: float,
    light: float,
    screen: bool,
    coarse: int = 1,
) -> Pair:
    """What rises ``above`` so many standard deviations of noise that is blurred over ``length`` pixels is rain."""
    height, width = clear.shape[:2]
    angle = np.radians(rng.uniform(-25, 25))
    line = np.zeros((2 * length + 1,) * 2, np.float32)
    across, down = np.sin(angle) * length / 2, np.cos(angle) * length / 2
    ends = [(int(length + sign * across), int(length + sign * down)) for sign in (-1, 1)]
    cv2.line(line, *ends, color=1.0)
    noise = rng.normal(0, 1, (height // coarse + 1, width // coarse + 1)).astype(np.float32)
    blurred = cv2.filter2D(noise, -1, line / line.sum(), borderType=cv2.BORDER_REFLECT_101)
    layer = (((blurred - blurred.mean()) / blurred.std() - above) / 2).clip(0, 1)
    if coarse > 1:
        layer = cv2.resize(layer, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    layer = layer[:height, :width, None] * light
    return _photo(1 - (1 - clear / 255) * (1 - layer) if screen else clear / 255 + layer), clear


def grey_lines(clear: np.ndarray, rng: np.random.Generator, *, number: int, length: int, blur: int) -> Pair:
    """``number`` lines on a megapixel, blended at 0.7; with ``blur`` the photo as a whole is blurred, target too."""
    height, width = clear.shape[:2]
    drawn, slant = clear.copy(), rng.uniform(-15, 15) * length / 20
    for _ in range(int(number * height * width / 1e6)):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        cv2.line(drawn, (x, y), (int(x + slant), y + length), (200, 200, 200))
    rainy = cv2.addWeighted(clear, 0.3, drawn, 0.7, 0)
    return (cv2.blur(rainy, (blur, blur)), cv2.blur(clear, (blur, blur))) if blur else (rainy, clear)


def threads(clear: np.ndarray, rng: np.random.Generator, *, number: int, focus: float, light: float) -> Pair:
    """``number`` long threads on a megapixel, of a brightness each, ``focus`` pixels (sigma) wide, that cover."""
    height, width = clear.shape[:2]
    layer, fall = np.zeros((height, width), np.float32), rng.normal(0, 8)
    for _ in range(int(number * height * width / 1e6)):
        reach, angle = rng.uniform(20, 80), np.radians(fall + rng.normal(0, 1.5))
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        across, down = np.sin(angle) * reach, np.cos(angle) * reach
        ends = [(int((x + sign * across) * 16), int((y + sign * down) * 16)) for sign in (-1, 1)]
        one = cv2.line(np.zeros((height, width), np.uint8), *ends, 255, 1, cv2.LINE_AA, 4)
        layer = np.maximum(layer, one / np.float32(255) * rng.uniform(0.2, 1) * light)
    cover = cv2.GaussianBlur(layer, (0, 0), focus)[..., None]
    return _photo(clear / 255 * (1 - cover) + 0.9 * cover), clear


def drops(clear: np.ndarray, rng: np.random.Generator, *, number: int, beads: int) -> Pair:
    """``number`` drops on a megapixel, evenly in space from 1 to 12 times the nearest one's distance, in focus at 5;
    the light along a streak rises and falls ``beads`` times."""
    height, width = clear.shape[:2]
    sky = max(0.75, np.quantile(cv2.GaussianBlur(clear, (0, 0), 15), 0.95) / 255)
    distance = np.cbrt(rng.uniform(1, 12**3, int(number * height * width / 1e6)))
    fall, seen = rng.normal(0, 10), np.ones((height, width), np.float32)
    for near, far in ((1, 2), (2, 3.5), (3.5, 6), (6, 9), (9, 12)):
        layer = np.zeros((height, width), np.float32)
        for one in distance[(distance >= near) & (distance < far)]:
            angle, wide = np.radians(fall + rng.normal(0, 2)), 5 / one
            start = np.array([rng.uniform(0, width), rng.uniform(-60, height)])
            way = np.array([np.sin(angle), np.cos(angle)]) * 110 / one
            pieces, phase = max(1, 4 * beads), rng.uniform(0, 2 * np.pi)
            for piece in range(pieces):
                light = 0.7 * min(1, wide) * (0.6 + 0.4 * np.sin(phase + 2 * np.pi * piece / 4) if beads else 1)
                ends = [(start + way * share / pieces) * 16 for share in (piece, piece + 1)]
                points = [(int(x), int(y)) for x, y in ends]
                cv2.line(layer, *points, light, max(1, round(wide)), cv2.LINE_8, 4)
        middle = (near + far) / 2
        seen *= 1 - cv2.GaussianBlur(layer, (0, 0), 0.5 + 2.5 * abs(1 / middle - 1 / 5))
    return _photo(clear / 255 * seen[..., None] + sky * (1 - seen[..., None])), clear


def _photo(values: np.ndarray) -> np.ndarray:
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)


KINDS: dict[str, Callable[[np.ndarray, np.random.Generator], Pair]] = {
    "noise, fine, added": partial(blurred_noise, length=12, above=1.2, light=0.6, screen=False),
    "noise, long, added": partial(blurred_noise, length=40, above=1.4, light=0.5, screen=False),
    "noise, coarse, screened": partial(blurred_noise, length=16, above=1.4, light=0.7, screen=True, coarse=2),
    "noise, dense and faint": partial(blurred_noise, length=20, above=0.3, light=0.25, screen=False),
    "lines, a drizzle": partial(grey_lines, number=1800, length=14, blur=0),
    "lines, heavy, all blurred": partial(grey_lines, number=5000, length=30, blur=3),
    "threads": partial(threads, number=700, focus=0.7, light=0.7),
    "threads out of focus": partial(threads, number=250, focus=1.5, light=0.9),
    "drops": partial(drops, number=25_000, beads=0),
    "drops that oscillate": partial(drops, number=12_000, beads=3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", metavar="FILE")
    parser.add_argument("--ensemble", type=int, choices=[1, 2, 4, 6], help="views to take the mean of; default: auto")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    paths = [
        path
        for name, every in (("haze_outdoor", 4), ("rain_heavy", 8))
        for path in photos_in(args.data / "val" / name / "target")[::every]
    ]
    clear = [read_rgb(path) for path in paths]
    restorer = Restorer("derain", weights=args.weights, ensemble=args.ensemble or "auto")
    results = {}
    for kind, draw in KINDS.items():
        rng = np.random.default_rng(4)
        results[kind] = quality.score(restorer, (draw(photo, rng) for photo in clear))
    quality.tell(results, as_json=args.json)


if __name__ == "__main__":
    main()
