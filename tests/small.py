"""Small networks and photos made of numbers, for the tests of every room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from restorecli.export import export_onnx
from restorecli.models.unet import UNet, UNetConfig
from restorecli.weights import resolve, save_network

# As many levels as the shipped networks, so the stride is the same, but narrow and shallow.
NARROW = {
    "derain": UNetConfig(widths=(8, 8, 16), blocks=(1, 1, 2), global_width=16),
    "dehaze": UNetConfig(
        head="airlight", widths=(8, 8, 8, 16), blocks=(1, 1, 1, 1), global_width=16, guide=8, overview=64
    ),
}


def narrow_network(task: str, seed: int = 0) -> UNet:
    """A network that changes a photo by some tens of levels, everywhere and in all channels."""
    torch.manual_seed(seed)
    network = UNet(NARROW[task]).eval()
    torch.nn.init.normal_(network.head.weight, std=0.002)
    torch.nn.init.normal_(network.film.weight, std=0.02)
    if network.config.guide:
        torch.nn.init.normal_(network.guide_in.weight, std=0.3)
    if network.config.head == "airlight":
        torch.nn.init.normal_(network.airlight.weight, std=0.05)
    return network


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    """A photo of smooth shapes and noise, (height, width, channels) over the type's range."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    phase = random.random((channels,)) * 6
    smooth = 0.5 + 0.4 * np.sin(x[..., None] / 37 + y[..., None] / 53 + phase)
    values = np.clip(smooth + random.normal(0, 0.05, (height, width, channels)), 0, 1)
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


def save_weights(folder: Path, task: str) -> Path:
    """A ``.safetensors`` file of a narrow network in ``folder``, with its ``.onnx`` beside it."""
    network, path = narrow_network(task), folder / f"{task}.safetensors"
    save_network(path, network, network.descriptor(task), {"version": "test"})
    export_onnx(resolve(str(path), task), path.with_suffix(".onnx"))
    return path
