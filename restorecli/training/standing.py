"""What a run keeps in mind beside its weights: the best that it has had, and how fast it goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from restorecli.training.examination import Examination, Paired, Scores


class Stopwatch:
    """How many photos a second, and which share of the time was spent waiting for them."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.photos = 0
        self.waiting = 0.0

    def read(self) -> dict[str, float]:
        """The figures since the last reading, and start anew."""
        seconds = max(time.perf_counter() - self.began, 1e-9)
        figures = {"photos_per_second": self.photos / seconds, "waiting": self.waiting / seconds, "seconds": seconds}
        self.__init__()  # type: ignore[misc]
        return figures


class Standing:
    """What a run started from, the best that it has had, and whether it is to give back the best."""

    def __init__(self, examination: Examination | None, run: Path, *, guarded: bool) -> None:
        self.examination = examination
        self.file = run / "best.safetensors"
        self.guarded = guarded
        self.start: Scores = {}
        self.best: Scores = {}
        self.best_step = 0
        self.measured: int | None = None
        """The step that was measured last."""

    def improves(self, scores: Scores) -> bool:
        """Whether the scores are the best so far; the first ones are."""
        assert self.examination is not None
        return not self.best or self.examination.better(scores, self.best, self.start)

    def take(self, step: int, scores: Scores, *, best: bool) -> None:
        """Note the scores of a step, whose weights are kept already where they are the ``best`` so far."""
        self.measured = step
        if best:
            self.start = self.start or scores
            self.best, self.best_step = scores, step

    def report(self, step: int) -> str:
        """What became of it, for people; empty where nothing was measured."""
        if self.examination is None or not self.best:
            return ""
        say = self.examination.describe
        if not self.guarded:
            return f"best at step {self.best_step} of {step} ({say(self.best)}): {self.file}"
        how = "" if isinstance(self.examination, Paired) else " (judged without pairs, on statistics alone)"
        if self.best_step == 0:
            return f"nothing improved enough on the starting weights ({say(self.start)}){how}: they were kept"
        before = f"at the start {say(self.start)}{how}"
        return f"kept the weights of step {self.best_step} of {step}: {say(self.best)}, {before}"

    def facts(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return {"start": self.start, "best": self.best, "best_step": self.best_step, "measured": self.measured}

    def load(self, facts: dict[str, Any], step: int) -> None:
        """Put back what :meth:`facts` gave at that step; older checkpoints do not say what was measured."""
        self.start, self.best = facts.get("start", {}), facts.get("best", {})
        self.best_step, self.measured = facts.get("best_step", 0), facts.get("measured", step)
