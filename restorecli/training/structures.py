"""Regular lines laid over photos: columns, fences, shutters, facades.

Rain is many lines that obey no rule; what people build is many lines that do. Photos of it are rare in any folder, so
a generator that has only photos to learn from takes rows of bright columns for rain. These drawings are of no photo:
parallel or converging bars of one period, of any slant, crossed by others or not, brighter or darker than what is
behind them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def lay_lines(crop: Tensor, generator: torch.Generator) -> Tensor:
    """A crop (3, H, W) in [0, 1] with regular lines drawn over it; the same generator state draws the same lines."""
    height, width = crop.shape[-2:]

    def uniform(low: float, high: float) -> float:
        return float(torch.rand((), generator=generator)) * (high - low) + low

    def log_uniform(low: float, high: float) -> float:
        return math.exp(uniform(math.log(low), math.log(high)))

    y = (torch.arange(height, dtype=torch.float32) + 0.5 - height / 2).view(-1, 1)
    x = (torch.arange(width, dtype=torch.float32) + 0.5 - width / 2).view(1, -1)
    # Mostly upright, as walls and rain are; now and then of any slant.
    normal = float(torch.randn((), generator=generator)) * 4
    angle = math.radians(normal if uniform(0, 1) < 0.65 else uniform(-90, 90))
    across = x * math.cos(angle) + y * math.sin(angle)
    along = y * math.cos(angle) - x * math.sin(angle)
    # Seen aslant, parallel lines converge.
    converge = uniform(-0.35, 0.35) if uniform(0, 1) < 0.5 else 0.0
    across = across / (1 + converge * along / (height / 2))

    bars = _bars(across, log_uniform(3.5, 56), generator)
    if uniform(0, 1) < 0.3:
        finer = _bars(across, log_uniform(3, 14), generator)
        bars = torch.maximum(bars, finer * uniform(0.2, 0.8))
    crossed = uniform(0, 1)
    if crossed < 0.35:
        # Windows: bars between bars.
        bars = bars * _bars(along, log_uniform(8, 90), generator)
    elif crossed < 0.5:
        # A lattice.
        bars = torch.maximum(bars, _bars(along, log_uniform(6, 60), generator))
    if uniform(0, 1) < 0.4:
        # Columns and railings end somewhere.
        first, last = uniform(-0.6, 0.1) * height, uniform(0, 0.6) * height
        bars = bars * ((along - first).clamp(0, 1) * (last - along).clamp(0, 1))

    bright = uniform(0, 1) < 0.65
    grey = uniform(0.5, 1.0) if bright else uniform(0.0, 0.45)
    colour = (grey + 0.06 * torch.randn((3, 1, 1), generator=generator)).clamp(0, 1)
    shade = 1 + uniform(-0.3, 0.3) * along / height + uniform(-0.3, 0.3) * across / width
    cover = log_uniform(0.15, 1.0) * bars
    return (crop * (1 - cover) + cover * (colour * shade)).clamp(0, 1)


def _bars(position: Tensor, period: float, generator: torch.Generator) -> Tensor:
    """Bars of one period along ``position`` (pixels), in [0, 1]; each a little different, some missing."""
    draws = torch.rand(4, generator=generator)
    phase, share, soft = float(draws[0]), 0.15 + 0.6 * float(draws[1]), 0.5 + float(draws[2])
    at = position / period + phase
    half = max(share * period / 2, 0.6)
    bar = ((half - ((at - at.floor()) - 0.5).abs() * period) / soft + 0.5).clamp(0, 1)
    strength = 1 - 0.5 * float(draws[3]) * torch.rand(64, generator=generator)
    strength = strength * (torch.rand(64, generator=generator) > 0.08)
    return bar * strength[at.floor().long() % 64]
