"""What a run is given, what it tells, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from restorecli.training.config import TrainConfig


@dataclass(frozen=True)
class Options:
    """One run: what to learn from, where to put it, and on what to run it."""

    degraded: Path
    """Folder of hazy or rainy photos."""
    clear: Path
    """Folder of clear photos of other scenes."""
    run: Path
    """Folder of the run; resumed when it holds a checkpoint."""
    config: TrainConfig
    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    """Processes that make batches; None chooses: up to 8 for a GPU, else one where there is a second core."""
    val: tuple[Path, Path] | None = None
    """Paired folders (input, target) for scores only."""
    time_limit: float | None = None
    """Seconds after which the run stops with a checkpoint."""
    start_from: str | None = None
    """Weights (name or file) that a new run starts from: fine-tuning."""
    compile: bool = False
    """Whether the networks go through ``torch.compile`` first."""


@dataclass(frozen=True)
class Event:
    """Something to tell: ``kind`` is start, pulse (after every step), step (with the mean losses of the last ones),
    validation, checkpoint, warning or stop."""

    kind: str
    step: int
    steps: int
    message: str = ""
    values: dict[str, float] = field(default_factory=dict)
    speed: float = 0.0
    """Photos a second since the last one of its kind (``step`` only)."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    """Steps done in all."""
    finished: bool
    """Whether that is all of them."""
    weights: Path
    """The EMA weights, usable as ``--weights``."""
    report: str = ""
    """Which weights these are and why, where there was a choice; for people."""
