"""ONNX Runtime: starts in a moment, and needs no PyTorch."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from restorecli.errors import BackendError, WeightsError
from restorecli.inference.backends.base import OutOfMemory, planes
from restorecli.inference.backends.machine import free_main_memory, has_cuda_driver, threads
from restorecli.weights import Weights

# ONNX Runtime has no error type of its own for this: its allocators speak through its general ones.
_OUT_OF_MEMORY = ("allocate memory", "bad_alloc", "out of memory", "bad allocation")
_OWN_ERRORS: tuple[type[Exception], ...] = tuple(
    found for found in vars(ort_errors).values() if isinstance(found, type) and issubclass(found, Exception)
)
_ERRORS_OF_LOADING: tuple[type[Exception], ...] = (*_OWN_ERRORS, UnicodeDecodeError)
_ERRORS_OF_RUNNING: tuple[type[Exception], ...] = (*_OWN_ERRORS, MemoryError)


class OnnxBackend:
    """A :class:`~restorecli.inference.backends.base.Backend` on ONNX Runtime."""

    name = "onnx"

    def __init__(self, weights: Weights, *, device: str, precision: str) -> None:
        """``device`` is ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``precision`` ``auto`` or that of the ONNX file.

        Raises :class:`BackendError` when there is no ONNX file, or the device or the precision is not there, and
        :class:`WeightsError` when the file does not load.
        """
        if weights.onnx is None:
            raise BackendError(
                f"{weights.path.name} has no ONNX file beside it: make one with "
                f"`restore export {weights.path} --onnx`, or use --backend torch",
                kind="backend",
            )
        self.descriptor = weights.descriptor
        cuda = device.startswith("cuda") or (device == "auto" and has_cuda_driver())
        index = int(device.partition(":")[2] or 0)
        # What it has to say about missing libraries comes as an error of ours, not as lines on the terminal.
        onnxruntime.set_default_logger_severity(4)
        if device.startswith("cuda") and not has_cuda_driver():
            raise _no_cuda(device)
        if cuda:
            # It reports what it cannot load on standard output, where a photo or JSON may be going.
            with contextlib.redirect_stdout(io.StringIO()):
                onnxruntime.preload_dlls()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 4
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        # The arena rounds up and keeps what the largest tile took; without it memory is half and speed the same.
        options.enable_cpu_mem_arena = False
        providers: list[Any] = ["CPUExecutionProvider"]
        if cuda:
            # Other searches tune again for every new shape; TF32 would turn fp32 into something else without a word.
            cuda_options = {"device_id": index, "cudnn_conv_algo_search": "HEURISTIC", "use_tf32": 0}
            providers.insert(0, ("CUDAExecutionProvider", cuda_options))
        try:
            # Falling back from the CPU to the CPU it would print on standard output.
            self._session = onnxruntime.InferenceSession(
                weights.onnx, options, providers=providers, enable_fallback=int(cuda)
            )
        except _ERRORS_OF_LOADING as error:
            raise WeightsError(
                f"{weights.onnx} does not load in ONNX Runtime: {_first_line(error)}; make it again with "
                "`restore export --onnx`",
                kind="corrupt",
            ) from error
        # ONNX Runtime lists CUDA where there is none and then runs on the CPU: only the open session tells.
        self._on_cuda = self._session.get_providers()[0] == "CUDAExecutionProvider"
        if device.startswith("cuda") and not self._on_cuda:
            raise _no_cuda(device)
        self.device = f"cuda:{index}" if self._on_cuda else "cpu"
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.precision = metadata.get("precision", "fp32")
        if precision not in ("auto", self.precision):
            raise BackendError(
                f"--precision {precision} is not available: {weights.onnx.name} is {self.precision}; "
                "use --backend torch, or export it in that precision",
                kind="precision",
            )
        self._inputs = {entry.name for entry in self._session.get_inputs()}

    def run(self, tile: np.ndarray, thumbnail: np.ndarray, place: np.ndarray) -> np.ndarray:
        feed = {"photo": planes(tile), "thumbnail": planes(thumbnail), "place": place[None]}
        try:
            outputs = self._session.run(["restored"], {key: feed[key] for key in feed.keys() & self._inputs})
        except _ERRORS_OF_RUNNING as error:
            if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
                raise OutOfMemory(str(error)) from error
            raise BackendError(f"ONNX Runtime failed on {self.device}: {_first_line(error)}") from error
        if outputs[0].shape != (1, 3, *tile.shape[:2]):
            raise BackendError(
                f"the ONNX file makes {outputs[0].shape} of a tile of {tile.shape}: make it again with "
                "`restore export --onnx`"
            )
        return np.asarray(outputs[0])[0].transpose(1, 2, 0)

    def free_memory(self) -> int | None:
        return None if self._on_cuda else free_main_memory()


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _no_cuda(device: str) -> BackendError:
    return BackendError(
        f"--device {device} is not available to ONNX Runtime on this machine; use --device cpu", kind="device"
    )
