"""Photos a second of a training step of each preset, and what share of it each network takes.

    python benchmarks/throughput.py [PRESET...] [--steps 3] [--device auto] [--precision auto] [--set key=value]

Crops are random, so that nothing but the step is measured. The share of a network is the number of its passes in a step
(counted) times what one takes alone (measured; a pass with gradients counts with its backward pass); what is left over
is everything else: losses, heads, optimisers.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from restorecli.models.generators import build_generator
from restorecli.training.balance import Balance
from restorecli.training.config import PRESETS, TrainConfig, load_preset
from restorecli.training.cyclegan import placed
from restorecli.training.data import Batches
from restorecli.training.devices import choose_device, choose_dtype, dtype_name
from restorecli.training.mechanics import Mechanics
from restorecli.training.methods import build_branch
from restorecli.training.step import Players, photos_of, take_step


def random_photos(folder: Path, edge: int) -> list[Path]:
    """Two photos of noise."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(2)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 255, (edge, edge, 3), np.uint8))
    return paths


def counted(networks: dict[str, nn.Module], run: Callable[[], object]) -> Counter[tuple[str, str, bool]]:
    """How often each network's ``forward`` and ``features`` are called in a run, with and without gradients."""
    calls: Counter[tuple[str, str, bool]] = Counter()
    inside: list[str] = []

    def wrapped(name: str, way: str, genuine: Callable) -> Callable:
        def call(*args: object, **kwargs: object) -> object:
            # forward of a U-Net calls features itself.
            if not inside:
                calls[name, way, torch.is_grad_enabled()] += 1
            inside.append(way)
            try:
                return genuine(*args, **kwargs)
            finally:
                inside.pop()

        return call

    for name, network in networks.items():
        for way in ("forward", "features"):
            if hasattr(network, way):
                setattr(network, way, wrapped(name, way, getattr(network, way)))
    run()
    for network in networks.values():
        for way in ("forward", "features"):
            network.__dict__.pop(way, None)
    return calls


def seconds(device: torch.device, run: Callable[[], object], times: int) -> float:
    """The median time of a call, after one that is not counted."""
    found = []
    for _ in range(times + 1):
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
    return float(np.median(found[1:]))


def measure(config: TrainConfig, device: torch.device, dtype: torch.dtype, steps: int) -> str:
    """One row of the table."""
    first = config.unpaired.start
    with tempfile.TemporaryDirectory() as folder:
        photos = random_photos(Path(folder), 2 * config.data.crop)
        data = Batches(config, photos, photos)
        batch = data.batch(first)
    shape = config.generator if config.architecture == "unet" else config.resnet
    restorer = placed(build_generator(config.architecture, vars(shape)), device)
    mechanics = Mechanics(config.optimiser.clip)
    branch = build_branch(config, restorer, device, mechanics)
    players = Players(
        restorer, copy.deepcopy(restorer), torch.optim.AdamW(restorer.parameters()), mechanics, Balance(0, 1), branch
    )
    parts = {name: part for name, part in vars(batch).items() if name != "broken" and part is not None}
    moved = {n: type(p)(**{k: v.to(device) for k, v in vars(p).items()}) for n, p in parts.items()}
    batch = type(batch)(**{"rendered": None, **moved})

    def run() -> None:
        take_step(config, first, [batch], players, dtype, data)

    whole = seconds(device, run, steps)
    networks: dict[str, nn.Module] = {"restorer": restorer, "degrader": branch.degrader}
    networks["discriminators"] = branch.judge_clear
    other: dict[str, nn.Module] = {**networks, "other": branch.judge_degraded}
    calls = counted(other, run)
    assert batch.clear is not None
    crops = batch.clear

    def once(network: nn.Module, way: str, learns: bool) -> None:
        with torch.set_grad_enabled(learns), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            given = (crops.crop,) if network is branch.judge_clear else (crops.crop, crops.thumbnail, crops.place)
            made = getattr(network, way)(*given)
            tensors: list[Tensor] = made if isinstance(made, list) else [made]
            total = torch.stack([t.float().mean() for t in tensors]).sum()
        if learns:
            total.backward()

    spent: Counter[str] = Counter()
    for (name, way, learns), count in calls.items():
        shown = "discriminators" if name == "other" else name
        network = networks[shown].requires_grad_(True)
        spent[shown] += count * seconds(device, lambda n=network, w=way, g=learns: once(n, w, g), 1)  # type: ignore[misc]
    shares = [f"{100 * spent[name] / whole:.0f} %" for name in networks]
    rest = f"{100 * max(0.0, 1 - sum(spent.values()) / whole):.0f} %"
    photos_a_second = photos_of(config, first) / whole
    return f"| {whole:.2f} | {photos_a_second:.2f} | " + " | ".join([*shares, rest]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("presets", nargs="*", default=[])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    device = choose_device(args.device)
    dtype = choose_dtype(args.precision, device)
    print(f"| {device}, {dtype_name(dtype)} | s a step | photos/s | restorer | degrader | discriminators | the rest |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in args.presets or PRESETS:
        print(f"| {name} " + measure(load_preset(name).with_overrides(args.set), device, dtype, args.steps), flush=True)


if __name__ == "__main__":
    main()
