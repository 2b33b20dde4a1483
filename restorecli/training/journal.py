"""What a run writes down for people: ``log.jsonl``, ``speed.jsonl``, TensorBoard events and sample sheets.

``log.jsonl`` holds nothing that depends on the machine's haste: a run that was killed and resumed writes the lines that
an unbroken one does. How fast it went stands in ``speed.jsonl``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from restorecli.models.generators import Generator
from restorecli.models.resnet import ResNet
from restorecli.photo import write_bytes_atomic
from restorecli.training.data import Batch, Batches


class Journal:
    """The books of a run, open from ``step`` on; lines that the checkpoint knows nothing of are struck out: all, where
    there is none (-1)."""

    def __init__(self, run: Path, step: int) -> None:
        self.run = run
        self._log = _open_log(run / "log.jsonl", step)
        self._speed = _open_log(run / "speed.jsonl", step)
        self._board = _board(run, step)

    @property
    def has_board(self) -> bool:
        """Whether TensorBoard events are written."""
        return self._board is not None

    def log(self, step: int, values: Mapping[str, float], digits: int = 6) -> None:
        """A line of scores or losses."""
        _write(self._log, step, values, digits)
        self._scalars(step, values)

    def speed(self, step: int, values: Mapping[str, float]) -> None:
        """A line about how fast the run goes."""
        _write(self._speed, step, values, 4)
        self._scalars(step, {f"speed/{name}": value for name, value in values.items()})

    def sheet(self, step: int, model: Generator, batch: Batch, data: Batches, device: torch.device) -> None:
        """A PNG to look at: rendered crops (degraded, restored, clear) above crops of real photos (before, after)."""
        pixels = sample_sheet(model, batch, data, device)
        path = self.run / "samples" / f"{step:07d}.png"
        path.parent.mkdir(exist_ok=True)
        coded = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
        write_bytes_atomic(coded, path, overwrite=True)
        if self._board is not None:
            self._board.add_image("samples", pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Close all books."""
        self._log.close()
        self._speed.close()
        if self._board is not None:
            self._board.close()

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


@torch.inference_mode()
def sample_sheet(model: Generator, batch: Batch, data: Batches, device: torch.device) -> np.ndarray:
    """The sheet as RGB pixels (H, W, 3) uint8."""
    rows: list[Tensor] = []

    def restored(photo: Tensor, thumbnail: Tensor, place: Tensor) -> Tensor:
        # A crop's own statistics are those that a network with InstanceNorm learns with.
        small = photo if isinstance(model, ResNet) else thumbnail
        return model(photo, small, place).float().clamp(0, 1)

    if batch.rendered is not None:
        r = batch.rendered
        rows += [r.degraded, restored(r.degraded, r.thumbnail, r.place), r.clear]
    real = data.real_samples(len(rows[0]) if rows else min(8, 2 * data.config.unpaired.batch))
    crop = real.crop.to(device)
    rows += [crop, restored(crop, real.thumbnail.to(device), real.place.to(device))]
    sheet = torch.cat([torch.cat(list(row.cpu()), dim=2) for row in rows], dim=1)
    return (sheet * 255).round().byte().permute(1, 2, 0).numpy()


def _board(run: Path, step: int) -> Any:
    """A TensorBoard writer, or None where the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run / "events"), purge_step=step + 1)


def _write(file: Any, step: int, values: Mapping[str, float], digits: int) -> None:
    file.write(json.dumps({"step": step, **{name: round(value, digits) for name, value in values.items()}}) + "\n")
    # A run that is killed leaves the lines that it wrote.
    file.flush()


def _open_log(path: Path, step: int) -> Any:
    """The file, open for appending, without the lines that the checkpoint knows nothing of."""
    if path.exists():
        lines = [line for line in path.read_text("utf-8").splitlines() if _step_of(line) <= step]
        write_bytes_atomic(("\n".join(lines) + "\n" if lines else "").encode(), path, overwrite=True)
    return path.open("a", encoding="utf-8")


def _step_of(line: str) -> float:
    """Step of a log line; infinite for a line that a killed run left half written."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
