"""Depth where none was measured: a plausible one, and its edges where the photo has them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from restorecli.training.degrade.draws import chance, smooth_noise, uniform
from restorecli.training.degrade.rendered import cut


def pseudo_depth(thumbnail: Tensor, generator: torch.Generator) -> Tensor:
    """A plausible depth map in [0, 1] for photos without depth: thumbnail (B, 3, S, S) -> (B, 1, S, S).

    A mix, different for each sample, of a perspective gradient (ground towards a horizon), segments of similar
    colour that lie at a depth of their own, the chance that bright, smooth and high places are sky (far), and noise.
    It is no estimate of the true depth: a generator that has seen many plausible ones learns to read haze itself.
    """
    count, _, size, _ = thumbnail.shape
    row = torch.linspace(0, 1, size).view(1, 1, size, 1)
    horizon = uniform((count, 1, 1, 1), 0.05, 0.6, generator)
    sharpness = uniform((count, 1, 1, 1), 0.08, 0.5, generator)
    below = (row - horizon).clamp_min(0)
    ground = (sharpness / (sharpness + below)).expand(-1, 1, -1, size)

    # Colour and place pushed through random planes: a cheap segmentation whose borders are the photo's own edges.
    column = torch.linspace(0, 1, size).view(1, 1, 1, size)
    places = torch.cat([row.expand(count, 1, size, size), column.expand(count, 1, size, size)], 1)
    soft = F.avg_pool2d(F.pad(thumbnail, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    basis = torch.cat([soft * 2.5, places], dim=1)
    planes = torch.randn((count, 4, 5), generator=generator)
    offsets = torch.randn((count, 4, 1, 1), generator=generator) * 0.7
    steps = torch.tanh(3 * (torch.einsum("bkc,bchw->bkhw", planes, basis - basis.mean((2, 3), keepdim=True)) + offsets))
    heights = torch.rand((count, 4, 1, 1), generator=generator)
    segments = _normalised((steps * heights).sum(1, keepdim=True))

    luma = _luma(thumbnail)
    detail = (luma - F.avg_pool2d(F.pad(luma, (2, 2, 2, 2), mode="replicate"), 5, stride=1)).abs()
    blue = (thumbnail[:, 2:3] - thumbnail[:, 0:1]).clamp(-0.2, 0.4)
    sky = torch.sigmoid(10 * (luma + 0.7 * blue - 0.55 - 0.5 * row - 5 * detail))

    weights = torch.rand((count, 3, 1, 1), generator=generator) + 0.1
    weights = weights / weights.sum(1, keepdim=True)
    noise = 0.12 * smooth_noise(count, 5, size, generator)
    depth = weights[:, 0:1] * ground + weights[:, 1:2] * segments + weights[:, 2:3] * 0.6 * luma + noise
    depth = _normalised(depth) ** uniform((count, 1, 1, 1), 0.6, 1.8, generator)
    # Nearly all photos with a sky have it as far away as it is.
    far = sky * chance(count, 0.95, generator)
    return (depth * (1 - far) * uniform((count, 1, 1, 1), 0.5, 1.0, generator) + far).clamp(0, 1)


def enlarge_along_edges(low: Tensor, thumbnail: Tensor, crop: Tensor, box: Tensor) -> Tensor:
    """A map of the whole photo (B, 1, S, S), cut to ``box`` and enlarged so that its edges follow the crop's.

    The fast guided filter (He and Sun, arXiv 1505.00996): a local linear model between the map and the luma of the
    thumbnail, fitted at low resolution, applied at the resolution of the crop.
    """
    guide = _luma(thumbnail)
    radius = 2
    padded = F.pad(torch.cat([guide, low, guide * low, guide * guide], 1), (radius,) * 4, mode="replicate")
    mean_guide, mean_low, mean_both, mean_square = F.avg_pool2d(padded, 2 * radius + 1, stride=1).chunk(4, 1)
    slope = (mean_both - mean_guide * mean_low) / (mean_square - mean_guide**2 + 2e-3)
    model = torch.cat([slope, mean_low - slope * mean_guide], 1)
    model = F.avg_pool2d(F.pad(model, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    height, width = crop.shape[-2:]
    slope, offset = cut(model, box, height, width).chunk(2, 1)
    # The crop's luma without its finest texture, which is no depth.
    luma = F.avg_pool2d(F.pad(_luma(crop), (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (slope * luma + offset).clamp(0, 1)


def _luma(photo: Tensor) -> Tensor:
    return (photo * photo.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _normalised(x: Tensor) -> Tensor:
    """Stretched to [0, 1] in each sample."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return (x - low) / (high - low).clamp_min(1e-4)
