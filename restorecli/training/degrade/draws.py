"""What renderers draw by chance, a value or a map for each sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def log_uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.exp(uniform(shape, math.log(low), math.log(high), generator))


def chance(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """(B, 1, 1, 1) of 0 and 1."""
    return (torch.rand((count, 1, 1, 1), generator=generator) < probability).float()


def smooth_noise(count: int, cells: int, size: int, generator: torch.Generator) -> Tensor:
    """(B, 1, size, size) smooth noise of about ``cells`` bumps an edge, standard deviation about 0.7."""
    coarse = torch.randn((count, 1, cells + 1, cells + 1), generator=generator)
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
