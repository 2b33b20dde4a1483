"""Generated photos of earlier steps, for discriminators that shall not forget them (Shrivastava et al., CVPR 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Up to ``size`` generated crops (3, H, W); part of the checkpoint."""

    photos: Tensor
    filled: Tensor

    def __init__(self, size: int, crop: int) -> None:
        super().__init__()
        self.register_buffer("photos", torch.zeros(size, 3, crop, crop))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def swap(self, fresh: Tensor, generator: torch.Generator) -> Tensor:
        """Crops (B, 3, H, W) for a discriminator: half of the time a fresh one, which is then not kept, and half of the
        time an older one, whose place the fresh one takes. While the pool fills up, all are fresh, and kept."""
        size = len(self.photos)
        if size == 0:
            return fresh
        given = fresh.clone()
        draws = torch.rand(len(fresh), 2, generator=generator)
        for index in range(len(fresh)):
            count = int(self.filled)
            if count < size:
                self.photos[count] = fresh[index]
                self.filled += 1
            elif draws[index, 0] < 0.5:
                place = int(draws[index, 1] * size)
                given[index] = self.photos[place]
                self.photos[place] = fresh[index]
        return given
