"""What each part of unpaired learning is worth, from the same short budget: one Markdown table.

    python benchmarks/ablation.py dcd|cdd DATA [--steps 1500] [--seeds 1] [--out docs/ablation.md]

Data and scores are those of ``benchmarks/unpaired.py``. Every row has the same generators, discriminators, rates, steps
and seeds; what differs is in its settings, which the table names. With several seeds the mean and the range are given.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from unpaired import arguments, learn, prepare

from restorecli.cli.quantities import duration
from restorecli.training.config import load_preset

PLAIN = ["unpaired.physics=false", "unpaired.all_stages=false", "unpaired.exemplars=0.0", "unpaired.fresh=0"]
ROWS = {
    "CycleGAN alone": ["method=cyclegan", "unpaired.contrast=0.0", *PLAIN],
    "+ patch NCE": ["method=cyclegan", *PLAIN],
    "+ dual heads (DCD)": ["method=dcd", *PLAIN, "unpaired.all_stages=true"],
    "+ negative generators (CDD)": ["method=cdd", *PLAIN, "unpaired.fresh=64", "unpaired.exemplars=0.25"],
    "CycleGAN alone, degrader bound to physics": ["method=cyclegan", "unpaired.contrast=0.0", *PLAIN[1:]],
    "DCD, degrader bound to physics": ["method=dcd", *PLAIN[1:], "unpaired.all_stages=true"],
    "CDD, degrader bound to physics": ["method=cdd", *PLAIN[1:], "unpaired.fresh=64", "unpaired.exemplars=0.25"],
}


def main() -> None:
    parser = arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    work = args.work / f"unpaired-{args.method}"
    prepare(args.method, args.data, work)
    base = load_preset(args.method).with_overrides([f"steps={args.steps or 1500}", *args.set])
    limit = duration(args.time_limit) if args.time_limit else None
    key = "val_gain_y" if base.task == "derain" else "val_gain"
    measure = "luma" if base.task == "derain" else "RGB"
    lines = [
        f"| {base.task}, {base.steps} steps, {args.seeds} seeds | gain in dB (PSNR, {measure}) | range |",
        "| --- | --- | --- |",
    ]
    for name, settings in ROWS.items():
        gains = []
        for seed in range(args.seeds):
            config = replace(base.with_overrides(settings), seed=seed)
            run = work / "ablation" / f"{name.lower().replace(' ', '-')}-{seed}"
            gains.append(learn(config, work, run, args.device, limit)[key])
        lines.append(f"| {name} | {np.mean(gains):+.2f} | {min(gains):+.2f} to {max(gains):+.2f} |")
        # After every row: a budget that runs out leaves the rows that were measured.
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
