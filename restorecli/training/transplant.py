"""Rain taken from photos it fell on, laid over photos without: the restorer's own finds teach it to find more.

Our addition, for rain alone. What the restorer takes away from a degraded photo is a layer of rain (``I = J + s (1 -
J)``, solved for s). No scene comes with it, so it may fall on any clear photo, and what is to come out is known then:
the clear photo. The layer is made bolder or fainter, wider or finer, and turned a little, so that the restorer meets
streaks beyond those that it finds already; what it learns to remove there it finds in degraded photos next. Structure
that it took for rain is held back by its other losses: the identity loss and the discriminator of clear photos.

No pair is used: the layers are of the degraded folder alone, as good as the restorer knows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

GAIN = (1.25, 0.3)
"""How much bolder a layer is made: median, and standard deviation of its logarithm."""
ZOOM = (1.05, 0.25)
"""How much larger, likewise."""
TURN = math.radians(8)
"""Standard deviation of how far it is turned."""
FAINT = 0.03
"""What is fainter is no streak but what the restorer is not sure of."""


def rain_of(degraded: Tensor, clear: Tensor) -> Tensor:
    """The layer (B, 1, H, W) in [0, 1] that turns ``clear`` into ``degraded``, both (B, 3, H, W) in [0, 1].

    Rain is grey: what one channel lost more of than another was not rain.
    """
    layer = ((degraded - clear) / (1 - clear).clamp_min(0.05)).amin(1, keepdim=True)
    return torch.where(layer > FAINT, layer, 0.0).clamp(0, 1)


def changed(layer: Tensor, normal: Callable[..., Tensor]) -> Tensor:
    """Layers (B, 1, H, W) in [0, 1], each made bolder, larger, turned, or mirrored by chance.

    ``normal`` draws normal numbers of a shape.
    """
    count = len(layer)
    gain, zoom = (median * torch.exp(spread * normal(count)) for median, spread in (GAIN, ZOOM))
    angle, mirror = TURN * normal(count), torch.where(normal(count) < 0, -1.0, 1.0)
    sine, cosine, none = torch.sin(angle) / zoom, torch.cos(angle) / zoom, torch.zeros_like(angle)
    rows = [torch.stack([mirror * cosine, -sine, none], 1), torch.stack([mirror * sine, cosine, none], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(layer.shape), align_corners=False)
    moved = F.grid_sample(layer, grid, align_corners=False, padding_mode="reflection")
    return (moved * gain.view(-1, 1, 1, 1)).clamp(0, 1)


def laid_over(layer: Tensor, clear: Tensor) -> Tensor:
    """Clear photos (B, 3, H, W) in the rain of ``layer`` (B, 1, H, W)."""
    return clear + layer * (1 - clear)
