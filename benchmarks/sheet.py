"""Before and after of many photos on one PNG, to look at.

python benchmarks/sheet.py dehaze FOLDER sheet.png [--weights FILE] [--first 0] [--count 12]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from restorecli import Restorer
from restorecli.pairs import photos_in
from restorecli.training.data import read_rgb

WIDTH, HEIGHT = 480, 360


def tile(photo: np.ndarray) -> np.ndarray:
    """(HEIGHT, WIDTH, 3): the photo reduced to fit, on grey."""
    scale = min(WIDTH / photo.shape[1], HEIGHT / photo.shape[0], 1.0)
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
    canvas = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=["dehaze", "derain"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=12)
    args = parser.parse_args()
    restorer = Restorer(args.task, weights=args.weights)
    cells = []
    for path in photos_in(args.folder)[args.first : args.first + args.count]:
        photo = read_rgb(path)
        cells.append(np.hstack([tile(photo), tile(restorer.restore(photo))]))
    if len(cells) % 2:
        cells.append(np.full_like(cells[0], 40))
    rows = [np.hstack(cells[i : i + 2]) for i in range(0, len(cells), 2)]
    cv2.imwrite(str(args.out), np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    main()
