"""Haze and rain rendered from physics, whole batches at once.

Every function takes tensors (B, C, H, W) with values in [0, 1] and a :class:`torch.Generator`: the same generator
state gives the same picture. Every sample of a batch draws its own parameters. A rendered sample is a crop together
with the thumbnail of the photo it was cut from, because the generators see both; the two are degraded alike.

Haze is the atmospheric scattering model (Koschmieder 1924; Narasimhan and Nayar, IJCV 2002):
``I = J t + A (1 - t)``, ``t = exp(-beta d)``, with airlight ``A``, transmission ``t`` and depth ``d``.
Rain is a sum of streak layers. A streak layer is noise blurred along the direction of fall (Garg and Nayar, IJCV
2007, for the look of a single streak); it is laid over the photo by adding, by screen blending or by covering it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from restorecli.models.physics import scattered, screened

KNOWABLE = 0.15
"""Transmission down to which haze is taken away whole, as dehazing by a prior bounds it (He et al., 2009: at 0.1)."""

FINER = 3
"""Rain is laid over thumbnails at this multiple of their size: what is clipped must be clipped before it averages."""


@dataclass(frozen=True)
class Rendered:
    """A batch of rendered samples; all values in [0, 1]."""

    degraded: Tensor
    """(B, 3, H, W) crop with haze or rain, quantised to 8 bits like any photo."""
    thumbnail: Tensor
    """(B, 3, S, S) thumbnail of the whole degraded photo."""
    clear: Tensor
    """(B, 3, H, W) the crop as it should come out: without rain, and without haze down to a transmission of
    :data:`KNOWABLE`."""
    place: Tensor
    """(B, 4) where in the photo the crop lies: top, left, bottom, right in [0, 1]."""


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


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _log_uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.exp(_uniform(shape, math.log(low), math.log(high), generator))


def _chance(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """(B, 1, 1, 1) of 0 and 1."""
    return (torch.rand((count, 1, 1, 1), generator=generator) < probability).float()


def _smooth_noise(count: int, cells: int, size: int, generator: torch.Generator) -> Tensor:
    """(B, 1, size, size) smooth noise of about ``cells`` bumps an edge, standard deviation about 0.7."""
    coarse = torch.randn((count, 1, cells + 1, cells + 1), generator=generator)
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)


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


def _luma(photo: Tensor) -> Tensor:
    return (photo * photo.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _normalised(x: Tensor) -> Tensor:
    """Stretched to [0, 1] in each sample."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return (x - low) / (high - low).clamp_min(1e-4)


def pseudo_depth(thumbnail: Tensor, generator: torch.Generator) -> Tensor:
    """A plausible depth map in [0, 1] for photos without depth: thumbnail (B, 3, S, S) -> (B, 1, S, S).

    A mix, different for each sample, of a perspective gradient (ground towards a horizon), segments of similar
    colour that lie at a depth of their own, the chance that bright, smooth and high places are sky (far), and noise.
    It is no estimate of the true depth: a generator that has seen many plausible ones learns to read haze itself.
    """
    count, _, size, _ = thumbnail.shape
    row = torch.linspace(0, 1, size).view(1, 1, size, 1)
    horizon = _uniform((count, 1, 1, 1), 0.05, 0.6, generator)
    sharpness = _uniform((count, 1, 1, 1), 0.08, 0.5, generator)
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
    noise = 0.12 * _smooth_noise(count, 5, size, generator)
    depth = weights[:, 0:1] * ground + weights[:, 1:2] * segments + weights[:, 2:3] * 0.6 * luma + noise
    depth = _normalised(depth) ** _uniform((count, 1, 1, 1), 0.6, 1.8, generator)
    # Nearly all photos with a sky have it as far away as it is.
    far = sky * _chance(count, 0.95, generator)
    return (depth * (1 - far) * _uniform((count, 1, 1, 1), 0.5, 1.0, generator) + far).clamp(0, 1)


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
    near = _uniform((count, 1, 1, 1), 0.0, 0.35, generator) * _chance(count, 0.5, generator) * (1 - known)
    veil = _chance(count, ranges.veil, generator) * (1 - known)
    near = near * (1 - veil) + veil * _uniform((count, 1, 1, 1), 0.5, 0.9, generator)
    beta = _uniform((count, 1, 1, 1), *ranges.beta, generator)
    beta = beta * (1 - veil) + veil * _uniform((count, 1, 1, 1), 0.15, 1.2, generator)
    beta = beta * (1 + 0.5 * _chance(count, 0.1, generator)) * (1 - _chance(count, ranges.none, generator))
    odd = 1 - _chance(count, ranges.plain, generator)
    # Uneven haze: banks of fog multiply the optical depth.
    banks = torch.exp(0.35 * _smooth_noise(count, 3, size, generator) * _chance(count, 0.5, generator) * odd)

    level = _uniform((count, 1, 1, 1), *ranges.airlight, generator)
    dark = _chance(count, 0.4, generator) * odd
    level = level * (1 - dark) + dark * _uniform((count, 1, 1, 1), 0.38, 0.7, generator)
    strength = ranges.tint * (1 + 2.5 * _chance(count, 0.5, generator)) * (0.1 + 0.9 * odd)
    cast = torch.randn((count, 3, 1, 1), generator=generator) * strength
    # Airlight brighter towards the sun: a gradient over the photo.
    slope = torch.randn((count, 2, 1, 1), generator=generator) * 0.06 * _chance(count, 0.5, generator) * odd
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
    sigma = _uniform((count, 1, 1, 1), 0, ranges.noise, generator) * odd
    return Rendered(as_photo(_with_noise(degraded, sigma, generator)), small.clamp(0, 1), target, box)


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


def _drops(cover: Tensor, length: Tensor, thickness: Tensor) -> Tensor:
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
    total = count * LAYERS
    shape = (count, LAYERS)

    # How hard it rains, 0 to 1, drives number, opacity and density of the layers together.
    force = torch.rand((count, 1), generator=generator)
    wet = (torch.rand((count, 1), generator=generator) >= ranges.none).float()
    odd = 1 - _chance(count, ranges.plain, generator)
    # The first layer is always there, the further ones with the force of the rain.
    present = (torch.rand(shape, generator=generator) < force * 1.1).float()
    present[:, 0] = 1
    fall = torch.randn((count, 1), generator=generator) * math.radians(ranges.angle)
    sway = (
        torch.randn(shape, generator=generator) * math.radians(4) * (0.3 + torch.rand((count, 1), generator=generator))
    )
    angle = (fall + sway).clamp(-math.radians(55), math.radians(55))
    length = _log_uniform(shape, *ranges.length, generator)
    thickness = _log_uniform(shape, *ranges.width, generator)
    # A streak is longer than it is wide: from stubby drops at a short exposure to threads at a long one.
    thickness = torch.minimum(thickness, length / _log_uniform(shape, 5, 18, generator))
    near = (torch.rand(shape, generator=generator) < 0.14).float()
    thickness = thickness * (1 + 1.2 * near)
    dense = (torch.rand(shape, generator=generator) < 0.3 + 0.4 * force).float()
    soft = (torch.rand(shape, generator=generator) < 0.5).float()
    cover = _log_uniform(shape, 0.01, 0.12, generator) * (0.4 + 2.6 * force**2)
    density = _drops(cover, length, thickness)
    threshold = _uniform(shape, 0.6, 2.2, generator) - 0.6 * force
    # In heavy rain bright streaks are the rule, in light rain the exception.
    opacity = _log_uniform(shape, 0.12, 1.0, generator) ** (1.1 - 0.8 * force**2) * (0.6 + 0.5 * force)
    opacity = opacity * (1 - 0.5 * near) * present * wet
    gain = 1 - 0.45 * dense
    # A downpour of streaks alone: they hide most of the photo, and between them it is as dark as ever. Ragged sheets,
    # or threads that cross each other, each with a brightness of its own.
    kind = torch.rand((count,), generator=generator) + odd[:, 0, 0, 0]
    pour = (kind < 0.25).float() * wet[:, 0]
    threads = pour * (torch.rand((count,), generator=generator) < 0.6).float()
    # A sprinkle: few thin streaks of a kind or two, over a photo that is otherwise as it was.
    sprinkle = ((kind >= 0.25) & (kind < 0.85)).float() * wet[:, 0]

    def instead(where: Tensor, values: Tensor, others: Tensor, layer: int = 0) -> None:
        values[:, layer] = torch.where(where > 0, others, values[:, layer])

    instead(pour, opacity, _uniform((count,), 0.5, 1.1, generator))
    instead(pour, threshold, _uniform((count,), -0.6, 0.8, generator))
    instead(pour, gain, _uniform((count,), 0.45, 0.9, generator))
    instead(pour, dense, 1 - threads)
    instead(threads, length, _log_uniform((count,), 20, 120, generator))
    instead(threads, thickness, _log_uniform((count,), 0.35, 1.1, generator))
    instead(threads, soft, torch.zeros(count))
    # So faint that several must cross before they are white.
    instead(threads, gain, _uniform((count,), 0.2, 0.6, generator))
    instead(threads, opacity, _uniform((count,), 0.8, 1.2, generator))
    opacity[:, 1:] *= (1 - sprinkle).view(-1, 1)
    instead(threads, density, _drops(_log_uniform((count,), 0.5, 3, generator), length[:, 0], thickness[:, 0]))
    for which, seen in enumerate((sprinkle, sprinkle * _chance(count, 0.3, generator).view(-1))):
        instead(seen, opacity, _log_uniform((count,), 0.1, 1, generator), which)
        instead(seen, dense, torch.zeros(count), which)
        instead(seen, gain, torch.ones(count), which)
        instead(seen, length, _log_uniform((count,), 4, 80, generator), which)
        instead(seen, thickness, _log_uniform((count,), 0.3, 1.5, generator), which)
        cover = _log_uniform((count,), 0.02, 0.3, generator)
        instead(seen, density, _drops(cover, length[:, which], thickness[:, which]), which)
        # Some are ragged: peaks of blurred noise, as photo editors make rain.
        ragged = seen * _chance(count, 0.4, generator).view(-1)
        instead(ragged, dense, torch.ones(count), which)
        instead(ragged, threshold, _uniform((count,), 0.2, 2.2, generator), which)
        instead(ragged, gain, _uniform((count,), 0.2, 0.8, generator), which)
        instead(ragged, opacity, _uniform((count,), 0.3, 1, generator), which)
    # A curtain of far rain: streaks that overlap until they are a bright veil, from boldly striped to nearly even.
    curtain = (torch.rand((count,), generator=generator) < 0.3 + 0.4 * force[:, 0]).float() * odd[:, 0, 0, 0]
    curtain_opacity = _log_uniform((count,), 0.15, 1.0, generator) * curtain * wet[:, 0]
    instead(curtain, opacity, curtain_opacity, -1)
    # Often it is all there is to be seen of the rain: no streak near enough to stand out tells of it.
    lone = curtain * _chance(count, 0.4, generator).view(-1)
    opacity[:, :-1] *= (1 - lone).view(-1, 1)
    dense[:, -1] = torch.maximum(dense[:, -1], curtain)
    brightness = _uniform((count,), 0.25, 0.6, generator)
    evenness = _log_uniform((count,), 1.5, 30, generator)
    instead(curtain, threshold, -evenness, -1)
    instead(curtain, gain, brightness / evenness, -1)
    instead(curtain, length, _log_uniform((count,), 20, 110, generator), -1)
    instead(curtain, thickness, _log_uniform((count,), 0.6, 4, generator), -1)

    layer = streaks(
        total, height, width, length.view(-1), thickness.view(-1), angle.view(-1), density.view(-1),
        threshold.view(-1), gain.view(-1), dense.view(-1), soft.view(-1), generator,
    )  # fmt: skip
    layer = layer.view(count, LAYERS, height, width) * opacity.clamp(0, 1.2).view(count, -1, 1, 1)
    # Gusts: rain falls more here than there, and on one side of the photo sometimes hardly at all.
    size = thumbnail.shape[-1]
    ramp = torch.linspace(-1, 1, size)

    def uneven(share: float, slope: float, bumps: float) -> Tensor:
        """(B, 1, S, S) over the whole photo, about 1: a slope across it in a share of the samples, and bumps."""
        tilt = torch.randn((count, 2, 1, 1), generator=generator) * slope * _chance(count, share, generator) * odd
        tilted = 1 + tilt[:, 0:1] * ramp.view(1, 1, -1, 1) + tilt[:, 1:2] * ramp.view(1, 1, 1, -1)
        return tilted + bumps * odd * _smooth_noise(count, 3, size, generator)

    gusts = uneven(0.6, 0.7, 0.3).clamp(0.02, 2.2)
    layer = layer.sum(1, keepdim=True)
    grey = _uniform((count, 1, 1, 1), 0.6, 1.0, generator)
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
    strong = force.view(-1, 1, 1, 1) * wet.view(-1, 1, 1, 1) * _chance(count, 0.5, generator) * odd
    veil = strong * _uniform((count, 1, 1, 1), 0.02, 0.4, generator)
    mist = (veil * uneven(0.6, 0.6, 0.25)).clamp(0, 0.8)
    light = _uniform((count, 1, 1, 1), 0.55, 0.95, generator)

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

    sigma = _uniform((count, 1, 1, 1), 0, ranges.noise, generator) * _chance(count, 0.5, generator) * odd
    return Rendered(as_photo(_with_noise(degraded, sigma, generator)), small, crop, box)


def _with_noise(photo: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    return photo + sigma * torch.randn(photo.shape, generator=generator)


def as_photo(photo: Tensor) -> Tensor:
    """Clipped and rounded to 8 bits, as a camera's file is."""
    return (photo.clamp(0, 1) * 255).round() / 255
