"""Optional libraries that bring torchvision along."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

_OPERATORS = ("nms", "qnms")
_declared: Any = None
"""What is declared lasts as long as this object."""


def imported(name: str) -> ModuleType:
    """Import a module that imports torchvision; :class:`ImportError` when that cannot be done.

    torchvision's builds for CUDA, which are what pip finds, do not load beside a PyTorch without CUDA: its import then
    fails at operators for boxes that nobody here needs. When they are declared, without a word of what they do, all
    else of it works.
    """
    try:
        return import_module(name)
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise ImportError(f"{name} does not start: {error}") from error
    import torch

    for module in [each for each in sys.modules if each.partition(".")[0] in (name.partition(".")[0], "torchvision")]:
        del sys.modules[module]
    global _declared
    _declared = torch.library.Library("torchvision", "FRAGMENT")
    for operator in _OPERATORS:
        _declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        return import_module(name)
    except RuntimeError as error:
        raise ImportError(
            f"{name} does not start: {error}; install the torchvision that belongs to this PyTorch"
        ) from error


def checkpoints() -> Path:
    """Where such libraries keep the weights that they fetch on this machine."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"
