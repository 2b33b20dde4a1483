"""NIQE, how far a photo's statistics are from those of undistorted photos (Mittal et al., IEEE SPL 2013).

It needs no target. deepinv computes it, with the statistics of the undistorted photos that its authors published, which
deepinv does not contain. They are used when they are on this machine, and never fetched.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from restorecli.beside_torch import checkpoints, imported
from restorecli.errors import WeightsError

STATISTICS = "niqe_weights.pt"
"""deepinv's name of the file."""
ADDRESS = f"https://huggingface.co/deepinv/demo/resolve/main/{STATISTICS}"
BLOCK = 96
"""Pixels of a side of the blocks that are looked at; one has no spread, so two must fit into a photo."""
_FEATURES = 36


class Niqe:
    """NIQE of photos on the CPU, loaded once."""

    def __init__(self) -> None:
        """Load the statistics; :class:`WeightsError` when the library or they are not here."""
        try:
            natural = imported("deepinv.loss.metric").NIQE
        except (ImportError, AttributeError) as error:
            raise WeightsError(f"NIQE needs deepinv: pip install 'restorecli[niqe]' ({error})", kind="extra") from error
        path = statistics_path()
        _check(path)
        # Rounded to whole grey levels, as the authors' own program does.
        self._natural = natural(weights_path=path, round_tensor=True)

    def __call__(self, photo: np.ndarray) -> float:
        """The distance of a photo, (H, W, 3), uint8 or float in [0, 255], from undistorted ones: the lower the better.

        Not a number where the photo is too flat to have such statistics.
        """
        import torch

        with torch.inference_mode():
            tensor = torch.from_numpy(photo.astype(np.float32)).permute(2, 0, 1)[None]
            try:
                return float(self._natural(tensor))
            except RuntimeError:  # LAPACK found no numbers
                return math.nan


def fits(height: int, width: int) -> bool:
    """Whether a photo of this size is large enough for NIQE."""
    return (height // BLOCK) * (width // BLOCK) >= 2


def statistics_path() -> Path:
    """Where deepinv keeps the statistics on this machine."""
    return checkpoints() / STATISTICS


def _check(path: Path) -> None:
    import torch

    if not os.path.isfile(path):
        raise WeightsError(
            f"NIQE needs the statistics of undistorted photos, which are not on this machine: put {ADDRESS} at {path}",
            kind="missing",
        )
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        sizes = [found[key].numel() for key in ("mu", "cov")]
        sound = sizes == [_FEATURES, _FEATURES**2] and all(found[key].isfinite().all() for key in ("mu", "cov"))
    except Exception as error:  # of a pickle that is damaged, or worse
        raise WeightsError(
            f"{path} is not deepinv's statistics for NIQE ({type(error).__name__}): get it again", kind="corrupt"
        ) from error
    if not sound:
        raise WeightsError(f"{path} is not deepinv's statistics for NIQE: get it again", kind="corrupt")
