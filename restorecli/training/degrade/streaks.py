"""Layers of streaks, and what becomes of them in a thumbnail.

A layer is noise blurred along the direction of fall (Garg and Nayar, IJCV 2007, for the look of a single streak).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def streaks(
    count: int,
    height: int,
    width: int,
    length: Tensor,
    thickness: Tensor,
    angle: Tensor,
    density: Tensor,
    threshold: Tensor,
    gain: Tensor,
    dense: Tensor,
    soft: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Layers of streaks (N, H, W) in [0, 1]; each parameter is (N,): lengths in pixels, ``angle`` in radians.

    Noise is multiplied in frequency space by the transform of a line of that length with a Gaussian profile. Where
    ``dense`` is 0 the noise is sparse drops, ``density`` of them a pixel, each leaving a streak of its own brightness,
    up to ``gain``; where they cross, they add up.
    Where it is 1 the noise is white and what rises over ``threshold`` standard deviations is rain, ``gain`` bright for
    each further one, which gives the ragged, touching streaks of a downpour. ``soft`` 1 gives streaks that fade
    towards their ends, 0 a shutter's. The layers wrap round their edges, so no streak begins at a border.
    """
    fy = torch.fft.fftfreq(height).view(1, -1, 1)
    fx = torch.fft.rfftfreq(width).view(1, 1, -1)
    sine, cosine = torch.sin(angle).view(-1, 1, 1), torch.cos(angle).view(-1, 1, 1)
    soft = soft.view(-1, 1, 1)
    along = fy * cosine + fx * sine
    across = fx * cosine - fy * sine
    length, thickness = length.view(-1, 1, 1), thickness.view(-1, 1, 1)
    # Soft ends: Gaussian along the streak too. Hard ends: a box, rounded a little to keep it from ringing.
    fade = torch.where(soft > 0, length * 0.4, 0.5 * thickness.clamp(0.5, 4))
    response = torch.where(soft > 0, 1.0, torch.sinc(length * along)) * torch.exp(
        -2 * math.pi**2 * (thickness**2 * across**2 + fade**2 * along**2)
    )
    drops = torch.rand((count, height, width), generator=generator)
    # Each layer in its own way only.
    many = dense > 0
    few, gain = ~many, gain.view(-1, 1, 1)
    drop, share = drops[few], density.view(-1, 1, 1)[few]
    # Inverse CDF of uniform noise is not needed: after blurring over many pixels any white noise is Gaussian.
    noise = drops - 0.5
    noise[few] = (drop < share).float() * (0.35 + 0.65 * torch.frac(drop / share.clamp_min(1e-9)))
    layer = torch.fft.irfft2(torch.fft.rfft2(noise) * response, s=(height, width))
    peak = length * thickness * math.sqrt(2 * math.pi)
    if many.any():
        ragged = layer[many]
        spread = ragged.std((1, 2), keepdim=True).clamp_min(1e-6)
        layer[many] = (ragged / spread - threshold.view(-1, 1, 1)[many]) * gain[many]
    layer[few] = layer[few] * peak[few] * gain[few]
    return layer.clamp(0, 1)


def drops_for(cover: Tensor, length: Tensor, thickness: Tensor) -> Tensor:
    """Streaks a pixel, where they are to cover that share of the picture."""
    return (cover / (length * thickness * 2.5)).clamp(1e-6, 0.2)


def periodic_thumbnail(layer: Tensor, box: Tensor, size: int) -> Tensor:
    """Thumbnail (B, C, size, size), by area, of whole photos over which layers (B, C, H, W) of their parts ``box``
    (B, 4) go on periodically, each place in the part where it is in the photo."""

    def averages(first: Tensor, last: Tensor, count: int) -> Tensor:
        """(B, size, count): how much of each row (or column) of the layer is in each of the thumbnail."""
        share = torch.arange(size + 1, device=box.device) / size
        edges = ((share - first[:, None]) / (last - first)[:, None] * count)[:, :, None]
        turns = (edges / count).floor()
        covered = turns + (edges - turns * count - torch.arange(count, device=box.device)).clamp(0, 1)
        return covered.diff(dim=1) / edges.diff(dim=1)

    rows = averages(box[:, 0], box[:, 2], layer.shape[2])
    columns = averages(box[:, 1], box[:, 3], layer.shape[3])
    # Where products are otherwise of 8 significant bits, those of thousands of pixels would be off by a grey level.
    with torch.autocast(layer.device.type, enabled=False):
        return rows[:, None] @ layer.float() @ columns.transpose(1, 2)[:, None]
