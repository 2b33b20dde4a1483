"""Small photo folders and a small configuration to train with."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from restorecli.training.config import TrainConfig
from restorecli.weights import save_network
from tests.small import narrow_network


def _photos(folder: Path, seed: int, count: int, size: tuple[int, int] = (96, 112)) -> Path:
    """Smooth random pictures with some edges: enough like photos to learn on."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        coarse = rng.uniform(0, 255, (6, 7, 3)).astype(np.float32)
        photo = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
        cv2.rectangle(photo, (20, 30), (60, 70), tuple(int(v) for v in rng.integers(0, 255, 3)), -1)
        cv2.imwrite(str(folder / f"{seed}_{index}.png"), photo)
    return folder


@pytest.fixture
def clear_folder(tmp_path: Path) -> Path:
    return _photos(tmp_path / "clear", 1, 4)


@pytest.fixture
def degraded_folder(tmp_path: Path) -> Path:
    return _photos(tmp_path / "degraded", 2, 3, (80, 120))


@pytest.fixture
def small_config() -> TrainConfig:
    """A run of a few seconds with every kind of step in it."""
    return TrainConfig().with_overrides(
        [
            "steps=6",
            "log_every=1",
            "checkpoint_every=2",
            "sample_every=3",
            "validate_every=4",
            "generator.widths=[8, 12, 16]",
            "generator.blocks=[1, 1, 1]",
            "generator.thumbnail=16",
            "generator.global_width=8",
            "data.crop=48",
            "data.batch=2",
            "unpaired.start=2",
            "unpaired.every=2",
            "unpaired.batch=2",
            "unpaired.patches=16",
            "unpaired.queue=8",
            "unpaired.degrader=[8, 8, 12]",
            "unpaired.discriminator=8",
        ]
    )


@pytest.fixture
def start_weights(tmp_path: Path) -> Path:
    """Weights for derain to fine-tune."""
    network = narrow_network("derain")
    path = tmp_path / "start.safetensors"
    save_network(path, network, network.descriptor("derain"), {"version": "test"})
    return path
