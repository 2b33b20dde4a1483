"""Backward and step, the same for every player: scaled for fp16, averaged over processes, clipped, never not finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from restorecli.errors import TrainingError
from restorecli.training.processes import Processes


class Mechanics:
    """How the players of a run learn."""

    def __init__(self, clip: float, processes: Processes | None = None, scaler: torch.amp.GradScaler | None = None):
        """``clip``: largest norm of a player's gradient, 0 for any; ``scaler`` for fp16 only."""
        self.clip = clip
        self.processes = processes or Processes()
        self.scaler = scaler

    def backward(self, loss: Tensor, who: str) -> None:
        """Add a loss's gradients to those that are there; :class:`TrainingError` when the loss is not finite."""
        if not math.isfinite(float(loss.detach())):
            raise TrainingError(f"the loss of the {who} is not finite; {_REMEDY}", kind="not_finite")
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def step(self, optimiser: torch.optim.Optimizer, who: str) -> None:
        """One step; the gradients are then gone.

        A gradient that is not finite is a :class:`TrainingError`; in fp16 the step is left out and the scale lowered.
        """
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        if self.processes.count > 1:
            for p in parameters:
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            self.processes.average(p.grad for p in parameters if p.grad is not None)
        if self.scaler is not None:
            self.scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_(parameters, self.clip or math.inf)
        if self.scaler is not None:
            self.scaler.step(optimiser)
        elif not torch.isfinite(norm):
            raise TrainingError(f"the gradient of the {who} is not finite; {_REMEDY}", kind="not_finite")
        else:
            optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def finish(self) -> None:
        """After the steps of all players: the scale of the next round."""
        if self.scaler is not None:
            self.scaler.update()


_REMEDY = (
    "the last checkpoint is intact: use a lower optimiser.lr or unpaired.lr in a new run, "
    "or resume with --precision fp32"
)
