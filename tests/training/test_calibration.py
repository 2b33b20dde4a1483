"""The ranges that a run writes are those of its layers on its photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from restorecli.models.resnet import ResNet, ResNetConfig
from restorecli.training.calibration import PHOTOS, WINDOW, activation_ranges, shown
from restorecli.training.config import TrainConfig
from restorecli.training.loop import train
from restorecli.training.options import Options
from restorecli.weights import load_network, resolve
from tests.small import narrow_network, noise

CPU = torch.device("cpu")


def test_ranges_are_the_extremes_over_all_photos() -> None:
    network = narrow_network("dehaze")
    photos = [noise(64, 72, seed=seed) for seed in range(3)]
    alone = [activation_ranges(network, [photo], CPU) for photo in photos]
    together = activation_ranges(network, photos, CPU)
    assert set(together) == set(network.quantisable)
    for name, (low, high) in together.items():
        assert low == min(found[name][0] for found in alone) and high == max(found[name][1] for found in alone)
    # What follows a rectifier is never negative; the path past the blocks is.
    assert all(low == 0 for name, (low, _) in together.items() if name.endswith("second"))
    assert any(low < 0 for name, (low, _) in together.items() if name.endswith("first"))
    assert not any(module._forward_pre_hooks for module in network.modules()), "nothing stays behind"


def test_all_that_sees_the_photo_is_quantisable_but_its_first_and_last_layer() -> None:
    network = narrow_network("dehaze")
    every = {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    left = {name.partition(".")[0] for name in every - set(network.quantisable)}
    assert set(network.quantisable) < every
    assert left == {"stem", "head", "global_encoder", "guide_decoder", "guide_in"}


def test_there_is_nothing_to_tell_without_photos_and_of_norms() -> None:
    assert activation_ranges(narrow_network("derain"), [], CPU) == {}
    assert activation_ranges(ResNet(ResNetConfig(width=8)), [noise(64, 64)], CPU) == {}


def test_few_photos_are_shown_evenly_and_in_part(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index:02}.png" for index in range(PHOTOS + 8)]
    for index, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((WINDOW + 16 if index < 2 else 64, 80, 3), index, np.uint8))
    (tmp_path / "00.png").write_bytes(b"broken")
    photos = shown(paths)
    assert len(photos) == PHOTOS - 1 and photos[0].shape == (WINDOW, 80, 3)
    assert int(photos[-1][0, 0, 0]) == (PHOTOS - 1) * len(paths) // PHOTOS
    assert len(shown(paths[:3])) == 2


def test_a_run_writes_the_ranges_of_its_network(
    tmp_path: Path, small_config: TrainConfig, degraded_folder: Path, clear_folder: Path
) -> None:
    config = replace(small_config, steps=1)
    options = Options(
        degraded_folder, clear_folder, tmp_path / "run", config, device="cpu", precision="fp32", workers=0
    )
    found = resolve(str(train(options, lambda _: None).weights), None)
    network = load_network(found)
    photos = [*shown(sorted(degraded_folder.iterdir())), *shown(sorted(clear_folder.iterdir()))]
    wanted = activation_ranges(network, photos, CPU)
    assert set(found.ranges) == set(network.quantisable)
    for name, bounds in found.ranges.items():
        # The file's weights are rounded to fp16.
        assert np.allclose(bounds, wanted[name], rtol=0.01, atol=0.01)
