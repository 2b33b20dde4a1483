"""What a run would do, before it does it: for ``--dry-run``."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from restorecli.training.balance import Balance
from restorecli.training.config import TrainConfig
from restorecli.training.cyclegan import placed
from restorecli.training.data import Batches, moved, unpaired_step
from restorecli.training.devices import choose_device, choose_dtype, device_memory, dtype_name
from restorecli.training.folders import length_of, open_folders
from restorecli.training.loop import with_start
from restorecli.training.mechanics import Mechanics
from restorecli.training.methods import build_branch
from restorecli.training.muon import build_optimiser
from restorecli.training.options import Options
from restorecli.training.step import Players, take_step


def describe(options: Options) -> str:
    """The resolved configuration, parameter counts, the photos found, and estimates of memory and time, for people."""
    options, restorer, _ = with_start(options)
    device = choose_device(options.device)
    dtype = choose_dtype(options.precision, device)
    folders = open_folders(options)
    config = length_of(options.config, folders, options.config.optimiser.accumulate)
    small = _small(config)
    mechanics = Mechanics(config.optimiser.clip)
    restorer = placed(restorer, device)
    branch = build_branch(small, restorer, device, mechanics) if config.unpaired.weight > 0 else None
    if branch is not None:
        branch.transplants = config.unpaired.transplant > 0
    optimiser = build_optimiser(restorer, config.optimiser)
    players = Players(restorer, copy.deepcopy(restorer), optimiser, mechanics, Balance(0, 1), branch)
    modules: Mapping[str, nn.Module] = {"restorer": restorer, **(branch.modules() if branch else {})}
    lines = [config.to_toml()]
    sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}
    lines += [f"# {name}: {count:,} parameters" for name, count in sizes.items() if count]
    data = Batches(small, folders.degraded, folders.clear)
    lines.append(f"# {data.summary()}")
    lines += [f"# warning: {warning}" for warning in (*folders.warnings, *config.warnings())]
    lines.append(f"# {len(folders.pairs)} validation pairs; device {device}, {dtype_name(dtype)}")
    with device_memory():
        memory, times = _measure(config, small, players, data, dtype, device)
    # Weights, gradients and Adam's two moments, and the restorer's moving average.
    fixed = 16 * sum(sizes.values()) + 4 * sizes["restorer"]
    lines.append(
        f"# memory: about {(fixed + memory) / 2**20:,.0f} MB for weights and activations "
        "(counted on small crops; the libraries' own and decoded photos come on top)"
    )
    unpaired = sum(unpaired_step(config, step) for step in range(config.steps))
    seconds = unpaired * times[True] + (config.steps - unpaired) * times[False]
    lines.append(
        f"# time: about {_span(max(times.values()))} for a whole step, {_span(seconds)} for {config.steps} steps "
        "(measured on small crops here and now, without decoding; large crops and a busy machine differ)"
    )
    return "\n".join(lines) + "\n"


def _small(config: TrainConfig) -> TrainConfig:
    """The same run with steps on one small crop a domain, which every discriminator still has a use for."""
    edge = max(64 if config.architecture == "unet" else 32, 32 * 2 ** (config.unpaired.scales - 1))
    return replace(
        config,
        data=replace(config.data, crop=min(config.data.crop, edge), batch=1),
        unpaired=replace(config.unpaired, batch=1),
        optimiser=replace(config.optimiser, accumulate=1),
    )


def _measure(
    config: TrainConfig, small: TrainConfig, players: Players, data: Batches, dtype: torch.dtype, device: torch.device
) -> tuple[float, dict[bool, float]]:
    """Bytes of activations of a whole step, and seconds of a step with and without unpaired losses.

    Both are taken from steps of the ``small`` run, whose ``data`` these are, and grow with the number of pixels.
    """
    first = config.unpaired.start if players.branch is not None else 0
    batch = moved(data.batch(first), device)
    parts = {True: batch, False: replace(batch, degraded=None, clear=None)}
    area = (config.data.crop / small.data.crop) ** 2
    memory, times = 0.0, {True: 0.0, False: 0.0}
    modules = players.modules().values()
    for whole, part in parts.items():
        if (whole and players.branch is None) or (part.rendered is None and part.degraded is None):
            continue
        held = Held({tuple(p.shape) for module in modules for p in module.parameters()})
        with torch.autograd.graph.saved_tensors_hooks(held.pack, lambda kept: kept.tensor):
            take_step(small, first, [part], players, dtype, data)
        began = time.perf_counter()
        take_step(small, first, [part], players, dtype, data)
        crops = max(config.data.batch if part.rendered else 0, config.unpaired.batch if part.degraded else 0)
        scale = area * crops
        memory = max(memory, held.most * scale)
        times[whole] = (time.perf_counter() - began) * scale * config.optimiser.accumulate
    if players.branch is None:
        times[True] = times[False]
    return memory, times


class Held:
    """The most bytes that are held for backward passes at once; without weights, which do not grow with the crop."""

    def __init__(self, weights: set[tuple[int, ...]]) -> None:
        self.weights = weights
        self.users: Counter[int] = Counter()
        self.now = self.most = 0

    def pack(self, tensor: Tensor) -> Kept:
        """Count a tensor until the graph that needs it is gone."""
        return Kept(self, tensor)


class Kept:
    """A tensor that a graph needs."""

    def __init__(self, held: Held, tensor: Tensor) -> None:
        self.held, self.tensor = held, tensor
        self.bytes = 0 if tuple(tensor.shape) in held.weights else tensor.numel() * tensor.element_size()
        self.key = tensor.data_ptr()
        if self.bytes and not held.users[self.key]:
            held.now += self.bytes
            held.most = max(held.most, held.now)
        held.users[self.key] += bool(self.bytes)

    def __del__(self) -> None:
        self.held.users[self.key] -= bool(self.bytes)
        if self.bytes and not self.held.users[self.key]:
            self.held.now -= self.bytes


def _span(seconds: float) -> str:
    """A time in the unit that suits it."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"
