"""The losses, each a function of tensors; every one a scalar (mean over batch and places)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

RMS_FLOOR = 1e-3
"""Root mean square error (of 1) below which it counts by its square: a quarter of an 8-bit level."""


def rendered_loss(restored: Tensor, clear: Tensor, frequency: float, balance: float, rms: float = 0.0) -> Tensor:
    """L1 distance of pixels plus ``frequency`` times the L1 distance of spectra (Cho et al., ICCV 2021), balanced.

    ``restored`` and ``clear`` are (B, 3, H, W). The spectrum is that of an orthonormal transform, so that its weight
    does not depend on the size of the crop. ``rms`` times the root mean square error is added: a streak that stays is
    a large error in few pixels, which L1 hardly counts, and PSNR does. With ``balance`` s > 0 the distance e of each
    crop counts as ``s log(1 + e / s)``: like e where it is small, like its logarithm where it is large. Plain L1 is
    ruled by the crops with the heaviest degradation; people, and mean PSNR, judge light and absent ones as strictly.
    """
    difference = restored.float() - clear
    errors = difference.abs().mean((1, 2, 3))
    if frequency > 0:
        errors = errors + frequency * torch.fft.rfft2(difference, norm="ortho").abs().mean((1, 2, 3))
    if rms > 0:
        errors = errors + rms * (difference.square().mean((1, 2, 3)) + RMS_FLOOR**2).sqrt()
    if balance > 0:
        errors = balance * torch.log1p(errors / balance)
    return errors.mean()


def discriminator_loss(kind: str, real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """What discriminators minimise, one pair of scores for each scale: ``hinge`` (Lim and Ye, 2017) or ``lsgan`` (Mao
    et al., ICCV 2017); the mean over the scales."""
    terms = []
    for yes, no in zip(real, fake, strict=True):
        yes, no = yes.float(), no.float()
        if kind == "hinge":
            terms.append(0.5 * (F.relu(1 - yes).mean() + F.relu(1 + no).mean()))
        else:
            terms.append(0.5 * (((yes - 1) ** 2).mean() + (no**2).mean()))
    return torch.stack(terms).mean()


def adversarial_loss(kind: str, fake: Sequence[Tensor]) -> Tensor:
    """What a generator minimises against the scores of its photos, one for each scale: ``hinge`` or ``lsgan``."""
    scores = [score.float() for score in fake]
    return torch.stack([-s.mean() if kind == "hinge" else ((s - 1) ** 2).mean() for s in scores]).mean()


def floor_loss(degraded: Tensor, clear: Tensor, floor: float) -> Tensor:
    """How far each degraded crop (B, 3, H, W) stays below a mean change (L1) of ``floor``, as a share of it."""
    change = (degraded - clear).abs().mean((1, 2, 3))
    return torch.relu(1 - change / floor).mean()


def patch_nce(
    query: Tensor, positive: Tensor, temperature: float, negatives: Tensor | None = None, own: Tensor | None = None
) -> Tensor:
    """Patch-contrastive loss (Park et al., ECCV 2020): cross-entropy of finding the positive among the negatives.

    ``query`` and ``positive`` (B, P, D) are of length 1 and belong together place by place. The negatives of a place
    are the positives of the other places of its photo, or ``negatives`` (B, N, D) where they are given; with ``own``
    (B, P, D), what is at its places, those of the other places of it as well.
    """
    parts = [(query * positive).sum(-1, keepdim=True)]
    # Products of vectors as precise as that sum, with which they are compared.
    with torch.autocast(query.device.type, enabled=False):
        if negatives is not None:
            parts.append(query @ negatives.transpose(1, 2))
        else:
            own = positive
        if own is not None:
            others = query @ own.transpose(1, 2)
            same = torch.eye(others.shape[1], dtype=torch.bool, device=others.device)
            parts.append(others.masked_fill(same, -torch.inf))
    logits = torch.cat(parts, dim=-1) / temperature
    return F.cross_entropy(
        logits.flatten(0, 1), torch.zeros(logits.shape[0] * logits.shape[1], dtype=torch.long, device=logits.device)
    )


def nce_over_layers(
    queries: Sequence[Tensor],
    positives: Sequence[Tensor],
    temperature: float,
    negatives: Sequence[Tensor] | None = None,
    own: Sequence[Tensor] | None = None,
) -> Tensor:
    """Mean of :func:`patch_nce` over the layers."""
    none: Sequence[Tensor | None] = [None] * len(queries)
    rows = zip(queries, positives, negatives or none, own or none, strict=True)
    return torch.stack([patch_nce(q, p, temperature, n, o) for q, p, n, o in rows]).mean()


def nearest(queries: Tensor, exemplars: Tensor) -> Tensor:
    """For each query (B, P, D) the exemplar of (N, D) that is most like it, (B, P, D); all of length 1."""
    return exemplars[(queries.detach() @ exemplars.T).argmax(-1)]


def diversity_loss(negatives: Tensor, spread: float = 0.0) -> Tensor:
    """Minus the mean distance (L1) between the halves of the negatives (B, N, D): they shall not all be one. With
    ``spread``, what that distance lacks of it."""
    first, second = negatives[:, : negatives.shape[1] // 2], negatives[:, negatives.shape[1] // 2 :]
    distance = (first - second[:, : first.shape[1]]).abs().mean()
    return F.relu(spread - distance) if spread > 0 else -distance
