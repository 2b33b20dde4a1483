"""A batch of rendered samples, and what every renderer does to make one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Rendered:
    """A batch of rendered samples; all values in [0, 1]."""

    degraded: Tensor
    """(B, 3, H, W) crop with haze or rain, quantised to 8 bits like any photo."""
    thumbnail: Tensor
    """(B, 3, S, S) thumbnail of the whole degraded photo."""
    clear: Tensor
    """(B, 3, H, W) the crop as it should come out: without rain, and without haze down to a transmission of
    :data:`~restorecli.training.degrade.haze.KNOWABLE`."""
    place: Tensor
    """(B, 4) where in the photo the crop lies: top, left, bottom, right in [0, 1]."""


def _box_grid(box: Tensor, height: int, width: int) -> Tensor:
    """Sampling grid (B, H, W, 2) that reads the part ``box`` (B, 4: top, left, bottom, right in [0, 1]) of a map."""
    rows = (torch.arange(height) + 0.5) / height
    columns = (torch.arange(width) + 0.5) / width
    y = box[:, 0:1] + (box[:, 2:3] - box[:, 0:1]) * rows
    x = box[:, 1:2] + (box[:, 3:4] - box[:, 1:2]) * columns
    grid = torch.stack(
        [x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)],
        dim=-1,
    )
    return grid * 2 - 1


def cut(photo_map: Tensor, box: Tensor, height: int, width: int) -> Tensor:
    """The part ``box`` of a map of the whole photo, bilinearly enlarged to (B, C, height, width)."""
    return F.grid_sample(photo_map, _box_grid(box, height, width), align_corners=False, padding_mode="border")


def with_noise(photo: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Photos (B, C, H, W) with white Gaussian noise of standard deviation ``sigma`` (B, 1, 1, 1)."""
    return photo + sigma * torch.randn(photo.shape, generator=generator)


def as_photo(photo: Tensor) -> Tensor:
    """Clipped and rounded to 8 bits, as a camera's file is."""
    return (photo.clamp(0, 1) * 255).round() / 255
