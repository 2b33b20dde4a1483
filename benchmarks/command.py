"""Wall time and peak memory of a whole command, as the operating system accounts for it.

    python benchmarks/command.py [--runs 5] -- restore derain photo.jpg --out out.jpg --overwrite

Runs the command once to warm the disk, then ``--runs`` times, and prints the median and the range.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds and peak resident memory in MB of one run; exits when the command fails."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status != 0:
        raise SystemExit(f"the command failed: {' '.join(command)}")
    return seconds, usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        parser.error("give a command after --")
    measure(command)
    runs = [measure(command) for _ in range(args.runs)]
    for name, values, unit in (("wall", [r[0] for r in runs], "s"), ("peak memory", [r[1] for r in runs], "MB")):
        print(f"{name}: median {statistics.median(values):.2f} {unit} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
