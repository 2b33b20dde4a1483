"""Haze over clear crops.

The atmospheric scattering model (Koschmieder 1924; Narasimhan and Nayar, IJCV 2002):
``I = J t + A (1 - t)``, ``t = exp(-beta d)``, with airlight ``A``, transmission ``t`` and depth ``d``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from restorecli.models.physics import scattered
from restorecli.training.degrade.depth import enlarge_along_edges, pseudo_depth
from restorecli.training.degrade.draws import chance, smooth_noise, uniform
from restorecli.training.degrade.rendered import Rendered, as_photo, cut, with_noise

KNOWABLE = 0.15
"""Transmission down to which haze is taken away whole, as dehazing by a prior bounds it (He et al., 2009: at 0.1)."""


@dataclass(frozen=True)
class HazeRange:
    """From what haze is drawn. Defaults are meant to cover the world, indoor and outdoor, thin to dense."""

    none: float = 0.08
    """Share of samples that have no haze at all."""
    beta: tuple[float, float] = (0.1, 2.4)
    """Scattering coefficient for depth normalised to [0, 1] (a tenth of the samples is up to 1.5 times denser)."""
    airlight: tuple[float, float] = (0.66, 1.0)
    """Brightness of the airlight (two in five of those not ``plain`` are darker, down to 0.38: dusk, smog)."""
    tint: float = 0.02
    """Standard deviation of the airlight's colour cast per channel (half of those not ``plain`` have 3.5
    times it, the plain ones a tenth)."""
    noise: float = 0.015
    """Largest standard deviation of sensor noise, in those not ``plain``."""
    veil: float = 0.4
    """Share of samples without a known depth whose haze is a veil that hardly grows with distance."""
    plain: float = 0.5
    """Share of samples whose haze is even, bright, grey and without noise: the most common haze, and what all public
    test sets render. Uneven, dark and coloured haze is drawn for the others."""


def render_haze(
    crop: Tensor,
    thumbnail: Tensor,
    box: Tensor,
    depth: Tensor,
    depth_thumbnail: Tensor,
    has_depth: Tensor,
    generator: torch.Generator,
    drawn_from: HazeRange | None = None,
) -> Rendered:
    """Haze over clear crops.

    ``crop`` (B, 3, H, W) and ``thumbnail`` (B, 3, S, S) are the clear photo, ``box`` (B, 4) says where in the photo
    the crop lies (top, left, bottom, right in [0, 1]). ``depth`` (B, 1, H, W) and ``depth_thumbnail`` (B, 1, S, S)
    are in [0, 1] where ``has_depth`` (B,) is 1, as a share of the photo's farthest thing, so that a small room may be
    as hazy as a hall; the others get a :func:`pseudo_depth`.
    """
    ranges = drawn_from or HazeRange()
    count, _, height, width = crop.shape
    size = thumbnail.shape[-1]
    known = has_depth.view(-1, 1, 1, 1)
    imagined = pseudo_depth(thumbnail, generator)
    low = known * depth_thumbnail + (1 - known) * imagined
    high = known * depth + (1 - known) * enlarge_along_edges(imagined, thumbnail, crop, box)

    # Imagined depth begins at the nearest thing, which may be far from the lens; measured depth begins at the lens. A
    # veil of haze lies over everything alike, be it near or far.
    near = uniform((count, 1, 1, 1), 0.0, 0.35, generator) * chance(count, 0.5, generator) * (1 - known)
    veil = chance(count, ranges.veil, generator) * (1 - known)
    near = near * (1 - veil) + veil * uniform((count, 1, 1, 1), 0.5, 0.9, generator)
    beta = uniform((count, 1, 1, 1), *ranges.beta, generator)
    beta = beta * (1 - veil) + veil * uniform((count, 1, 1, 1), 0.15, 1.2, generator)
    beta = beta * (1 + 0.5 * chance(count, 0.1, generator)) * (1 - chance(count, ranges.none, generator))
    odd = 1 - chance(count, ranges.plain, generator)
    # Uneven haze: banks of fog multiply the optical depth.
    banks = torch.exp(0.35 * smooth_noise(count, 3, size, generator) * chance(count, 0.5, generator) * odd)

    level = uniform((count, 1, 1, 1), *ranges.airlight, generator)
    dark = chance(count, 0.4, generator) * odd
    level = level * (1 - dark) + dark * uniform((count, 1, 1, 1), 0.38, 0.7, generator)
    strength = ranges.tint * (1 + 2.5 * chance(count, 0.5, generator)) * (0.1 + 0.9 * odd)
    cast = torch.randn((count, 3, 1, 1), generator=generator) * strength
    # Airlight brighter towards the sun: a gradient over the photo.
    slope = torch.randn((count, 2, 1, 1), generator=generator) * 0.06 * chance(count, 0.5, generator) * odd
    ramp = torch.linspace(-1, 1, size)
    gradient = slope[:, 0:1] * ramp.view(1, 1, -1, 1) + slope[:, 1:2] * ramp.view(1, 1, 1, -1)
    airlight = ((level + cast - cast.mean(1, keepdim=True)) * (1 + gradient)).clamp(0.2, 1)

    def through(distance: Tensor, fog: Tensor) -> Tensor:
        return torch.exp(-beta * fog * (near + (1 - near) * distance))

    transmission, light = through(high, cut(banks, box, height, width)), cut(airlight, box, height, width)
    degraded = scattered(crop, transmission, light)
    # Nobody can know what lies behind dense haze: there some of it is to stay, or generators paint dark clouds.
    target = scattered(crop, (transmission / KNOWABLE).clamp(max=1), light)
    small = scattered(thumbnail, through(low, banks), airlight)
    sigma = uniform((count, 1, 1, 1), 0, ranges.noise, generator) * odd
    return Rendered(as_photo(with_noise(degraded, sigma, generator)), small.clamp(0, 1), target, box)
