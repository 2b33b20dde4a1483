"""PyTorch: every precision, CPU and CUDA."""

from __future__ import annotations

import numpy as np
import torch

from restorecli.errors import BackendError
from restorecli.hardware import cpu_has_fast_bf16, flushed_denormals
from restorecli.inference.backends.base import OutOfMemory
from restorecli.inference.backends.machine import free_main_memory, threads
from restorecli.weights import Weights, load_network


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
        if self._device.type == "cpu":
            torch.set_num_threads(threads())
        network = load_network(weights, self.precision)
        self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(self, tile: np.ndarray, thumbnail: np.ndarray, place: np.ndarray) -> np.ndarray:
        try:
            # TF32 would turn fp32 into something else without a word.
            tf32_off = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
            with flushed_denormals(), torch.inference_mode(), tf32_off:
                where = torch.from_numpy(place)[None].to(self._device)
                output = self._network(self._tensor(tile), self._tensor(thumbnail), where)
                return output[0].permute(1, 2, 0).float().cpu().numpy()
        except (MemoryError, torch.OutOfMemoryError) as error:
            self._make_room()
            raise OutOfMemory(str(error)) from error
        except RuntimeError as error:
            # The only sign that PyTorch gives of the CPU's memory running out is its allocator's name.
            if "DefaultCPUAllocator" in str(error):
                raise OutOfMemory(str(error)) from error
            reason = str(error).strip().partition("\n")[0]
            raise BackendError(f"PyTorch failed on {self.device} in {self.precision}: {reason}") from error

    def free_memory(self) -> int | None:
        if self._device.type == "cuda":
            cached = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
            return torch.cuda.mem_get_info(self._device)[0] + cached
        return free_main_memory()

    def _tensor(self, image: np.ndarray) -> torch.Tensor:
        # (H, W, 3) seen as (1, 3, H, W) is channels_last already: nothing is copied.
        return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].to(self._device)

    def _make_room(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


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
