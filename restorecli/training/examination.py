"""How good the weights of a run are, and whether they are better than those before: by pairs, or without.

What a run keeps as its best, and what fine-tuning gives back instead of weights that got worse, is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from restorecli.errors import PhotoError
from restorecli.metrics import psnr, psnr_y
from restorecli.models.generators import Generator
from restorecli.training.data import SMALLEST, as_tensor, read_rgb
from restorecli.training.noreference import distance

Scores = dict[str, float]

WINDOW = 768
"""Photos without a target are measured on the middle of this many pixels an edge."""

VALIDATED = 1536
"""Pairs are measured on the middle of this many pixels an edge: in one piece larger photos take more memory than
training does."""


class Examination(Protocol):
    """Scores of a network, and their order."""

    def measure(self, model: Generator, device: torch.device, dtype: torch.dtype) -> Scores:
        """The scores of the network, by name."""
        ...

    def better(self, new: Scores, best: Scores, start: Scores) -> bool:
        """Whether ``new`` is better than the best so far, given what the run started from."""
        ...

    def describe(self, scores: Scores) -> str:
        """The score that decides, for people."""
        ...


@dataclass(frozen=True)
class Paired:
    """By PSNR against targets: of luma for rain, of RGB for haze, as in the papers' tables."""

    pairs: list[tuple[Path, Path]]
    task: str

    def measure(self, model: Generator, device: torch.device, dtype: torch.dtype) -> Scores:
        return validate(model, self.pairs, device, dtype)

    def better(self, new: Scores, best: Scores, start: Scores) -> bool:
        return new[self._key] > best[self._key] + 0.005

    def describe(self, scores: Scores) -> str:
        return f"{scores[self._key]:.2f} dB"

    @property
    def _key(self) -> str:
        return "val_psnr_y" if self.task == "derain" else "val_psnr"


@dataclass(frozen=True)
class Unpaired:
    """By :mod:`restorecli.training.noreference` on photos without targets.

    Better is a distance that is lower, by at least a fiftieth of what the run started from, while clear photos keep as
    close to themselves as they did then (within half a dB; above 45 dB nobody sees the difference).
    """

    degraded: Sequence[Path]
    clear: Sequence[Path]

    def measure(self, model: Generator, device: torch.device, dtype: torch.dtype) -> Scores:
        clear = middles(self.clear)
        restored = [restore_array(model, photo, device, dtype) for photo in middles(self.degraded)]
        kept = [min(psnr(restore_array(model, photo, device, dtype), photo), 100.0) for photo in clear]
        if not restored or not clear:
            raise PhotoError("none of the held-out photos can be read", kind="unreadable")
        return {"held_distance": distance(restored, clear), "held_clear_psnr": float(np.mean(kept))}

    def better(self, new: Scores, best: Scores, start: Scores) -> bool:
        harmless = new["held_clear_psnr"] >= min(start["held_clear_psnr"] - 0.5, 45.0)
        return harmless and new["held_distance"] < best["held_distance"] - 0.02 * start["held_distance"]

    def describe(self, scores: Scores) -> str:
        return (
            f"distance to clear photos {scores['held_distance']:.3f}, clear photos {scores['held_clear_psnr']:.1f} dB"
        )


def validate(
    model: Generator, pairs: list[tuple[Path, Path]], device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """Mean PSNR over the pairs, and its gain over the unrestored photos, in dB (RGB and luma); of large photos over
    their middle alone."""
    rows = []
    for source, wanted in pairs:
        photo, target = (middle(read_rgb(path), VALIDATED) for path in (source, wanted))
        restored = restore_array(model, photo, device, dtype)
        scores = [psnr(restored, target), psnr_y(restored, target), psnr(photo, target), psnr_y(photo, target)]
        rows.append([min(score, 100.0) for score in scores])
    rgb, y, before, before_y = (float(mean) for mean in np.mean(rows, axis=0))
    return {"val_psnr": rgb, "val_psnr_y": y, "val_gain": rgb - before, "val_gain_y": y - before_y}


@torch.inference_mode()
def restore_array(
    model: Generator, photo: np.ndarray, device: torch.device, dtype: torch.dtype = torch.float32
) -> np.ndarray:
    """Whole photo (H, W, 3) uint8 -> restored (H, W, 3) uint8, in one piece: for validation photos of modest size.

    What the network makes of it in one look, without the other views and the overview that the engine may add.
    """
    height, width = photo.shape[:2]
    given = looked_at(model, photo, device)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        y = model(*given)[0, :, :height, :width]
    return (y.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def looked_at(model: Generator, photo: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """A whole photo (H, W, 3) uint8 as a network is given it: a tile (1, 3, h, w) of whole strides, the thumbnail, and
    the tile's place."""
    size = model.config.thumbnail
    small = as_tensor(cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA))[None].to(device)
    height, width = photo.shape[:2]
    # Mirrored to a multiple of the stride, as the engine does: rain that is smeared out at a border stays.
    missing = -height % model.stride, -width % model.stride
    padded = cv2.copyMakeBorder(photo, 0, missing[0], 0, missing[1], cv2.BORDER_REFLECT_101)
    x = as_tensor(padded)[None].to(device)
    return x, small, torch.tensor([[0, 0, x.shape[2] / height, x.shape[3] / width]], device=device)


def middles(paths: Sequence[Path], window: int = WINDOW) -> list[np.ndarray]:
    """The middle of each photo that can be read and is large enough to learn from, up to ``window`` pixels an edge."""
    found = []
    for path in paths:
        try:
            photo = read_rgb(path)
        except PhotoError:
            continue
        if min(photo.shape[:2]) < SMALLEST:
            continue
        found.append(middle(photo, window))
    return found


def middle(photo: np.ndarray, window: int) -> np.ndarray:
    """The middle of a photo (H, W, C), up to ``window`` pixels an edge."""
    top, left = (max(0, (side - window) // 2) for side in photo.shape[:2])
    return np.ascontiguousarray(photo[top : top + window, left : left + window])
