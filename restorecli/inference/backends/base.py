"""What every backend promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np

from restorecli.errors import BackendError
from restorecli.models.descriptor import Descriptor

Pending = Callable[[], np.ndarray]
"""Waits for a window that was started and gives it restored; called once."""


class OutOfMemory(Exception):
    """A backend had too little memory for this tile; a smaller one may do. Never shown to users as it is."""


class NotFinite(Exception):
    """The network gave values that are no numbers; a wider precision may do. Never shown to users as it is."""


class Backend(Protocol):
    """A network that is loaded and ready on one device."""

    name: str
    """``torch``, ``onnx`` or ``openvino``."""
    device: str
    """Where it really runs: ``cpu``, ``cuda:N``, or as the backend calls any other device."""
    precision: str
    """What it really computes in: ``fp32``, ``bf16`` or ``fp16``."""
    descriptor: Descriptor
    ahead: int
    """How many further windows are worth starting before the first is waited for; 0 where all work is done at once."""

    def start(self, window: np.ndarray, thumbnail: np.ndarray, place: np.ndarray, strength: float) -> Pending:
        """Begin to restore one window.

        ``window`` is (H, W, 3) uint8 or uint16 over the type's full range, with H and W multiples of the stride;
        ``thumbnail`` (S, S, 3) float32 in [0, 1]; ``place`` (4,) float32 the window's top, left, bottom and right in
        shares of the photo's height and width. What is returned waits for the result, of the shape and type of
        ``window``: ``window + strength * (restored - window)``, rounded once.

        Both this call and the one that waits raise :class:`OutOfMemory` when the memory does not suffice,
        :class:`NotFinite` when the network gives no numbers, :class:`~restorecli.errors.BackendError` when the library
        behind it fails otherwise.
        """
        ...

    def free_memory(self) -> int | None:
        """Bytes that are free where the tiles are computed, or None when nobody says."""
        ...


def run(
    backend: Backend, window: np.ndarray, thumbnail: np.ndarray, place: np.ndarray, strength: float = 1.0
) -> np.ndarray:
    """Restore one window and wait for it; arguments, result and errors as for :meth:`Backend.start`."""
    return backend.start(window, thumbnail, place, strength)()


def planes(image: np.ndarray) -> np.ndarray:
    """How backends that read ONNX files take a picture.

    (H, W, 3) uint8 or uint16 over the type's range, or float32 in [0, 1] -> (1, 3, H, W) float32 in [0, 1], contiguous.
    """
    found = np.empty((1, 3, *image.shape[:2]), np.float32)
    scale = 1.0 if image.dtype == np.float32 else 1 / np.iinfo(image.dtype).max
    for channel, plane in enumerate(found[0]):
        cv2.multiply(cv2.extractChannel(image, channel), scale, dst=plane, dtype=cv2.CV_32F)  # type: ignore[call-overload]
    return found


def levels(restored: np.ndarray, window: np.ndarray, given: np.ndarray, strength: float) -> np.ndarray:
    """The way back from :func:`planes`, as :meth:`Backend.start` promises it.

    ``restored`` and ``given`` are (1, 3, H, W) float32, what the network gave and what it got; ``window`` is what
    ``given`` was made of. :class:`NotFinite` as promised; :class:`BackendError` for a file whose network makes another
    shape of its input.
    """
    if restored.shape != given.shape:
        raise BackendError(
            f"the network makes {restored.shape} of a tile of {given.shape}: make its file again with "
            "`restore export --onnx`"
        )
    # The sum is a number exactly when all values are, and takes one pass without a copy.
    if not np.isfinite(restored.sum(dtype=np.float32)):
        raise NotFinite
    top = float(np.iinfo(window.dtype).max)
    depth = cv2.CV_8U if window.dtype == np.uint8 else cv2.CV_16U
    parts = []
    for before, after in zip(given[0], restored[0], strict=True):
        if strength != 1:
            after = cv2.addWeighted(before, 1 - strength, np.clip(after, 0, 1), strength, 0)
        # OpenCV rounds to the nearest and keeps within the type's range.
        parts.append(cv2.multiply(after, top, dtype=depth))  # type: ignore[call-overload]
    return cv2.merge(parts)
