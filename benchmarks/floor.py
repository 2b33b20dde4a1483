"""How much the weather changes photos, estimated from two unpaired folders, and the ``unpaired.floor`` that follows.

    python benchmarks/floor.py derain|dehaze DEGRADED CLEAR

Rain: bright upright detail (mean of a white top-hat of 9 pixels across, less that of one of 9 pixels down; scenes have
about as much of either). Haze: the mean dark channel (15 pixels). The estimate is the difference of the two folders'
medians, of 1; its error is that of the medians (bootstrap). Scenes of the two folders should be of one kind.

The floor is a share of it, 1.8 for rain, of which the estimate sees about half, and 0.2 for haze: about 0.8 and 0.25 of
the true change by the rendered weather of ``benchmarks/unpaired.py``. Rain needs more of it: that is where its
degrader settles.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from restorecli.training.data import read_rgb, training_photos

SHARES = {"derain": 1.8, "dehaze": 0.2}


def upright_detail(photo: np.ndarray) -> float:
    """How much more bright detail there is across than along a photo (H, W, 3) uint8, of 1."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    across, down = (cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, np.ones(size, np.uint8)) for size in ((1, 9), (9, 1)))
    return float(across.mean() - down.mean()) / 255


def dark_channel(photo: np.ndarray) -> float:
    """Mean of the dark channel of a photo (H, W, 3) uint8, of 1."""
    return float(cv2.erode(photo.min(2), np.ones((15, 15), np.uint8)).mean()) / 255


def difference(measure: Callable[[np.ndarray], float], degraded: Path, clear: Path) -> tuple[float, float]:
    """The difference of the medians of two folders, and its standard error."""
    values = [np.array([measure(read_rgb(path)) for path in training_photos(one, ())]) for one in (degraded, clear)]
    rng = np.random.default_rng(0)
    drawn = [np.median(rng.choice(value, (1000, len(value))), axis=1) for value in values]
    return float(np.median(values[0]) - np.median(values[1])), float((drawn[0] - drawn[1]).std())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=sorted(SHARES))
    parser.add_argument("degraded", type=Path)
    parser.add_argument("clear", type=Path)
    args = parser.parse_args()
    measure = upright_detail if args.task == "derain" else dark_channel
    found, error = difference(measure, args.degraded, args.clear)
    print(f"estimate {found:.4f} (standard error {error:.4f})")
    if found < 3 * error:
        raise SystemExit("too uncertain for a floor: use more photos, of one kind in both folders, or unpaired.floor=0")
    print(f"--set unpaired.floor={SHARES[args.task] * found:.3f}")


if __name__ == "__main__":
    main()
