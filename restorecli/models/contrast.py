"""What contrastive learning on patches needs: where to look, projection heads, and negative generators."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sample_places(features: Sequence[Tensor], count: int) -> list[Tensor]:
    """For each layer (B, C, h, w), up to ``count`` different places as indices (P,) into h * w, P = min(count, h w)."""
    return [torch.randperm(f.shape[2] * f.shape[3], device=f.device)[:count] for f in features]


def patches_at(features: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
    """The feature vectors at those places: a list of (B, P, C), one for each layer."""
    return [f.flatten(2)[:, :, where].transpose(1, 2) for f, where in zip(features, places, strict=True)]


class ProjectionHeads(nn.Module):
    """One two-layer MLP for each feature layer: (B, P, C) -> (B, P, width), of length 1 (Park et al., ECCV 2020)."""

    def __init__(self, channels: Sequence[int], width: int = 256) -> None:
        super().__init__()
        self.width = width
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(count, width), nn.ReLU(inplace=True), nn.Linear(width, width)) for count in channels
        )

    def forward(self, patches: Sequence[Tensor]) -> list[Tensor]:
        return [F.normalize(head(x).float(), dim=-1) for head, x in zip(self.heads, patches, strict=True)]


class NegativeGenerators(nn.Module):
    """One MLP for each feature layer that invents negatives (Wang et al., ICCV 2021).

    From the mean of a layer's projected features (B, P, width) and noise (B, N, noise) it makes N negatives
    (B, N, width) of length 1.
    """

    def __init__(self, layers: int, noise: int, width: int = 256) -> None:
        super().__init__()
        self.noise = noise
        self.makers = nn.ModuleList(
            nn.Sequential(nn.Linear(width + noise, width), nn.ReLU(inplace=True), nn.Linear(width, width))
            for _ in range(layers)
        )

    def forward(self, projected: Sequence[Tensor], noise: Sequence[Tensor]) -> list[Tensor]:
        made = []
        for maker, features, drawn in zip(self.makers, projected, noise, strict=True):
            mean = features.mean(1, keepdim=True).expand(-1, drawn.shape[1], -1)
            made.append(F.normalize(maker(torch.cat([mean, drawn], -1)).float(), dim=-1))
        return made


class NegativeQueue(nn.Module):
    """The latest negatives of each layer, first in, first out; random directions until it has been filled once."""

    latest: Tensor

    def __init__(self, layers: int, length: int, width: int = 256) -> None:
        super().__init__()
        self.register_buffer("latest", F.normalize(torch.randn(layers, length, width), dim=-1))

    def forward(self, fresh: Sequence[Tensor]) -> list[Tensor]:
        """The fresh negatives (B, N, width) of each layer and, behind them, the queue: (B, N + length, width)."""
        return [
            torch.cat([made, old.expand(len(made), -1, -1)], dim=1)
            for made, old in zip(fresh, self.latest, strict=True)
        ]

    @torch.no_grad()
    def push(self, fresh: Sequence[Tensor]) -> None:
        """Put the negatives (B, N, width) of each layer at the end; as many of the oldest leave."""
        added = torch.stack([made.detach().flatten(0, 1) for made in fresh])
        self.latest.copy_(torch.cat([self.latest, added], dim=1)[:, -self.latest.shape[1] :])
