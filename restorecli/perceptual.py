"""LPIPS, the distance between photos as a network that was taught to see perceives it (Zhang et al., CVPR 2018).

torchmetrics computes it, with its own weights for the distance and torchvision's AlexNet below them, which neither of
them contains. They are used when they are on this machine, and never fetched.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from restorecli.beside_torch import checkpoints, imported
from restorecli.errors import WeightsError
from restorecli.weights import sha256_of

ALEXNET = "alexnet-owt-7be5be79.pth"
"""torchvision's name of the file, with the first digits of its SHA-256."""
SMALLEST = 32
"""Pixels of a side: AlexNet has nothing left of a smaller photo."""


class Lpips:
    """LPIPS of pairs of photos on the CPU, loaded once."""

    def __init__(self) -> None:
        """Load the networks; :class:`WeightsError` when the libraries or AlexNet's weights are not here."""
        try:
            module = imported("torchmetrics.image")
            similarity = module.LearnedPerceptualImagePatchSimilarity
        except (ImportError, AttributeError) as error:
            raise WeightsError(
                f"LPIPS needs torchmetrics and torchvision: pip install 'restorecli[lpips]' ({error})", kind="extra"
            ) from error
        _check(alexnet_path())
        self._similarity = similarity(net_type="alex", normalize=True)

    def __call__(self, restored: np.ndarray, target: np.ndarray) -> float:
        """The distance of two photos, 0 for equal ones; (H, W, 3) each, uint8 or float in [0, 255], from 32x32 on."""
        import torch

        def tensor(photo: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(photo.astype(np.float32) / 255).permute(2, 0, 1)[None]

        with torch.inference_mode():
            distance = float(self._similarity(tensor(restored), tensor(target)))
            self._similarity.reset()
        return distance


def alexnet_path() -> Path:
    """Where torchvision keeps AlexNet's weights on this machine."""
    return checkpoints() / ALEXNET


def _check(path: Path) -> None:
    import torch

    if not os.path.isfile(path):
        raise WeightsError(
            f"LPIPS needs AlexNet's weights, which are not on this machine: put "
            f"https://download.pytorch.org/models/{ALEXNET} at {path}",
            kind="missing",
        )
    try:
        sound = sha256_of(path).startswith(ALEXNET.removesuffix(".pth").rpartition("-")[2])
        if sound:
            # torchvision opens it as any pickle; what opens so holds nothing but tensors.
            torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a pickle that is damaged, or worse
        raise WeightsError(
            f"{path} is not AlexNet's weights ({type(error).__name__}): get it again", kind="corrupt"
        ) from error
    if not sound:
        raise WeightsError(f"{path} is damaged (its checksum is not that of its name): get it again", kind="corrupt")
