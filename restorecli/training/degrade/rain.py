"""Rain: layers of streaks, summed, and laid over clear crops by adding, by screen blending or by covering."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from restorecli.models.physics import screened
from restorecli.training.degrade.draws import chance, log_uniform, smooth_noise, uniform
from restorecli.training.degrade.rendered import Rendered, as_photo, cut, with_noise
from restorecli.training.degrade.streaks import drops_for, periodic_thumbnail, streaks

FINER = 3
"""Rain is laid over thumbnails at this multiple of their size: what is clipped must be clipped before it averages."""

LAYERS = 4
"""Layers of streaks in rain, each with its own length, width, density, angle, opacity and defocus."""


@dataclass(frozen=True)
class RainRange:
    """From what rain is drawn: light drizzle to downpour, fine and coarse, bright and dark."""

    none: float = 0.12
    """Share of samples without any rain."""
    length: tuple[float, float] = (5.0, 110.0)
    """Length of a streak in pixels, drawn evenly on a log scale."""
    width: tuple[float, float] = (0.45, 2.6)
    """Standard deviation of a streak's profile in pixels, drawn evenly on a log scale."""
    angle: float = 17.0
    """Standard deviation in degrees of the direction of fall about the vertical (never beyond 55)."""
    noise: float = 0.01
    """Largest standard deviation of sensor noise, which half of those not ``plain`` have."""
    plain: float = 0.3
    """Share of samples whose rain is streaks, equally everywhere, and nothing else: no veil, no gusts, no noise. Where
    nothing veils a photo, its dark places stay dark, and a generator must learn to see that."""


@dataclass
class _Layers:
    """What the layers of each sample are drawn with; all (B, :data:`LAYERS`), as :func:`streaks` takes them."""

    length: Tensor
    thickness: Tensor
    angle: Tensor
    density: Tensor
    threshold: Tensor
    gain: Tensor
    dense: Tensor
    soft: Tensor
    opacity: Tensor
    """Times which a drawn layer is laid over the photo; 0: there is no such layer."""

    def give(self, where: Tensor, layer: int, **values: Tensor | float) -> None:
        """Other values, a number or (B,), to ``layer`` of the samples ``where`` (B,) is 1."""
        for name, others in values.items():
            own = getattr(self, name)
            own[:, layer] = torch.where(where > 0, others, own[:, layer])

    def drawn(self, height: int, width: int, generator: torch.Generator) -> Tensor:
        """The sum of the layers of each sample, (B, 1, height, width)."""
        each = streaks(
            len(self.length) * LAYERS, height, width, self.length.view(-1), self.thickness.view(-1),
            self.angle.view(-1), self.density.view(-1), self.threshold.view(-1), self.gain.view(-1),
            self.dense.view(-1), self.soft.view(-1), generator,
        )  # fmt: skip
        each = each.view(-1, LAYERS, height, width) * self.opacity.clamp(0, 1.2).view(-1, LAYERS, 1, 1)
        return each.sum(1, keepdim=True)


def render_rain(
    crop: Tensor,
    thumbnail: Tensor,
    box: Tensor,
    generator: torch.Generator,
    drawn_from: RainRange | None = None,
) -> Rendered:
    """Rain over clear crops (B, 3, H, W) and the thumbnails (B, 3, S, S) of the photos they were cut from.

    ``box`` (B, 4) says where in the photo the crop lies (top, left, bottom, right in [0, 1]).
    """
    ranges = drawn_from or RainRange()
    count, _, height, width = crop.shape

    # How hard it rains, 0 to 1, drives number, opacity and density of the layers together.
    force = torch.rand((count, 1), generator=generator)
    wet = (torch.rand((count, 1), generator=generator) >= ranges.none).float()
    odd = 1 - chance(count, ranges.plain, generator)
    layers = _any_rain(force, wet, ranges, generator)
    kind = torch.rand((count,), generator=generator) + odd[:, 0, 0, 0]
    pour = (kind < 0.25).float() * wet[:, 0]
    sprinkle = ((kind >= 0.25) & (kind < 0.85)).float() * wet[:, 0]
    _pour(layers, pour, generator)
    _sprinkle(layers, sprinkle, generator)
    _curtain(layers, force[:, 0], wet[:, 0], odd[:, 0, 0, 0], generator)
    layer = layers.drawn(height, width, generator)

    size = thumbnail.shape[-1]
    ramp = torch.linspace(-1, 1, size)

    def uneven(share: float, slope: float, bumps: float) -> Tensor:
        """(B, 1, S, S) over the whole photo, about 1: a slope across it in a share of the samples, and bumps."""
        tilt = torch.randn((count, 2, 1, 1), generator=generator) * slope * chance(count, share, generator) * odd
        tilted = 1 + tilt[:, 0:1] * ramp.view(1, 1, -1, 1) + tilt[:, 1:2] * ramp.view(1, 1, 1, -1)
        return tilted + bumps * odd * smooth_noise(count, 3, size, generator)

    # Gusts: rain falls more here than there, and on one side of the photo sometimes hardly at all.
    gusts = uneven(0.6, 0.7, 0.3).clamp(0.02, 2.2)
    grey = uniform((count, 1, 1, 1), 0.6, 1.0, generator)
    colour = (grey + 0.02 * torch.randn((count, 3, 1, 1), generator=generator)).clamp(0, 1)
    # A downpour of plain streaks adds its light; all other rain may hide what is behind it too.
    mode = torch.rand((count, 1, 1, 1), generator=generator).view(-1) * (1 - pour)
    screen, cover_up = (mode > 0.55) & (mode <= 0.8), mode > 0.8

    def under(clear: Tensor, rain: Tensor) -> Tensor:
        light = rain.clamp(0, 1.5) * colour
        below = clear + light
        below[screen] = screened(clear[screen], light[screen].clamp(0, 1))
        opaque = rain[cover_up].clamp(0, 0.95)
        below[cover_up] = clear[cover_up] * (1 - opaque) + opaque * colour[cover_up]
        return below

    # Far rain is a veil, in heavy rain only: a fog that takes a little contrast away.
    strong = force.view(-1, 1, 1, 1) * wet.view(-1, 1, 1, 1) * chance(count, 0.5, generator) * odd
    veil = strong * uniform((count, 1, 1, 1), 0.02, 0.4, generator)
    mist = (veil * uneven(0.6, 0.6, 0.25)).clamp(0, 0.8)
    light = uniform((count, 1, 1, 1), 0.55, 0.95, generator)

    screen_of_mist = cut(mist, box, height, width)
    falling = layer * cut(gusts, box, height, width)
    degraded = under(crop * (1 - screen_of_mist) + light * screen_of_mist, falling)
    # In a thumbnail streaks average out, the more, the larger the photo is; but those of a small photo show.
    fine = FINER * size
    whole = under(
        F.interpolate(thumbnail * (1 - mist) + light * mist, size=(fine, fine), mode="nearest"),
        periodic_thumbnail(layer, box, fine) * F.interpolate(gusts, size=(fine, fine), mode="bilinear"),
    )
    small = F.avg_pool2d(whole.clamp(0, 1), FINER)

    sigma = uniform((count, 1, 1, 1), 0, ranges.noise, generator) * chance(count, 0.5, generator) * odd
    return Rendered(as_photo(with_noise(degraded, sigma, generator)), small, crop, box)


def _any_rain(force: Tensor, wet: Tensor, ranges: RainRange, generator: torch.Generator) -> _Layers:
    """Layers of all kinds, the more and the stronger, the greater the ``force``; it and ``wet`` are (B, 1)."""
    count = len(force)
    shape = (count, LAYERS)
    # The first layer is always there, the further ones with the force of the rain.
    present = (torch.rand(shape, generator=generator) < force * 1.1).float()
    present[:, 0] = 1
    fall = torch.randn((count, 1), generator=generator) * math.radians(ranges.angle)
    sway = (
        torch.randn(shape, generator=generator) * math.radians(4) * (0.3 + torch.rand((count, 1), generator=generator))
    )
    angle = (fall + sway).clamp(-math.radians(55), math.radians(55))
    length = log_uniform(shape, *ranges.length, generator)
    thickness = log_uniform(shape, *ranges.width, generator)
    # A streak is longer than it is wide: from stubby drops at a short exposure to threads at a long one.
    thickness = torch.minimum(thickness, length / log_uniform(shape, 5, 18, generator))
    near = (torch.rand(shape, generator=generator) < 0.14).float()
    thickness = thickness * (1 + 1.2 * near)
    dense = (torch.rand(shape, generator=generator) < 0.3 + 0.4 * force).float()
    soft = (torch.rand(shape, generator=generator) < 0.5).float()
    cover = log_uniform(shape, 0.01, 0.12, generator) * (0.4 + 2.6 * force**2)
    threshold = uniform(shape, 0.6, 2.2, generator) - 0.6 * force
    # In heavy rain bright streaks are the rule, in light rain the exception.
    opacity = log_uniform(shape, 0.12, 1.0, generator) ** (1.1 - 0.8 * force**2) * (0.6 + 0.5 * force)
    return _Layers(
        length, thickness, angle, drops_for(cover, length, thickness), threshold,
        gain=1 - 0.45 * dense, dense=dense, soft=soft,
        opacity=opacity * (1 - 0.5 * near) * present * wet,
    )  # fmt: skip


def _pour(layers: _Layers, where: Tensor, generator: torch.Generator) -> None:
    """A downpour of streaks alone: they hide most of the photo, and between them it is as dark as ever.

    Ragged sheets, or threads that cross each other, each with a brightness of its own.
    """
    count = len(where)
    threads = where * (torch.rand((count,), generator=generator) < 0.6).float()
    layers.give(
        where,
        0,
        opacity=uniform((count,), 0.5, 1.1, generator),
        threshold=uniform((count,), -0.6, 0.8, generator),
        gain=uniform((count,), 0.45, 0.9, generator),
        dense=1 - threads,
    )
    layers.give(
        threads,
        0,
        length=log_uniform((count,), 20, 120, generator),
        thickness=log_uniform((count,), 0.35, 1.1, generator),
        soft=0.0,
        # So faint that several must cross before they are white.
        gain=uniform((count,), 0.2, 0.6, generator),
        opacity=uniform((count,), 0.8, 1.2, generator),
    )
    cover = log_uniform((count,), 0.5, 3, generator)
    layers.give(threads, 0, density=drops_for(cover, layers.length[:, 0], layers.thickness[:, 0]))


def _sprinkle(layers: _Layers, where: Tensor, generator: torch.Generator) -> None:
    """Few thin streaks of a kind or two, over a photo that is otherwise as it was."""
    count = len(where)
    layers.opacity[:, 1:] *= (1 - where).view(-1, 1)
    for layer, seen in enumerate((where, where * chance(count, 0.3, generator).view(-1))):
        layers.give(
            seen,
            layer,
            opacity=log_uniform((count,), 0.1, 1, generator),
            dense=0.0,
            gain=1.0,
            length=log_uniform((count,), 4, 80, generator),
            thickness=log_uniform((count,), 0.3, 1.5, generator),
        )
        cover = log_uniform((count,), 0.02, 0.3, generator)
        layers.give(seen, layer, density=drops_for(cover, layers.length[:, layer], layers.thickness[:, layer]))
        # Some are ragged: peaks of blurred noise, as photo editors make rain.
        layers.give(
            seen * chance(count, 0.4, generator).view(-1),
            layer,
            dense=1.0,
            threshold=uniform((count,), 0.2, 2.2, generator),
            gain=uniform((count,), 0.2, 0.8, generator),
            opacity=uniform((count,), 0.3, 1, generator),
        )


def _curtain(layers: _Layers, force: Tensor, wet: Tensor, odd: Tensor, generator: torch.Generator) -> None:
    """Far rain: streaks that overlap until they are a bright veil, from boldly striped to nearly even."""
    count = len(force)
    where = (torch.rand((count,), generator=generator) < 0.3 + 0.4 * force).float() * odd
    layers.give(where, -1, opacity=log_uniform((count,), 0.15, 1.0, generator) * where * wet)
    # Often it is all there is to be seen of the rain: no streak near enough to stand out tells of it.
    lone = where * chance(count, 0.4, generator).view(-1)
    layers.opacity[:, :-1] *= (1 - lone).view(-1, 1)
    layers.dense[:, -1] = torch.maximum(layers.dense[:, -1], where)
    brightness = uniform((count,), 0.25, 0.6, generator)
    evenness = log_uniform((count,), 1.5, 30, generator)
    layers.give(
        where,
        -1,
        threshold=-evenness,
        gain=brightness / evenness,
        length=log_uniform((count,), 20, 110, generator),
        thickness=log_uniform((count,), 0.6, 4, generator),
    )
