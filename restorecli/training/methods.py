"""The unpaired branch by its name."""

from __future__ import annotations

import torch

from restorecli.models.generators import Generator
from restorecli.training.cdd import AdversarialContrastive
from restorecli.training.config import TrainConfig
from restorecli.training.cyclegan import CycleGAN
from restorecli.training.dcd import DualContrastive
from restorecli.training.mechanics import Mechanics

BRANCHES: dict[str, type[CycleGAN]] = {"cyclegan": CycleGAN, "dcd": DualContrastive, "cdd": AdversarialContrastive}


def build_branch(
    config: TrainConfig, restorer: Generator, device: torch.device, mechanics: Mechanics | None = None
) -> CycleGAN:
    """The players of ``config.method`` around the restorer. Their first weights depend on the config's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        return BRANCHES[config.method](config, restorer, device, mechanics)
