"""The optimiser of the restoring generator: Adam, or Muon for its inner layers.

Muon (Jordan et al., 2024) makes the update of a layer orthogonal before it is taken, so that every direction in which
the layer's gradient points, however weakly, is followed as far as the strongest: the layers of one picture's common
features do not drown those that tell rain from bricks. In rendered training it needs less than half of Adam's steps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from restorecli.training.config import OptimiserConfig
from restorecli.training.devices import choose_dtype

OUTER = ("head", "airlight", "last")
"""Layers that give what is seen, which Adam moves in every case."""

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration, as published."""


class Muon(torch.optim.AdamW):
    """Muon for the groups whose ``orthogonal`` is true, AdamW for the others; all with the learning rates of AdamW.

    An orthogonal update has the root mean square of one of Adam's (0.2: Liu et al., arXiv 2502.16982), so that one
    learning rate serves both. ``torch.optim.Muon`` takes matrices alone; here a convolution is the matrix of its output
    channels by everything they are summed over.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        every = self.param_groups
        for group in every:
            if group["orthogonal"]:
                self._orthogonal_step(group)
        self.param_groups = [group for group in every if not group["orthogonal"]]
        try:
            return super().step(closure)
        finally:
            self.param_groups = every

    def _orthogonal_step(self, group: dict[str, Any]) -> None:
        momentum = group["momentum"]
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if "momentum" not in state:
                # AdamW, when it loads a state, looks for a step in everyone's.
                state["step"] = torch.zeros(())
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - momentum)
            # Nesterov's: where the momentum will be after this gradient.
            update = p.grad.lerp(state["momentum"], momentum).flatten(1)
            scale = 0.2 * max(update.shape) ** 0.5
            # Orthogonal updates feed every direction, also those along which the gradient is mere noise.
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.sub_(orthogonal(update).view_as(p), alpha=group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrix to (M, N), about: its singular values become 0.7 to 1.2.

    Five rounds of a quintic Newton-Schulz iteration, in bfloat16, which is all the exactness that a step needs; in
    float32 on a CPU that only imitates bfloat16, where the iteration took as long as half of the passes of a step.
    """
    a, b, c = QUINTIC
    x = matrix.to(_quickest(matrix.device))
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)


@cache
def _quickest(device: torch.device) -> torch.dtype:
    """What matrices are multiplied in: what ``--precision auto`` takes. Asked once, not for each layer of each step."""
    return choose_dtype("auto", device)


def build_optimiser(network: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """``adam``, or ``muon``: Muon for the layers between the input and :data:`OUTER`, Adam for what is left."""
    betas = (config.beta1, config.beta2)
    if config.kind == "adam":
        return torch.optim.AdamW(network.parameters(), lr=config.lr, betas=betas, weight_decay=config.weight_decay)
    inner: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        layer = parameter.ndim >= 2 and name.split(".")[0] not in OUTER
        (inner if layer else rest).append(parameter)
    return Muon(
        [
            {"params": inner, "orthogonal": True, "momentum": 0.95, "weight_decay": config.weight_decay},
            {"params": rest, "orthogonal": False},
        ],
        lr=config.lr,
        betas=betas,
        weight_decay=0.0,
    )
