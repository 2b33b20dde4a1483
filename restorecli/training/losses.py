"""The losses, each a function of tensors; every one a scalar (mean over batch and places)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def rendered_loss(restored: Tensor, clear: Tensor, frequency: float, balance: float) -> Tensor:
    """L1 distance of pixels plus ``frequency`` times the L1 distance of spectra (Cho et al., ICCV 2021), balanced.

    ``restored`` and ``clear`` are (B, 3, H, W). The spectrum is that of an orthonormal transform, so that its weight
    does not depend on the size of the crop. With ``balance`` s > 0 the distance e of each crop counts as
    ``s log(1 + e / s)``: like e where it is small, like its logarithm where it is large. Plain L1 is ruled by the
    crops with the heaviest degradation; people, and mean PSNR, judge light and absent ones as strictly.
    """
    difference = restored.float() - clear
    errors = difference.abs().mean((1, 2, 3))
    if frequency > 0:
        errors = errors + frequency * torch.fft.rfft2(difference, norm="ortho").abs().mean((1, 2, 3))
    if balance > 0:
        errors = balance * torch.log1p(errors / balance)
    return errors.mean()


def discriminator_loss(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """What a discriminator minimises: ``hinge`` (Lim and Ye, 2017) or ``lsgan`` (Mao et al., ICCV 2017)."""
    real, fake = real.float(), fake.float()
    if kind == "hinge":
        return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
    return 0.5 * (((real - 1) ** 2).mean() + (fake**2).mean())


def adversarial_loss(kind: str, fake: Tensor) -> Tensor:
    """What a generator minimises against the scores of its photos: ``hinge`` or ``lsgan``."""
    fake = fake.float()
    return -fake.mean() if kind == "hinge" else ((fake - 1) ** 2).mean()


def patch_nce(query: Tensor, positive: Tensor, temperature: float, negatives: Tensor | None = None) -> Tensor:
    """Patch-contrastive loss (Park et al., ECCV 2020): cross-entropy of finding the positive among the negatives.

    ``query`` and ``positive`` (B, P, D) are of length 1 and belong together place by place. The negatives of a place
    are the positives of the other places of its photo, or ``negatives`` (B, N, D) where they are given.
    """
    fits = (query * positive).sum(-1, keepdim=True)
    if negatives is None:
        others = query @ positive.transpose(1, 2)
        own = torch.eye(others.shape[1], dtype=torch.bool, device=others.device)
        others = others.masked_fill(own, -torch.inf)
    else:
        others = query @ negatives.transpose(1, 2)
    logits = torch.cat([fits, others], dim=-1) / temperature
    return F.cross_entropy(
        logits.flatten(0, 1), torch.zeros(logits.shape[0] * logits.shape[1], dtype=torch.long, device=logits.device)
    )


def diversity_loss(negatives: Tensor) -> Tensor:
    """Minus the mean distance (L1) between the halves of the negatives (B, N, D): they shall not all be one."""
    first, second = negatives[:, : negatives.shape[1] // 2], negatives[:, negatives.shape[1] // 2 :]
    return -(first - second[:, : first.shape[1]]).abs().mean()
