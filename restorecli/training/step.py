"""One step of all players, in reading order, and what depends on the step alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from restorecli.errors import BackendError, TrainingError
from restorecli.models.generators import Generator
from restorecli.training.balance import Balance
from restorecli.training.config import TrainConfig
from restorecli.training.cyclegan import CycleGAN, Noise, Ways
from restorecli.training.data import Batch, Batches, unpaired_step
from restorecli.training.losses import rendered_loss
from restorecli.training.mechanics import Mechanics


@dataclass
class Players:
    """Everything in a run that has a state."""

    restorer: Generator
    average: Generator
    """The moving average of the restorer's weights, which is what is saved and used."""
    optimiser: torch.optim.Optimizer
    mechanics: Mechanics
    balance: Balance
    branch: CycleGAN | None = None
    """The unpaired branch, from its first step on."""

    def modules(self) -> dict[str, nn.Module]:
        """Those with weights, by name."""
        own: dict[str, nn.Module] = {"restorer": self.restorer, "average": self.average}
        return own | (self.branch.modules() if self.branch else {})

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers, by name."""
        return {"restorer": self.optimiser} | (self.branch.optimisers() if self.branch else {})


def take_step(
    config: TrainConfig, step: int, groups: list[Batch], players: Players, dtype: torch.dtype, data: Batches
) -> dict[str, float]:
    """One step of every player that this step has, on this process's groups; their losses as plain numbers.

    With several groups the generators' translations are made twice: once for the discriminators, which step first, and
    once for the generators, so that no more than one group's activations are held.
    """
    device = groups[0].clear.crop.device if groups[0].clear is not None else next(players.restorer.parameters()).device
    branch = players.branch if groups[0].degraded is not None else None
    weight = config.unpaired.weight
    sums: dict[str, float] = {}
    # What a step draws (places, noise) depends on the seed and the step alone, however often the run was resumed.
    seed = config.seed * 1_000_003 + step
    noises = [Noise(seed, number, data.total) for number in data.groups]
    alone = len(groups) == 1
    # No cache of cast weights: the discriminators' change within the step, and a cache filled without gradients
    # would cut the generators off from theirs.
    precision = torch.autocast(device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False)
    players.optimiser.zero_grad(set_to_none=True)
    rounds = []
    if branch is not None:
        with precision:
            with torch.set_grad_enabled(alone):
                for group, noise in zip(groups, noises, strict=True):
                    torch.manual_seed(seed)
                    rounds.append(_translated(branch, group, noise))
            sums |= branch.oppose(rounds, seed)

    for index, group in enumerate(groups):
        values: dict[str, float] = {}
        loss = torch.zeros((), device=device)
        with precision:
            if group.rendered is not None:
                r = group.rendered
                restored = players.restorer(r.degraded, r.thumbnail, r.place)
                terms = config.rendered
                rendered = rendered_loss(restored, r.clear, terms.frequency, terms.balance, terms.rms)
                values["rendered"] = float(rendered.detach())
                loss = loss + terms.weight * rendered
            if branch is not None:
                if alone:
                    ways = rounds[0]
                else:
                    torch.manual_seed(seed)
                    ways = _translated(branch, group, noises[index])
                unpaired, parts = branch.losses(ways)
                values |= parts
                if config.unpaired.balance > 0:
                    number = (step - config.unpaired.start) // config.unpaired.every
                    if index == 0 and players.balance.due(number):
                        parameters = players.restorer.parameters()
                        players.balance.measure(loss, unpaired, parameters, players.mechanics.processes)
                    weight = players.balance.weight
                    values["weight"] = weight
                loss = loss + weight * unpaired
        if not all(math.isfinite(value) for value in (*values.values(), float(loss.detach()))):
            raise TrainingError(_not_finite(step, values), kind="not_finite")
        players.mechanics.backward(loss / len(groups), "generators")
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value / len(groups)
    players.mechanics.step(players.optimiser, f"restorer at step {step}")
    if branch is not None:
        branch.update(weight)
    players.mechanics.finish()
    return sums


def _translated(branch: CycleGAN, group: Batch, noise: Noise) -> Ways:
    assert group.degraded is not None and group.clear is not None
    return branch.translate(group.degraded, group.clear, noise)


def _not_finite(step: int, values: dict[str, float]) -> str:
    bad = ", ".join(name for name, value in values.items() if not math.isfinite(value)) or "total"
    return (
        f"step {step}: the loss is not finite ({bad}); the last checkpoint is intact: "
        "resume with a lower optimiser.lr or unpaired.lr in a new run, or with --precision fp32"
    )


def rate(config: TrainConfig, step: int) -> float:
    """The learning rate of a step as a share of the highest: linear warm-up, constant, linear decay to 0."""
    warm = min(1.0, (step + 1) / max(config.optimiser.warmup, 1))
    return warm * _decayed(config.steps, step, config.optimiser.decay)


def set_rates(config: TrainConfig, step: int, players: Players) -> None:
    """Set the learning rates of all players for a step: they are a function of it, so no schedule has a state."""
    for group in players.optimiser.param_groups:
        group["lr"] = config.optimiser.lr * rate(config, step)
    if players.branch is not None:
        players.branch.set_rate(_decayed(config.steps, step, config.unpaired.decay))
        players.branch.transplants = config.unpaired.transplant > 0 and step >= config.unpaired.transplant_start


def _decayed(steps: int, step: int, share: float) -> float:
    tail = steps * share
    return min(1.0, (steps - step) / tail) if tail > 0 else 1.0


def photos_of(config: TrainConfig, step: int) -> int:
    """Crops that a group of this step learns from."""
    rendered = config.data.batch if config.rendered.weight > 0 else 0
    return rendered + (2 * config.unpaired.batch if unpaired_step(config, step) else 0)


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


@contextmanager
def compiling() -> Iterator[None]:
    """What torch.compile says where it cannot work, at its first pass, as one line of a :class:`BackendError`."""
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        if "InvalidCxxCompiler" in str(error):
            reason = "it needs a C++ compiler, and finds none: install g++"
        else:
            reason = f"{str(error).strip().splitlines()[0]}: install what it needs"
        raise BackendError(f"torch.compile does not work here, as {reason}, or leave --compile out") from error


def compile_players(players: Players) -> None:
    """Put the forward passes of all networks through ``torch.compile``; their names and weights stay as they are."""
    if players.balance.share > 0:
        import torch._functorch.config as functorch

        # Measuring the norms goes back through a graph twice, whose buffers must be there the second time.
        functorch.donated_buffer = False
    networks: list[nn.Module] = [players.restorer]
    if players.branch is not None:
        networks += [players.branch.degrader, players.branch.judge_clear, players.branch.judge_degraded]
    for network in networks:
        if network._compiled_call_impl is None:
            network.compile()
