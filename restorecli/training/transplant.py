"""Rain taken from photos it fell on, laid over photos without: the restorer's own finds teach it to find more.

Our addition, for rain alone. What the restorer takes away from a degraded photo is a layer of rain (``I = J + s (1 -
J)``, solved for s). No scene comes with it, so it may fall on any clear photo, and what is to come out is known then:
the clear photo. The layer is made bolder or fainter, wider or finer, and turned a little, so that the restorer meets
streaks beyond those that it finds already; what it learns to remove there it finds in degraded photos next.

So it would with structure that it took for rain. Of a layer, therefore, only what is as rain is goes on: grey, in
streaks, and falling the way most of it falls in that photo.

No pair is used: the layers are of the degraded folder alone, as good as the restorer knows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from restorecli.models.physics import layers_of, thin

GAIN = (1.25, 0.3)
"""How much bolder a layer is made: median, and standard deviation of its logarithm."""
ZOOM = (1.05, 0.25)
"""How much larger, likewise."""
TURN = math.radians(8)
"""Standard deviation of how far it is turned."""
FAINT = 0.03
"""What is fainter is no streak but what the restorer is not sure of."""

LENGTH = 9
"""Pixels over which a streak must go on."""
SLANTS = tuple(range(-32, 33, 8))
"""Degrees from the vertical at which streaks are looked for."""


def rain_of(degraded: Tensor, clear: Tensor) -> Tensor:
    """The layer (B, 1, H, W) in [0, 1] that turns ``clear`` into ``degraded``, both (B, 3, H, W) in [0, 1].

    Rain is grey: what one channel lost more of than another was not rain; and thin: no veil.
    """
    layer = thin(layers_of(degraded, clear).amin(1, keepdim=True).clamp(0, 1))
    return falling(torch.where(layer > FAINT, layer, 0.0))


def falling(layer: Tensor) -> Tensor:
    """What of layers (B, 1, H, W) is streaks that fall the way, one for each layer, in which most of it falls.

    Grey openings by lines of :data:`LENGTH` pixels, :data:`SLANTS` degrees from the vertical.
    """
    opened = torch.stack([_opened(layer, math.radians(slant)) for slant in SLANTS])
    most = opened.sum((2, 3, 4)).argmax(0)
    ways = torch.stack([(most + side).clamp(0, len(SLANTS) - 1) for side in (-1, 0, 1)])
    return opened[ways, torch.arange(layer.shape[0], device=layer.device)].amax(0)


def _opened(layer: Tensor, slant: float) -> Tensor:
    """Grey opening by a line of that direction."""
    reach = LENGTH // 2
    height, width = layer.shape[2:]
    places = [
        (reach + round(step * math.cos(slant)), reach + round(step * math.sin(slant)))
        for step in range(-reach, reach + 1)
    ]

    def along(of: Tensor) -> Tensor:
        wide = F.pad(of, (reach,) * 4)
        return torch.stack([wide[:, :, top : top + height, left : left + width] for top, left in places])

    return along(along(layer).amin(0)).amax(0)


def changed(layer: Tensor, normal: Callable[..., Tensor]) -> Tensor:
    """Layers (B, 1, H, W) in [0, 1], each made bolder, larger, turned, or mirrored by chance.

    ``normal`` draws normal numbers of a shape.
    """
    count = len(layer)
    gain, zoom = (median * torch.exp(spread * normal(count)) for median, spread in (GAIN, ZOOM))
    angle, mirror = TURN * normal(count), torch.where(normal(count) < 0, -1.0, 1.0)
    sine, cosine, none = torch.sin(angle) / zoom, torch.cos(angle) / zoom, torch.zeros_like(angle)
    rows = [torch.stack([mirror * cosine, -sine, none], 1), torch.stack([mirror * sine, cosine, none], 1)]
    with torch.autocast(layer.device.type, enabled=False):  # Which would jitter places by a quarter of a pixel.
        grid = F.affine_grid(torch.stack(rows, 1), list(layer.shape), align_corners=False)
    moved = F.grid_sample(layer, grid, align_corners=False, padding_mode="reflection")
    return (moved * gain.view(-1, 1, 1, 1)).clamp(0, 1)
