"""What every backend promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from restorecli.errors import BackendError
from restorecli.models.descriptor import Descriptor

Pending = Callable[[], np.ndarray]
"""Waits for a window that was started and gives it restored; called once."""


ENOUGH_TOGETHER = 16
"""Windows of a run at most, where more than one is worth it."""


class OutOfMemory(Exception):
    """A backend had too little memory for this tile; a smaller one may do. Never shown to users as it is."""


class NotFinite(Exception):
    """The network gave values that are no numbers; a wider precision may do. Never shown to users as it is."""


@dataclass(frozen=True)
class Window:
    """What a network is given to restore."""

    pixels: np.ndarray
    """(H, W, 3) uint8 or uint16 over the type's full range, H and W multiples of the stride."""
    thumbnail: np.ndarray
    """Of the whole photo, (S, S, 3) float32 in [0, 1]."""
    place: np.ndarray
    """(4,) float32: the window's top, left, bottom and right in shares of the photo's height and width."""


class Backend(Protocol):
    """A network that is loaded and ready on one device."""

    name: str
    """``torch``, ``onnx`` or ``openvino``."""
    device: str
    """Where it really runs: ``cpu``, ``cuda:N``, or as the backend calls any other device."""
    precision: str
    """What it really computes in: ``fp32``, ``bf16``, ``fp16`` or ``int8``."""
    descriptor: Descriptor
    ahead: int
    """How many further runs are worth starting before the first is waited for; 0 where all work is done at once."""
    together: int
    """How many small windows are worth computing in one run; 1 where a run of one keeps the device busy."""

    def start(self, windows: Sequence[Window], strength: float) -> list[Pending]:
        """Begin to restore windows of one shape and type in one run; they may be of different photos.

        Each of what is returned, in the order of ``windows``, waits for its result, of the shape and type of the
        window: ``window + strength * (restored - window)``, rounded once.

        Both this call and those that wait raise :class:`OutOfMemory` when the memory does not suffice and
        :class:`~restorecli.errors.BackendError` when the library behind it fails otherwise; waiting raises
        :class:`NotFinite` when the network gave no numbers for that window.
        """
        ...

    def limit(self, memory: int | None) -> None:
        """Take at most ``memory`` bytes of a CUDA device (None: all there is), if the library can be held to it."""
        ...

    def free_memory(self) -> int | None:
        """Bytes that are free where the tiles are computed, or None when nobody says."""
        ...


def run(
    backend: Backend, window: np.ndarray, thumbnail: np.ndarray, place: np.ndarray, strength: float = 1.0
) -> np.ndarray:
    """Restore one window and wait for it; arguments as of :class:`Window`, the rest as for :meth:`Backend.start`."""
    (pending,) = backend.start([Window(window, thumbnail, place)], strength)
    return pending()


def feed(windows: Sequence[Window]) -> dict[str, np.ndarray]:
    """The inputs of an ONNX file, by their names."""
    return {
        "photo": planes(*(window.pixels for window in windows)),
        "thumbnail": planes(*(window.thumbnail for window in windows)),
        "place": np.stack([window.place for window in windows]),
    }


def results(restored: np.ndarray, windows: Sequence[Window], photo: np.ndarray, strength: float) -> list[Pending]:
    """What :meth:`Backend.start` gives, where all work is done already.

    ``restored`` and ``photo`` are (B, 3, H, W) float32, what the network gave and what it got. :class:`BackendError`
    for a file whose network makes another shape of its input.
    """
    if restored.shape != photo.shape:
        raise BackendError(
            f"the network makes {restored.shape} of a tile of {photo.shape}: make its file again with "
            "`restore export --onnx`"
        )
    return [_settled(*values, strength) for values in zip(restored, windows, photo, strict=True)]


def planes(*images: np.ndarray) -> np.ndarray:
    """How backends that read ONNX files take pictures of one shape and type.

    Each (H, W, 3) uint8 or uint16 over the type's range, or float32 in [0, 1] -> (B, 3, H, W) float32 in [0, 1],
    contiguous.
    """
    found = np.empty((len(images), 3, *images[0].shape[:2]), np.float32)
    scale = 1.0 if images[0].dtype == np.float32 else 1 / np.iinfo(images[0].dtype).max
    for image, picture in zip(images, found, strict=True):
        for channel, plane in enumerate(picture):
            cv2.multiply(cv2.extractChannel(image, channel), scale, dst=plane, dtype=cv2.CV_32F)  # type: ignore[call-overload]
    return found


def levels(restored: np.ndarray, window: np.ndarray, given: np.ndarray, strength: float) -> np.ndarray:
    """The way back from :func:`planes`, as :meth:`Backend.start` promises it.

    ``restored`` and ``given`` are (3, H, W) float32, what the network gave and what it got; ``window`` is what
    ``given`` was made of. :class:`NotFinite` as promised.
    """
    # The sum is a number exactly when all values are, and takes one pass without a copy.
    if not np.isfinite(restored.sum(dtype=np.float32)):
        raise NotFinite
    top = float(np.iinfo(window.dtype).max)
    depth = cv2.CV_8U if window.dtype == np.uint8 else cv2.CV_16U
    parts = []
    for before, after in zip(given, restored, strict=True):
        if strength != 1:
            after = cv2.addWeighted(before, 1 - strength, np.clip(after, 0, 1), strength, 0)
        # OpenCV rounds to the nearest and keeps within the type's range.
        parts.append(cv2.multiply(after, top, dtype=depth))  # type: ignore[call-overload]
    return cv2.merge(parts)


def failing(error: Exception) -> Pending:
    """Raises ``error`` when it is waited for."""

    def wait() -> np.ndarray:
        raise error

    return wait


def _settled(restored: np.ndarray, window: Window, given: np.ndarray, strength: float) -> Pending:
    # At once, because the next run may be computed into the same memory.
    try:
        result = levels(restored, window.pixels, given, strength)
    except NotFinite as error:
        return failing(error)
    return lambda: result
