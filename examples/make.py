"""Render ``hazy.jpg`` and ``rainy.jpg`` beside this file: haze and rain over photos in the public domain.

    PYTHONPATH=. python examples/make.py

The photos come with scikit-image: ``coffee`` (an espresso, Rachel Michetti, CC0) and ``chelsea`` (a cat, Stéfan van der
Walt, CC0). The haze and the rain are drawn by ``restorecli.training.degrade`` from fixed seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from restorecli.training.data import WHOLE, as_tensor
from restorecli.training.degrade import HazeRange, RainRange, Rendered, render_haze, render_rain

HERE = Path(__file__).parent
THUMBNAIL = 64
WIDTH = 640
PLACE = torch.tensor([WHOLE], dtype=torch.float32)


def hazy(photo: Tensor, thumbnail: Tensor, generator: torch.Generator) -> Rendered:
    """Daylight haze that leaves the whole photo readable; (1, 3, H, W) and (1, 3, S, S)."""
    no_depth, no_small_depth = torch.zeros_like(photo[:, :1]), torch.zeros_like(thumbnail[:, :1])
    drawn_from = HazeRange(none=0, beta=(1.4, 1.5), airlight=(0.85, 0.9), noise=0)
    return render_haze(photo, thumbnail, PLACE, no_depth, no_small_depth, torch.zeros(1), generator, drawn_from)


def rainy(photo: Tensor, thumbnail: Tensor, generator: torch.Generator) -> Rendered:
    """A shower; (1, 3, H, W) and (1, 3, S, S)."""
    ranges = RainRange(none=0, length=(20, 70), width=(0.5, 1.3), noise=0)
    return render_rain(photo, thumbnail, PLACE, generator, ranges)


def make(name: str, photo: np.ndarray, render: Callable[..., Rendered], seed: int) -> None:
    """Render over (H, W, 3) uint8 ``photo`` and write the JPEG ``name``."""
    height = round(photo.shape[0] * WIDTH / photo.shape[1])
    photo = cv2.resize(photo, (WIDTH, height), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(photo, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    rendered = render(as_tensor(photo)[None], as_tensor(small)[None], torch.Generator().manual_seed(seed))
    pixels = (rendered.degraded[0] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(HERE / name, quality=92, subsampling="4:4:4")


if __name__ == "__main__":
    make("hazy.jpg", data.coffee(), hazy, 5)
    make("rainy.jpg", data.chelsea(), rainy, 4)
