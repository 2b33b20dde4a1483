"""How much memory windows take, and how much they may."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restorecli.errors import PhotoError
from restorecli.inference.tiling import Plan, plan, plan_within
from restorecli.models.descriptor import Descriptor

if TYPE_CHECKING:
    from restorecli.inference.backends.base import Backend

DEFAULT_WORKING_MEMORY = 1_000_000_000
"""Bytes that windows may take on a CPU when nobody says otherwise. Larger windows have less context to compute twice,
and none of the backends is slower on them as long as freed memory is kept (:func:`restorecli.hardware.keep_memory`)."""
LARGEST_WINDOW = 16_000_000
"""Pixels of a window on a device with plenty of memory; the context costs next to nothing from there on."""

# With products in 8 bits, what goes past the layers stays as wide as it was.
_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 4}
# Measured on networks of several widths: the photo and the result as floats, and so many of the widest layers' outputs
# at once, copies in another layout among them: PyTorch 9, on one machine 11.4; OpenVINO 8, in bf16 10.5; ONNX Runtime 5
# to 6, and 8 when shapes change.
_PHOTO_BYTES = 60
_LAYERS = {"torch": 12, "openvino": 12, "onnx": 8}


def bytes_per_pixel(descriptor: Descriptor, backend: str, precision: str) -> float:
    """Bytes of memory for each pixel of a window while a backend computes it, all buffers together."""
    return _PHOTO_BYTES + _LAYERS[backend] * descriptor.features * _BYTES[precision]


def default_window(descriptor: Descriptor, backend: str, precision: str) -> int:
    """Pixels of a window on a CPU when nobody says otherwise and memory is plenty."""
    return min(LARGEST_WINDOW, int(DEFAULT_WORKING_MEMORY / bytes_per_pixel(descriptor, backend, precision)))


def plan_for(pixels: np.ndarray, backend: Backend, *, tile: int | str, max_memory: int | None, taken: int = 0) -> Plan:
    """The tiles for a photo, (H, W, C): of edge ``tile``, or with ``auto`` as large as pays within the memory there is.

    ``max_memory`` is a bound in bytes on this process, of which ``taken`` are for other things than tiles, or on the
    device where that is no CPU. :class:`PhotoError` of the kind ``out_of_memory`` when the bound is too small.
    """
    height, width = pixels.shape[:2]
    halo, stride = backend.descriptor.halo, backend.descriptor.stride
    working, least = _working(backend), backend.descriptor.least_pixels
    left = None if max_memory is None else max_memory - (taken if backend.device == "cpu" else 0)
    need = 0.0
    if tile != "auto":
        tiles = plan(height, width, tile=int(tile), halo=halo, stride=stride)
        need = max(tiles.window_pixels, least) * working
        if left is None or need <= left:
            return tiles
    found = plan_within(height, width, pixels=pixels_at_once(backend, left), halo=halo, stride=stride)
    if found is not None and (left is None or least * working <= left):
        if tile == "auto" or left is None:
            return found
        raise PhotoError(
            f"tiles of {tile} pixels need {_megabytes(need)}, more than "
            f"--max-memory leaves ({_megabytes(left)}); use --tile auto",
            kind="out_of_memory",
        )
    smallest = plan(height, width, tile=stride, halo=halo, stride=stride)
    if max_memory is None or left is None:
        return smallest
    raise PhotoError(
        f"{width}x{height} pixels: --max-memory {_megabytes(max_memory)} is too little; "
        f"with {backend.name} it takes at least "
        f"{_megabytes(max_memory - left + max(smallest.window_pixels, least) * working)}; "
        "give more, or another --backend",
        kind="out_of_memory",
    )


def pixels_at_once(backend: Backend, left: int | None) -> int:
    """Pixels that all windows of one run may have together.

    ``left`` is how many bytes there are for them within a bound on memory, None where there is none.
    """
    working, free = _working(backend), backend.free_memory()
    # Half of what is free: others live here too, and allocators round up.
    bounds = [LARGEST_WINDOW * working, *([] if free is None else [free / 2]), *([] if left is None else [left])]
    # A device of which nobody says what it has is taken for a small one.
    if left is None and (backend.device == "cpu" or free is None):
        bounds.append(DEFAULT_WORKING_MEMORY)
    return int(max(0, min(bounds)) / working)


def _working(backend: Backend) -> float:
    return bytes_per_pixel(backend.descriptor, backend.name, backend.precision)


class Ledger:
    """What a process holds beside its tiles, whose memory it keeps for the next photo's."""

    def __init__(self) -> None:
        """To be made when everything but photos and tiles is there."""
        self._base = resident_memory()
        self._kept = 0

    def taken(self, pixels: np.ndarray, neighbours: int) -> int:
        """Bytes held beside tiles while a photo, (H, W, C), and ``neighbours`` of its size are on their way."""
        others = max(self._base + pixels.nbytes, resident_memory() - self._kept)
        # The result, and what encoding it takes; photos that are read take as much twice, as their decoder has a copy.
        return others + pixels.nbytes * (3 + 4 * neighbours)

    def room(self, bound: int) -> int:
        """Pixels beyond which the photo alone, of 8 bits, takes all that a bound in bytes leaves: see :meth:`taken`."""
        return max(0, bound - self._base) // (3 + 3 * 3)

    def used(self, tiles: Plan, backend: Backend) -> None:
        """Note that ``tiles`` were computed."""
        bytes_of_window = max(tiles.window_pixels, backend.descriptor.least_pixels) * _working(backend)
        self._kept = max(self._kept, int(bytes_of_window))


def resident_memory() -> int:
    """Bytes of main memory that this process holds; 0 where the system does not say."""
    return _status("VmRSS") or 0


def peak_memory() -> int | None:
    """Bytes of main memory that this process held at most; None where the system does not say."""
    found = _status("VmHWM")
    if found is None and sys.platform == "darwin":
        import resource

        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found


def _status(name: str) -> int | None:
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
