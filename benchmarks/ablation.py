"""What each part of unpaired learning is worth, from the same short budget: one Markdown table for each task.

    python benchmarks/ablation.py dcd|cdd DATA [--steps 1500] [--seeds 1] [--row NAME...] [--out docs/ablation-dcd.md]

Data and scores are those of ``benchmarks/unpaired.py``: the last weights, on 30 held-out pairs. Every row has the
generators, discriminators, rates, steps, crops and seeds of the preset; what differs is in its settings, below.

What was measured is kept beside its run, and a run that was stopped goes on: the same command again measures what is
left. ``--row`` measures some rows alone, so that several processes can share the work (start the second one when the
first one trains: the folders are then there; ``OMP_NUM_THREADS=1`` gives each a core). ``--time-limit`` is for all that
a process does; ``--time-limit 0s`` shows what there is. Rows without all their steps are not measured.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from unpaired import arguments, learn, prepare

from restorecli.cli.quantities import duration
from restorecli.photo import write_bytes_atomic
from restorecli.training.config import TrainConfig, load_preset

PLAIN = [
    "unpaired.physics=false", "unpaired.all_stages=false", "unpaired.exemplars=0.0", "unpaired.fresh=0",
    "unpaired.transplant=0.0",
]  # fmt: skip
BOUND = ["unpaired.physics=true", *PLAIN[1:]]
ALONE = ["method=cyclegan", "unpaired.contrast=0.0"]
NCE = ["method=cyclegan"]
FIRST = ["method=dcd"]
DCD = ["method=dcd", "unpaired.all_stages=true"]
CDD = ["method=cdd", "unpaired.fresh=64", "unpaired.exemplars=0.25"]
ROWS = {
    "cyclegan": ("CycleGAN alone", [*PLAIN, *ALONE]),
    "nce": ("+ patch NCE", [*PLAIN, *NCE]),
    "dual": ("+ dual heads, first translations alone (DCD's code)", [*PLAIN, *FIRST]),
    "dcd": ("+ dual heads, all stages (DCD's paper)", [*PLAIN, *DCD]),
    "cdd": ("+ negative generators, queue, exemplars (CDD)", [*PLAIN, *CDD]),
    "bound-cyclegan": ("degrader bound to physics: CycleGAN alone", [*BOUND, *ALONE]),
    "bound-nce": ("degrader bound to physics: + patch NCE", [*BOUND, *NCE]),
    "bound-dual": ("degrader bound to physics: + dual heads, first translations alone", [*BOUND, *FIRST]),
    "bound-dcd": ("degrader bound to physics: + dual heads, all stages", [*BOUND, *DCD]),
    "transplant": (
        "degrader bound to physics: + dual heads, first translations alone, transplanted rain",
        [*BOUND[:-1], *FIRST],
    ),
    "bound-cdd": ("degrader bound to physics: + negative generators, queue, exemplars", [*BOUND, *CDD]),
}
"""Name of a row: what the table calls it, and its settings. A bound degrader has a floor under what it changes, closes
its cycle by the law of its weather and has no identity loss: these belong to it."""


def kept(run: Path, config: TrainConfig) -> float | None:
    """The gain that was measured for a finished run of that configuration."""
    path = run / "gain.json"
    if not path.exists():
        return None
    found = json.loads(path.read_text("utf-8"))
    return float(found["gain"]) if found["config"] == config.to_toml() else None


def rows_of(base: TrainConfig, asked: Iterable[str] = ROWS) -> list[str]:
    """Those of the rows that the task has."""
    return [name for name in asked if name != "transplant" or base.task == "derain"]


def table(base: TrainConfig, seeds: int, runs: Path) -> str:
    """All rows, from what was measured of them."""
    measure = "luma" if base.task == "derain" else "RGB"
    runs_each = f"mean and range of {seeds} runs" if seeds > 1 else "one run each"
    lines = [f"| {base.task}, {base.steps} steps | gain in dB (PSNR, {measure}), {runs_each} |", "| --- | --- |"]
    for name in rows_of(base):
        found = [kept(run, config) for config, run in trials(base, name, seeds, runs)]
        gains = [gain for gain in found if gain is not None]
        said = f"{np.mean(gains):+.2f}" if gains else "not measured"
        if len(gains) > 1:
            said += f" ({min(gains):+.2f} to {max(gains):+.2f})"
        if 0 < len(gains) < seeds:
            said += f", {len(gains)} of {seeds} runs"
        preset = " (the preset)" if base == trials(base, name, 1, runs)[0][0] else ""
        lines.append(f"| {ROWS[name][0]}{preset} | {said} |")
    return "\n".join(lines) + "\n"


def trials(base: TrainConfig, name: str, seeds: int, runs: Path) -> list[tuple[TrainConfig, Path]]:
    """Configuration and folder of each run of a row."""
    config = base.with_overrides(ROWS[name][1])
    return [(replace(config, seed=base.seed + seed), runs / f"{name}-{base.steps}-{seed}") for seed in range(seeds)]


def main() -> None:
    parser = arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--row", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME", help=", ".join(ROWS)
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    work = args.work / f"unpaired-{args.method}"
    prepare(args.method, args.data, work)
    steps = args.steps or 1500
    base = load_preset(args.method)
    # What begins on the way begins at the same share of it.
    start = base.unpaired.transplant_start * steps // base.steps
    base = base.with_overrides([f"steps={steps}", f"unpaired.transplant_start={start}", *args.set])
    end = time.monotonic() + duration(args.time_limit) if args.time_limit else None
    key = "val_gain_y" if base.task == "derain" else "val_gain"
    runs = work / "ablation"
    for name in rows_of(base, args.row):
        for config, run in trials(base, name, args.seeds, runs):
            if kept(run, config) is not None:
                continue
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            scores = learn(config, work, run, args.device, left)
            # Less than the whole budget is no measurement.
            if scores["steps"] == config.steps:
                facts = {"gain": scores[key], "config": config.to_toml()}
                write_bytes_atomic(json.dumps(facts).encode(), run / "gain.json", overwrite=True)
        # After every row, from what all processes have measured so far.
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomic(table(base, args.seeds, runs).encode(), args.out, overwrite=True)
    print(table(base, args.seeds, runs), end="")


if __name__ == "__main__":
    main()
