"""Every way in which a set of weights runs on this machine, measured one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator

from restorecli.inference.backends.choice import every_setting, fits, recall, remember
from restorecli.inference.measure import Measurement, Setting, measure
from restorecli.weights import Weights

TELLING = 2.0
"""Megapixels of a photo below which a setting's fixed costs hide how fast it is on the photos that take time."""


def settings_for(weights: Weights, asked: Setting) -> list[Setting]:
    """The settings that fit ``asked``, whose parts may be ``auto``; one that is named wholly is taken as it is."""
    if "auto" not in (asked.backend, asked.device, asked.precision):
        return [asked]
    found = [setting for setting in every_setting(weights, asked.device) if fits(setting, asked)]
    return found or [asked]


def benchmark(
    weights: Weights,
    settings: list[Setting],
    *,
    megapixels: float,
    tile: int | str = "auto",
    max_memory: int | None = None,
    runs: int = 3,
) -> Iterator[Measurement]:
    """Measure each setting on a 3:2 photo, each in a process of its own, and give what came of it.

    What is measured with tiles and memory left to ``auto``, on a photo of ``TELLING`` megapixels at least, is
    remembered, for ``auto`` to choose by.
    """
    height = max(1, round(math.sqrt(megapixels * 1e6 / 1.5)))
    width = max(1, round(megapixels * 1e6 / height))
    for setting in settings:
        result = measure(
            weights, setting, height=height, width=width, tile=tile, max_memory=max_memory, runs=max(1, runs)
        )
        if tile == "auto" and max_memory is None and megapixels >= TELLING:
            remember(weights, setting.device, {**recall(weights, setting.device), setting: _figure(result)})
        yield result


def _figure(result: Measurement) -> float:
    # The best of the runs: what others on the machine took is not the setting's fault.
    return min(result.seconds) / result.megapixels if result.problem is None else math.inf
