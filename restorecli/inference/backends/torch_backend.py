"""PyTorch: every precision, CPU and CUDA.

Integers cross the bus to a CUDA device and back, a third to a quarter of what floats would be; the window's way from
integers to integers happens where the network runs. On CUDA nothing waits for the device until a result is asked for:
windows are copied from and to memory that the device reads by itself, so the host cuts out the next one meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from restorecli.errors import BackendError
from restorecli.hardware import cpu_has_fast_bf16, flushed_denormals
from restorecli.inference.backends.base import NotFinite, OutOfMemory, Pending
from restorecli.inference.backends.machine import free_main_memory, threads
from restorecli.weights import Weights, load_network

_TYPES = {np.dtype(np.uint8): torch.uint8, np.dtype(np.uint16): torch.uint16}


class TorchBackend:
    """A :class:`~restorecli.inference.backends.base.Backend` on PyTorch."""

    name = "torch"

    def __init__(self, weights: Weights, *, device: str, precision: str) -> None:
        """``device`` is ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, ``precision`` ``auto`` or a name in DTYPES.

        Raises :class:`BackendError` when the device or the precision is not there,
        :class:`~restorecli.errors.WeightsError` when the weights do not load.
        """
        self.descriptor = weights.descriptor
        self._device = _device(device)
        self.device = str(self._device)
        self.precision = _precision(precision, self._device, self.descriptor.dtypes)
        self._on_cuda = self._device.type == "cuda"
        self.ahead = 1 if self._on_cuda else 0
        if not self._on_cuda:
            torch.set_num_threads(threads())
        network = load_network(weights, self.precision)
        with self._errors():
            self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def start(self, window: np.ndarray, thumbnail: np.ndarray, place: np.ndarray, strength: float) -> Pending:
        with self._errors():
            # TF32 would turn fp32 into something else without a word.
            tf32_off = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
            with flushed_denormals(), torch.inference_mode(), tf32_off:
                levels, finite = self._restored(window, thumbnail, place, strength)
                if not self._on_cuda:
                    return lambda: _checked(levels, bool(finite))
                landed = torch.empty(levels.shape, dtype=levels.dtype, pin_memory=True)
                landed.copy_(levels, non_blocking=True)
                verdict = torch.empty((), dtype=torch.bool, pin_memory=True)
                verdict.copy_(finite, non_blocking=True)
                done = torch.cuda.Event()
                done.record(torch.cuda.current_stream(self._device))

        def wait() -> np.ndarray:
            with self._errors():
                done.synchronize()
            return _checked(landed, bool(verdict))

        return wait

    def free_memory(self) -> int | None:
        if self._on_cuda:
            cached = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
            return torch.cuda.mem_get_info(self._device)[0] + cached
        return free_main_memory()

    def _restored(
        self, window: np.ndarray, thumbnail: np.ndarray, place: np.ndarray, strength: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(H, W, 3) of the window's type, and whether all values were numbers; both on the device."""
        top, kind = np.iinfo(window.dtype).max, _TYPES[window.dtype]
        photo = self._picture(window).to(torch.float32).mul_(1 / top)
        restored = self._network(photo, self._picture(thumbnail), self._there(place)[None])
        # The sum is a number exactly when all values are.
        finite = restored.sum().isfinite()
        restored = restored.clamp_(0, 1)
        if strength != 1:
            restored = photo.lerp_(restored, strength)
        return restored.mul_(top).round_().to(kind)[0].permute(1, 2, 0).contiguous(), finite

    def _picture(self, image: np.ndarray) -> torch.Tensor:
        """(H, W, 3) as (1, 3, H, W) on the device; seen so it is channels_last already."""
        return self._there(image).permute(2, 0, 1)[None]

    def _there(self, array: np.ndarray) -> torch.Tensor:
        """An array on the device, without waiting for it; on a CPU nothing is copied."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.pin_memory().to(self._device, non_blocking=True) if self._on_cuda else tensor

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """PyTorch's errors as ours."""
        try:
            yield
        except (MemoryError, torch.OutOfMemoryError) as error:
            if self._on_cuda:
                torch.cuda.empty_cache()
            raise OutOfMemory(str(error)) from error
        except RuntimeError as error:
            # The only sign that PyTorch gives of the CPU's memory running out is its allocator's name.
            if "DefaultCPUAllocator" in str(error):
                raise OutOfMemory(str(error)) from error
            reason = str(error).strip().partition("\n")[0]
            raise BackendError(f"PyTorch failed on {self.device} in {self.precision}: {reason}") from error


def _checked(levels: torch.Tensor, finite: bool) -> np.ndarray:
    if not finite:
        raise NotFinite
    return levels.numpy()


def _device(wish: str) -> torch.device:
    if wish == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if wish == "cpu":
        return torch.device("cpu")
    index = int(wish.partition(":")[2] or 0)
    if not torch.cuda.is_available():
        build = "this PyTorch is built without CUDA" if torch.version.cuda is None else "no CUDA device is usable"
        raise BackendError(f"--device {wish} is not available: {build}; use --device cpu", kind="device")
    if index >= torch.cuda.device_count():
        raise BackendError(
            f"--device {wish} is not available: there are {torch.cuda.device_count()} CUDA devices, counted from 0",
            kind="device",
        )
    return torch.device("cuda", index)


def _precision(wish: str, device: torch.device, known: tuple[str, ...]) -> str:
    if wish != "auto":
        if wish not in known:
            raise BackendError(
                f"--precision {wish} is not one of {', '.join(known)}, which these weights work in", kind="precision"
            )
        return wish
    if device.type == "cpu":
        return "bf16" if "bf16" in known and cpu_has_fast_bf16() else "fp32"
    if "bf16" in known and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "fp16" if "fp16" in known else "fp32"
