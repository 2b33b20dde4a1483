"""The long run."""

from __future__ import annotations

import argparse
import logging
import warnings

from tests.fuzz.targets import TARGETS, fuzz

parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Feed damaged files to what reads files.")
parser.add_argument("target", nargs="*", help=f"{', '.join(TARGETS)}; default: all")
parser.add_argument("--examples", type=int, default=100_000)
args = parser.parse_args()
if unknown := set(args.target) - set(TARGETS):
    parser.error(f"there is no target {', '.join(sorted(unknown))}")
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
for name in args.target or TARGETS:
    fuzz(name, TARGETS[name][0](), args.examples)
    print(f"{name}: {args.examples} damaged files, nothing unforeseen", flush=True)
