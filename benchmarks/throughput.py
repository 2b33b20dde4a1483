"""Photos a second of a training step of each preset, and what share of it each network takes.

    python benchmarks/throughput.py [PRESET...] [--steps 3] [--device auto] [--precision auto] [--set key=value]
    python benchmarks/throughput.py [PRESET...] --compile
    python benchmarks/throughput.py [PRESET...] --loader FOLDER [--workers 0]

Crops are of noise, so that nothing but the step is measured. The share of a network is the number of its passes in a
step (counted) times what one takes alone (measured; a pass with gradients counts with its backward pass); what is left
over is everything else: losses, heads, optimisers. ``--compile`` adds what ``torch.compile`` makes of the step.

``--loader`` takes real steps, from a run's first one on, on the photos of a folder (every second one as degraded), and
says which share of the time they wait for photos: the worst case, where each must be decoded, and the best.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from restorecli.errors import RestoreError
from restorecli.models.generators import build_generator
from restorecli.training.balance import Balance
from restorecli.training.config import PRESETS, TrainConfig, load_preset
from restorecli.training.cyclegan import placed
from restorecli.training.data import Batches, batches, moved, training_photos
from restorecli.training.devices import choose_device, choose_dtype, dtype_name
from restorecli.training.mechanics import Mechanics
from restorecli.training.methods import build_branch
from restorecli.training.muon import build_optimiser
from restorecli.training.standing import Stopwatch
from restorecli.training.step import Players, compile_players, compiling, photos_of, take_step


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


def players_of(config: TrainConfig, device: torch.device) -> Players:
    """Everything that a step of the preset moves."""
    shape = config.generator if config.architecture == "unet" else config.resnet
    restorer = placed(build_generator(config.architecture, vars(shape)), device)
    mechanics = Mechanics(config.optimiser.clip)
    branch = build_branch(config, restorer, device, mechanics)
    optimiser = build_optimiser(restorer, config.optimiser)
    return Players(restorer, copy.deepcopy(restorer), optimiser, mechanics, Balance(0, 1), branch)


def measure(
    config: TrainConfig, device: torch.device, dtype: torch.dtype, steps: int, *, whole: bool, compiled: bool
) -> str:
    """One row of the table: a step with unpaired losses (``whole``), or one without."""
    first = config.unpaired.start
    with tempfile.TemporaryDirectory() as folder:
        photos = random_photos(Path(folder), 2 * config.data.crop)
        data = Batches(config, photos, photos)
        full = moved(data.batch(first), device)
    batch = full if whole else replace(full, degraded=None, clear=None)
    players = players_of(config, device)
    restorer, branch = players.restorer, players.branch
    assert branch is not None and full.clear is not None

    def run() -> None:
        take_step(config, first, [batch], players, dtype, data)

    step = seconds(device, run, steps)
    networks: dict[str, nn.Module] = {"restorer": restorer, "degrader": branch.degrader}
    networks["discriminators"] = branch.judge_clear
    other: dict[str, nn.Module] = {**networks, "other": branch.judge_degraded}
    calls = counted(other, run)
    crops = full.clear

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
    cells = [f"{step:.2f}", f"{(photos_of(config, first) if whole else config.data.batch) / step:.2f}"]
    cells += [f"{100 * spent[name] / step:.0f} %" for name in networks]
    cells.append(f"{100 * max(0.0, 1 - sum(spent.values()) / step):.0f} %")
    if compiled:
        compile_players(players)
        began = time.perf_counter()
        with compiling():
            run()
        cells.append(f"{time.perf_counter() - began:.0f}")
        cells.append(f"{seconds(device, run, steps):.2f}")
    return " | ".join(cells)


def measure_loader(
    config: TrainConfig, device: torch.device, dtype: torch.dtype, args: argparse.Namespace, photos: list[Path]
) -> str:
    """One row of the loader's table: real steps on real photos, first when each is decoded anew, then from memory."""
    players = players_of(config, device)
    shares, steps, speed = [], 0, 0.0
    for cached in (False, True):
        kept = config if cached else replace(config, data=replace(config.data, cache_mb=0))
        data = Batches(replace(kept, steps=args.steps + 1), photos[::2], photos[1::2])
        if cached:
            # Worker processes begin with what this one has in memory.
            for index in range(len(data)):
                data[index]
        watch, waited, done = Stopwatch(), time.perf_counter(), 0
        for groups in batches(data, 0, args.workers, device):
            watch.waiting += time.perf_counter() - waited
            take_step(config, done, [moved(one, device) for one in groups], players, dtype, data)
            watch.photos += photos_of(config, done)
            if done == 0:
                # The first step makes what later ones find ready.
                watch = Stopwatch()
            done += 1
            if time.perf_counter() - watch.began > args.seconds and done > 2:
                break
            waited = time.perf_counter()
        figures = watch.read()
        shares.append(f"{100 * figures['waiting']:.1f} %")
        steps, speed = done - 1, figures["photos_per_second"]
    return " | ".join([str(steps), f"{speed:.2f}", *shares])


def rows(args: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> Iterator[str]:
    """The lines of the table that is asked for."""
    heads = [f"{device}, {dtype_name(dtype)}"]
    if args.loader:
        heads += ["steps", "photos/s", "waiting, photos decoded anew", "waiting, photos in memory"]
        photos = training_photos(args.loader, ())
    else:
        heads += ["s a step", "photos/s", "restorer", "degrader", "discriminators", "the rest"]
        heads += ["first step compiled, s", "s a step compiled"] if args.compile else []
    yield f"| {' | '.join(heads)} |"
    yield "|" + " --- |" * len(heads)
    for name in args.presets or PRESETS:
        config = load_preset(name).with_overrides(args.set)
        if args.loader:
            yield f"| {name} | {measure_loader(config, device, dtype, args, photos)} |"
            continue
        kinds = [(name, True)] + ([(f"{name}, no unpaired losses", False)] if config.rendered.weight > 0 else [])
        for label, whole in kinds:
            row = measure(config, device, dtype, args.steps, whole=whole, compiled=args.compile)
            yield f"| {label} | {row} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("presets", nargs="*", default=[])
    parser.add_argument("--steps", type=int, help="steps to measure (default 3, and 16 of a loader)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--loader", type=Path, metavar="FOLDER", help="how long a step waits for photos of this folder")
    parser.add_argument("--workers", type=int, default=0, help="processes of the loader (default 0)")
    parser.add_argument("--seconds", type=float, default=8, help="most time for each half of a loader's row")
    args = parser.parse_args()
    args.steps = args.steps or (16 if args.loader else 3)
    device = choose_device(args.device)
    try:
        for row in rows(args, device, choose_dtype(args.precision, device)):
            print(row, flush=True)
    except RestoreError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
