"""The ranges of a network's layers on photos that it has learnt from: what computing it in 8 bits needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from restorecli.models.generators import Generator
from restorecli.training.examination import looked_at, middles

PHOTOS, WINDOW = 12, 384
"""So many photos of each kind, evenly out of all, and of each as many pixels an edge at most."""


def shown(paths: Sequence[Path]) -> list[np.ndarray]:
    """The photos (H, W, 3) uint8 of one kind that ranges are measured on."""
    return middles(
        [paths[index * len(paths) // PHOTOS] for index in range(PHOTOS)] if len(paths) > PHOTOS else paths, WINDOW
    )


@torch.inference_mode()
def activation_ranges(
    model: Generator, photos: Sequence[np.ndarray], device: torch.device
) -> dict[str, tuple[float, float]]:
    """The lowest and the highest input that each of the model's ``quantisable`` convolutions is given over all photos,
    (H, W, 3) uint8; nothing where there are no photos.

    The extremes themselves, not quantiles: clipping what is rarely so large cost more than the finer levels gained (on
    the shipped weights; docs/training-log.md).
    """
    found: dict[str, tuple[float, float]] = {}
    if not model.quantisable:
        return found
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(partial(_widen, found, name)) for name in model.quantisable
    ]
    try:
        for photo in photos:
            # As it was written, in full precision, also where training has compiled it.
            model.forward(*looked_at(model, photo, device))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _widen(found: dict[str, tuple[float, float]], name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    low, high = (float(bound) for bound in torch.aminmax(inputs[0]))
    before = found.get(name, (low, high))
    found[name] = min(low, before[0]), max(high, before[1])
