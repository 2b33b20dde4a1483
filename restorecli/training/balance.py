"""How much the unpaired losses weigh beside the rendered one: by what they do to the restorer, not by their size.

A balanced rendered loss is a few hundredths, the contrastive loss of a layer with 128 negatives starts at log 129:
their sizes say nothing about how hard each pulls. The norms of their gradients on the restorer do.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from restorecli.training.processes import Processes

DECAY = 0.9


class Balance:
    """The weight that gives the unpaired losses' gradient ``share`` of the norm of the rendered loss's gradient."""

    def __init__(self, share: float, every: int) -> None:
        self.share, self.every = share, every
        self.norms: list[float] = []
        """Moving averages of the rendered and the unpaired norm, once they have been measured."""

    def due(self, rounds: int) -> bool:
        """Whether the norms are measured in this unpaired step (from 0)."""
        return self.share > 0 and (rounds % self.every == 0 or not self.norms)

    def measure(self, rendered: Tensor, unpaired: Tensor, parameters: Iterable[Tensor], processes: Processes) -> None:
        """Measure the norms of both gradients, whose graphs are kept; norms that are not finite are passed over."""
        wanted = [p for p in parameters if p.requires_grad]
        squares = []
        for loss in (rendered, unpaired):
            found = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True)
            squares.append(torch.stack([g.detach().float().square().sum() for g in found if g is not None]).sum())
        both = torch.stack(squares)
        processes.average([both])
        now = both.sqrt().tolist()
        if not all(0 < norm < float("inf") for norm in now):
            return
        self.norms = [DECAY * old + (1 - DECAY) * new for old, new in zip(self.norms or now, now, strict=True)]

    @property
    def weight(self) -> float:
        """The weight of the unpaired losses; 0 as long as nothing could be measured."""
        return self.share * self.norms[0] / self.norms[1] if self.norms else 0.0
