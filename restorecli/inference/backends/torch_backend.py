"""PyTorch: every precision, CPU and CUDA.

Integers cross the bus to a CUDA device and back, a third to a quarter of what floats would be; the window's way from
integers to integers happens where the network runs. On CUDA nothing waits for the device until a result is asked for:
windows are copied from and to memory that the device reads by itself, so the host cuts out the next one meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch

from restorecli.errors import BackendError
from restorecli.hardware import cpu_has_fast_bf16, cuda_has_fast_bf16, cuda_has_kernels, flushed_denormals
from restorecli.inference.backends.base import ENOUGH_TOGETHER, NotFinite, OutOfMemory, Pending, Window
from restorecli.inference.backends.machine import free_main_memory, threads
from restorecli.models.resnet import ResNet, Statistics
from restorecli.weights import Weights, load_network

_TYPES = {
    np.dtype(np.uint8): torch.uint8,
    np.dtype(np.uint16): torch.uint16,
    np.dtype(np.float32): torch.float32,
}
# Whether TF32 may be used is a setting of the whole process, and there may be a thread for each device.
_STARTING = threading.Lock()
_LIMITED: set[str] = set()
"""Devices whose memory this module has bounded."""


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
        self.ahead, self.together = (1, ENOUGH_TOGETHER) if self._on_cuda else (0, 1)
        if not self._on_cuda:
            torch.set_num_threads(threads())
        network = load_network(weights, self.precision)
        try:
            with self._errors():
                self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        except OutOfMemory as error:
            remedy = " or use --device cpu" if self._on_cuda else ""
            raise BackendError(
                f"the memory of {self.device} is full: close other programs{remedy}", kind="device"
            ) from error
        self._known: deque[tuple[np.ndarray, Statistics]] = deque(maxlen=8 + self.together)

    def start(self, windows: Sequence[Window], strength: float) -> list[Pending]:
        with self._errors(), self._settings():
            levels, finite = self._restored(windows, strength)
            if not self._on_cuda:
                return [partial(_checked, *found) for found in zip(levels, finite, strict=True)]
            landed = torch.empty(levels.shape, dtype=levels.dtype, pin_memory=True)
            landed.copy_(levels, non_blocking=True)
            verdict = torch.empty(finite.shape, dtype=torch.bool, pin_memory=True)
            verdict.copy_(finite, non_blocking=True)
            done = torch.cuda.Event()
            done.record(torch.cuda.current_stream(self._device))

        def wait(index: int) -> np.ndarray:
            with self._errors():
                done.synchronize()
            return _checked(landed[index], verdict[index])

        return [partial(wait, index) for index in range(len(windows))]

    def limit(self, memory: int | None) -> None:
        # A bound is the process's: it goes with the next one that has none, but one that a program set itself stays.
        if not self._on_cuda or (memory is None and self.device not in _LIMITED):
            return
        total = torch.cuda.get_device_properties(self._device).total_memory
        share = 1.0 if memory is None else min(1.0, memory / total)
        torch.cuda.set_per_process_memory_fraction(share, self._device)
        (_LIMITED.discard if memory is None else _LIMITED.add)(self.device)

    def free_memory(self) -> int | None:
        if self._on_cuda:
            cached = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
            return torch.cuda.mem_get_info(self._device)[0] + cached
        return free_main_memory()

    def _restored(self, windows: Sequence[Window], strength: float) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, H, W, 3) of the windows' type, and (B,) whether all values were numbers; both on the device."""
        kind = windows[0].pixels.dtype
        top = np.iinfo(kind).max
        photo = self._pictures([window.pixels for window in windows]).to(torch.float32).mul_(1 / top)
        thumbnails = self._pictures([window.thumbnail for window in windows])
        more = [self._statistics(windows)] if isinstance(self._network, ResNet) else []
        restored = self._network(photo, thumbnails, self._there([window.place for window in windows]), *more)
        # The sum is a number exactly when all values are.
        finite = restored.sum(dim=(1, 2, 3)).isfinite()
        restored = restored.clamp_(0, 1)
        if strength != 1:
            restored = photo.lerp_(restored, strength)
        return restored.mul_(top).round_().to(_TYPES[kind]).permute(0, 2, 3, 1).contiguous(), finite

    def _statistics(self, windows: Sequence[Window]) -> Statistics:
        """Of the windows' thumbnails, each taken once for all windows of a photo: it costs more than most windows."""
        assert isinstance(self._network, ResNet)
        each = []
        for window in windows:
            # By its values: each tile has its own copy of the photo's thumbnail in a mirror.
            found = next((one for known, one in self._known if np.array_equal(known, window.thumbnail)), None)
            if found is None:
                found = self._network.statistics(self._pictures([window.thumbnail]))
                self._known.append((window.thumbnail, found))
            each.append(found)
        if len(each) == 1:
            return each[0]
        norms = zip(*each, strict=True)
        return [(torch.cat([mean for mean, _ in norm]), torch.cat([scale for _, scale in norm])) for norm in norms]

    def _pictures(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """Each (H, W, 3), as (B, 3, H, W) on the device; seen so they are channels_last already."""
        return self._there(images).permute(0, 3, 1, 2)

    def _there(self, arrays: Sequence[np.ndarray]) -> torch.Tensor:
        """Arrays of one shape, one after the other on the device, without waiting for it; on a CPU as they are."""
        if not self._on_cuda:
            return torch.from_numpy(np.stack(arrays) if len(arrays) > 1 else np.ascontiguousarray(arrays[0])[None])
        shape = (len(arrays), *arrays[0].shape)
        host = torch.empty(shape, dtype=_TYPES[arrays[0].dtype], pin_memory=True)
        np.stack(arrays, out=host.numpy())
        return host.to(self._device, non_blocking=True)

    @contextlib.contextmanager
    def _settings(self) -> Iterator[None]:
        """What the process is set to while a run is started."""
        with contextlib.ExitStack() as settings:
            settings.enter_context(flushed_denormals())
            settings.enter_context(torch.inference_mode())
            if self._on_cuda:
                # Memory that the device reads by itself belongs to the device that is current.
                settings.enter_context(torch.cuda.device(self._device))
                settings.enter_context(_STARTING)
                # TF32 would turn fp32 into something else without a word.
                settings.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            yield

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


def _checked(levels: torch.Tensor, finite: torch.Tensor) -> np.ndarray:
    if not bool(finite):
        raise NotFinite
    return levels.numpy()


def _device(wish: str) -> torch.device:
    if wish == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() and cuda_has_kernels() else "cpu")
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
        if wish == "int8":
            raise BackendError(
                "--precision int8 is not available in PyTorch; use --backend openvino, or another --precision",
                kind="precision",
            )
        if wish not in known:
            raise BackendError(
                f"--precision {wish} is not one of {', '.join(known)}, which these weights work in", kind="precision"
            )
        return wish
    if device.type == "cpu":
        return "bf16" if "bf16" in known and cpu_has_fast_bf16() else "fp32"
    if "bf16" in known and cuda_has_fast_bf16(device):
        return "bf16"
    return "fp16" if "fp16" in known else "fp32"
