"""From a training run to a folder that others can use: the weights, what they were trained with, and a card."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from restorecli.errors import UsageError, WeightsError
from restorecli.photo.atomic import write_failure
from restorecli.weights.described import Weights
from restorecli.weights.files import sha256_of
from restorecli.weights.hub import HF_DEFAULT_FILE
from restorecli.weights.networks import load_network
from restorecli.weights.resolving import resolve

TO_FILL_IN = "TO BE FILLED IN"
"""What the card says where only people know the answer."""


@dataclass(frozen=True)
class Pack:
    """A folder to publish; as ``--weights`` it can be used at once."""

    folder: Path
    files: tuple[str, ...]
    """Names of the files in it."""
    weights: Weights


def pack(run: Path, out: Path) -> Pack:
    """Make the folder ``out`` from the folder of a training run, whole or not at all.

    It holds ``generator.safetensors`` (and its ONNX twin, where the run has one), ``config.toml`` (the resolved preset,
    without this machine's folders), ``README.md`` (a card for the Hugging Face Hub) and ``SHA256SUMS``.

    Raises :class:`UsageError` when ``out`` holds something already, :class:`WeightsError` when the run has no sound
    weights yet, and :class:`PhotoError` of kind ``unwritable`` or ``disk_full`` when the folder cannot be written.
    """
    if not os.path.isfile(run / HF_DEFAULT_FILE):
        raise WeightsError(
            f"{run} holds no {HF_DEFAULT_FILE}: give the folder of a training run (restore train --out)", kind="missing"
        )
    if os.path.exists(out) and (not os.path.isdir(out) or any(out.iterdir())):
        # A card that somebody has filled in is not to be had again.
        raise UsageError(f"{out} is there already: choose another --out", kind="exists")
    weights = resolve(str(run / HF_DEFAULT_FILE), None)
    parameters = sum(value.numel() for value in load_network(weights).parameters())
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=out.parent) as temporary:
            folder = Path(temporary) / "pack"
            folder.mkdir()
            shutil.copyfile(weights.path, folder / HF_DEFAULT_FILE)
            if weights.onnx is not None:
                shutil.copyfile(weights.onnx, folder / Path(HF_DEFAULT_FILE).with_suffix(".onnx"))
            if "preset" in weights.metadata:
                (folder / "config.toml").write_text(weights.metadata["preset"], encoding="utf-8")
            (folder / "README.md").write_text(_card(weights, parameters, _validation(run, weights)), encoding="utf-8")
            names = sorted(path.name for path in folder.iterdir())
            sums = "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names if name != "README.md")
            (folder / "SHA256SUMS").write_text(sums, encoding="utf-8")
            if os.path.exists(out):
                out.rmdir()
            os.replace(folder, out)
    except OSError as error:
        raise write_failure(out, error) from error
    return Pack(out, (*names, "SHA256SUMS"), resolve(str(out), None))


def _validation(run: Path, weights: Weights) -> dict[str, float]:
    """The last scores in the run's log that are not of later weights than these; none when it never validated."""
    steps = weights.metadata.get("steps", "")
    last = float(steps) if steps.isdecimal() else math.inf
    try:
        lines = (run / "log.jsonl").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            values = json.loads(line)
        except ValueError:
            continue
        step = values.get("step") if isinstance(values, dict) else None
        if not isinstance(step, int) or step > last:
            continue
        if any(str(key).startswith(("val_", "held_")) for key in values):
            return values
    return {}


def _card(weights: Weights, parameters: int, scores: dict[str, float]) -> str:
    descriptor, metadata = weights.descriptor, weights.metadata
    removes = {"dehaze": "haze, fog and smog", "derain": "rain"}[weights.task]
    thumbnail = (
        f" A thumbnail of the whole photo, {descriptor.thumbnail} pixels square, is its second input."
        if descriptor.thumbnail
        else ""
    )
    if scores:
        shown = "\n".join(f"| {name} | {value:g} |" for name, value in scores.items())
        figures = (
            f"Scores of step {scores['step']:g} in the run's own log, on the photos it validates on:"
            f"\n\n| | |\n| --- | --- |\n{shown}"
        )
    else:
        figures = f"The run measured none. {TO_FILL_IN}: what `restore eval` says, on which photos."
    start = metadata.get("start")
    command = "finetune --from THOSE" if start else "train"
    config = (
        f"`config.toml` is the preset: `restore {command} --preset config.toml` with the same folders trains alike."
    )
    origin = f"- Fine-tuned from: {start}, whose photos and licence count too\n" if start else ""
    return f"""---
license: other
license_name: to-be-filled-in
library_name: restorecli
pipeline_tag: image-to-image
tags:
  - {weights.task}
---

# {TO_FILL_IN}: a name

Takes {removes} out of photos, with `restore` (restorecli).

    restore {weights.task} photo.jpg --weights {HF_DEFAULT_FILE}

**Licence of these weights: {TO_FILL_IN}** (here and in the first lines), as the photos that they learnt from allow.

## The generator

`{descriptor.architecture}` with {parameters / 1e6:.2f} M parameters, stride {descriptor.stride}, receptive field radius
{descriptor.halo} pixels.{thumbnail} {HF_DEFAULT_FILE} holds it in fp16; its SHA-256 is
`{weights.sha256}`.

## Training

- Steps: {metadata.get("steps", "unknown")}, with restorecli {metadata.get("version", "of an unknown version")}
{origin}- Photos: {metadata.get("data", TO_FILL_IN)}
- Where the photos come from, and under which terms: {TO_FILL_IN}

{config if "preset" in metadata else ""}

## Figures

{figures}

## Limits

{TO_FILL_IN}: what goes wrong, as seen on photos that were not trained on.
"""
