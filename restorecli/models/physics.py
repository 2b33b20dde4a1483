"""Degrading generators bound to physics: clear photo -> rainy or hazy photo, and nothing that weather cannot do.

* Rain is one layer s in [0, 1], the same in all channels but for a slight tint, laid over the photo by screen
  blending: ``I = J + s (1 - J)``. It can only brighten, and only where drops fell: few drops on a crop, each blurred
  along one direction by its fall while the shutter was open (Garg and Nayar, IJCV 2007). How bright drops of each
  length and width are, and the finer shape of what they leave, is learned. A degrader that may rain everywhere makes a
  ragged fog of it, and teaches a restorer to take away as much.
* Haze is ``I = J t + A (1 - t)`` with a smooth transmission t in [0.05, 1] and one nearly grey airlight A.

Both are bounded by smooth functions, so that there is always a gradient; a clamp cuts off only the tint above white. A
generator that sees only the photo must find one rain that suits every cycle, and learns to add none; these are given
noise too, so that the same photo is degraded differently each time, and what they learn is a distribution. Noise that a
network may do without is soon unused, and all haze becomes one haze: so noise decides, by itself, how dense haze and
how bright its airlight is, where drops fall and how bright they are, and the network has to undo what is too much of
it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restorecli.models.unet import UNet, UNetConfig

STREAKS = ((9, 2.05), (19, 2.3), (39, 2.57))
"""Lengths in pixels of the streaks that rain is made of, and over how many standard deviations a pixel of white noise
is a drop: thin streaks then cover a fifth of a crop at most, wide ones a third, and mostly less."""
WIDTHS = (1, 3)
"""Pixels across a streak, before it is turned: of each length there are thin ones and wide ones."""
KINDS = tuple(product(STREAKS, WIDTHS))
"""Each kind of streak: length and rarity, and width."""
SLANT = 0.25
"""Standard deviation of the direction of fall about the vertical, in radians."""
VEIL = 15
"""Pixels across from which on a streak is a veil."""
SPREAD = 0.5
"""Standard deviation of the logarithm of haze's density, and of rain's brightness, from crop to crop."""
CELLS = (3, 6)
"""Bumps an edge of the smooth noise that haze is made of."""


class PhysicsDegrader(UNet):
    """As :class:`UNet`, with noise joined to the photo and its head's values read as rain or haze.

    ``forward`` draws its noise from torch's own generator when none is given; ``features`` of a photo are those at
    noise zero.
    """

    def __init__(self, config: UNetConfig, task: str) -> None:
        super().__init__(replace(config, head="residual"))
        self.task = task
        pixels = config.stem**2
        kinds = len(KINDS) if task == "derain" else 0
        self.extra = 2 + (kinds or len(CELLS))
        # Rain: shape, tint (3), brightness of each kind of streak. Haze: density and airlight (3).
        self.stem = nn.Conv2d((3 + self.extra) * pixels, config.widths[0], 3, padding=1)
        self.head = nn.Conv2d(config.widths[0], (4 + kinds) * pixels, 3, padding=1)
        nn.init.kaiming_normal_(self.stem.weight, nonlinearity="relu")
        for layer in (self.stem, self.head):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.head.weight, std=0.01)

    def draw_noise(self, photo: Tensor, draw: Callable[..., Tensor] | None = None) -> Tensor:
        """Noise (B, C, H, W) for photos (B, 3, H, W).

        Haze: two normal numbers for each crop, and smooth bumps of about that size. Rain: a normal number for each
        crop, white noise, and streaks of each kind, not below 0 and mostly 0, a single one at most 1 bright; most of a
        crop are of one kind, and all fall one way. ``draw`` gives normal numbers of a shape; None: torch's own
        generator does.
        """
        count, _, height, width = photo.shape
        normal = draw or partial(torch.randn, device=photo.device)
        whole = normal(count, 1, 1, 1).expand(-1, 1, height, width)
        if self.task == "dehaze":
            smooth = [
                F.interpolate(normal(count, 1, n, n), size=(height, width), mode="bicubic", align_corners=True)
                for n in CELLS
            ]
            return torch.cat([whole, normal(count, 1, 1, 1).expand(-1, 1, height, width), *smooth], 1)
        angle = SLANT * normal(count)
        sine, cosine, zero = torch.sin(angle), torch.cos(angle), torch.zeros_like(angle)
        turn = torch.stack([torch.stack([cosine, -sine, zero], 1), torch.stack([sine, cosine, zero], 1)], 1)
        with torch.autocast(photo.device.type, enabled=False):  # Which would jitter places by a quarter of a pixel.
            grid = F.affine_grid(turn, [count, 1, height, width], align_corners=False)
        white, falls = normal(count, 1, height, width), []
        # One camera and one exposure: most rain of a photo is of one kind, seldom of two.
        shares = torch.softmax(4 * normal(count, len(KINDS), 1, 1), 1).split(1, 1)
        for share, ((length, rare), across) in zip(shares, KINDS, strict=True):
            shape = (count, 1, height + length - 1, width + across - 1)
            excess = normal(*shape) - rare - 0.5 * normal(count, 1, 1, 1).abs()
            # Each drop with a brightness of its own; drops that leave wide streaks are half as many.
            drops = ((excess > 0.12 * (across - 1)) * (0.4 + excess)).clamp(max=1)
            falls.append(F.avg_pool2d(drops, (length, across), stride=1) * (length * across * share))
        turned = F.grid_sample(torch.cat(falls, 1), grid, align_corners=False, padding_mode="reflection")
        return torch.cat([whole, white, turned], 1)

    def features(self, x: Tensor, thumbnail: Tensor, place: Tensor | None = None) -> list[Tensor]:
        if x.shape[1] == 3:
            x = torch.cat([x, x.new_zeros(len(x), self.extra, *x.shape[2:])], 1)
        return super().features(x, thumbnail, place)

    def forward(self, x: Tensor, thumbnail: Tensor, place: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        noise = self.draw_noise(x) if noise is None else noise
        values = self.head_values(torch.cat([x, noise.to(x.dtype)], 1), thumbnail, place).float()
        amount, colour = values[:, :1], values[:, 1:4].mean((2, 3), keepdim=True)
        density = (SPREAD * noise[:, :1]).exp()
        if self.task == "derain":
            # Rain is where drops fell: how bright each kind is, varies smoothly; the shape of streaks is refined.
            bright = torch.sigmoid(_smooth(values[:, 4:]) - 1) * density
            rain = (bright * noise[:, 2:]).sum(1, keepdim=True) * 2 * torch.sigmoid(amount)
            layer = (1 - torch.exp(-rain)) * (1 + 0.05 * torch.tanh(colour))
            return screened(x, layer.clamp(max=1))
        transmission = 0.05 + 0.95 * torch.exp(-density * F.softplus(_smooth(amount) - 1.5))
        grey = colour.mean(1, keepdim=True)
        airlight = 0.6 + 0.4 * torch.sigmoid(1 + noise[:, 1:2] + grey) + 0.03 * torch.tanh(colour - grey)
        return scattered(x, transmission, airlight.clamp(max=1))

    def law(self, degraded: Tensor, clear: Tensor) -> Tensor:
        """The nearest photo to ``degraded`` (B, 3, H, W) that this weather could have made of ``clear``.

        Rain: the mean over the channels of the layer that explains each, without what is no streak. Haze: in each
        window the one transmission and the airlight that fit best, by least squares, and smooth between windows.
        """
        if self.task == "derain":
            return screened(clear, thin(layers_of(degraded, clear).mean(1, keepdim=True).clamp(0, 1)))
        window = max(3, min(degraded.shape[2:]) // 16 * 2 + 1)

        def mean(x: Tensor) -> Tensor:
            return F.avg_pool2d(x, window, stride=1, padding=window // 2, count_include_pad=False)

        mean_clear, mean_degraded = mean(clear), mean(degraded)
        both = (mean(clear * degraded) - mean_clear * mean_degraded).sum(1, keepdim=True)
        own = (mean(clear * clear) - mean_clear * mean_clear).sum(1, keepdim=True)
        slope = ((both + 1e-3) / (own + 1e-3)).clamp(0, 1)
        return mean(slope) * clear + mean(mean_degraded - slope * mean_clear)


def scattered(clear: Tensor, transmission: Tensor, airlight: Tensor) -> Tensor:
    """Photos (B, 3, H, W) in [0, 1] through haze: ``I = J t + A (1 - t)``, ``t`` (B, 1, H, W) and ``A`` in [0, 1]."""
    return clear * transmission + airlight * (1 - transmission)


def screened(clear: Tensor, layer: Tensor) -> Tensor:
    """Photos (B, 3, H, W) in [0, 1] under a layer of rain, (B, 1 or 3, H, W) in [0, 1], by screen blending."""
    return clear + layer * (1 - clear)


def layers_of(degraded: Tensor, clear: Tensor) -> Tensor:
    """The layer of rain that explains each channel of ``degraded`` over ``clear``, all (B, 3, H, W); not bounded."""
    return (degraded - clear) / (1 - clear).clamp_min(0.05)


def thin(layer: Tensor) -> Tensor:
    """What of layers (B, 1, H, W) is thinner than :data:`VEIL` pixels across: streaks, but no veil under them.

    A white top-hat by a level line. Were veils rain, a restorer could darken whole photos, and call it lawful.
    """
    reach = VEIL // 2
    eroded = -F.max_pool2d(-layer, (1, VEIL), stride=1, padding=(0, reach))
    return layer - F.max_pool2d(eroded, (1, VEIL), stride=1, padding=(0, reach))


def _smooth(x: Tensor) -> Tensor:
    """Without detail finer than about a sixteenth of the crop."""
    size = (max(2, x.shape[2] // 16), max(2, x.shape[3] // 16))
    return F.interpolate(F.adaptive_avg_pool2d(x, size), size=x.shape[2:], mode="bilinear", align_corners=False)
