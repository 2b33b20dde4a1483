"""What every backend promises."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from restorecli.models.descriptor import Descriptor


class OutOfMemory(Exception):
    """A backend had too little memory for this tile; a smaller one may do. Never shown to users as it is."""


class Backend(Protocol):
    """A network that is loaded and ready on one device."""

    name: str
    """``torch``, ``onnx`` or ``openvino``."""
    device: str
    """Where it really runs: ``cpu`` or ``cuda:N``."""
    precision: str
    """What it really computes in: ``fp32``, ``bf16`` or ``fp16``."""
    descriptor: Descriptor

    def run(self, tile: np.ndarray, thumbnail: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Restore one tile.

        ``tile`` is (H, W, 3) float32 in [0, 1] with H and W multiples of the stride, ``thumbnail`` (S, S, 3) float32
        in [0, 1], ``place`` (4,) float32 the tile's top, left, bottom and right in shares of the photo's height and
        width. Returns (H, W, 3) float32, not clamped. :class:`OutOfMemory` when the memory does not suffice,
        :class:`~restorecli.errors.BackendError` when the library behind it fails otherwise.
        """
        ...

    def free_memory(self) -> int | None:
        """Bytes that are free where the tiles are computed, or None when nobody says."""
        ...


def planes(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (1, 3, H, W), contiguous: how backends that read ONNX files take a picture."""
    return np.ascontiguousarray(image.transpose(2, 0, 1))[None]
