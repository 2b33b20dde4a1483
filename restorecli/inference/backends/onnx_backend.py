"""ONNX Runtime: starts in a moment, and needs no PyTorch; on the CPU, on CUDA and on any other execution provider."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from restorecli.errors import BackendError, UsageError, WeightsError
from restorecli.inference.backends.base import ENOUGH_TOGETHER, OutOfMemory, Pending, Window, feed, results
from restorecli.inference.backends.machine import cuda_devices, free_cuda_memory, free_main_memory, threads
from restorecli.onnx_runtime import errors as ort_errors
from restorecli.onnx_runtime import onnxruntime
from restorecli.weights import Weights

# ONNX Runtime has no error type of its own for this: its allocators speak through its general ones.
_OUT_OF_MEMORY = (
    "allocate memory", "bad_alloc", "out of memory", "bad allocation", "ALLOC_FAILED", "Not enough memory",
)  # fmt: skip
_OWN_ERRORS: tuple[type[Exception], ...] = tuple(
    found for found in vars(ort_errors).values() if isinstance(found, type) and issubclass(found, Exception)
)
# Bound inputs and outputs, and devices that do not start, fail with Python's own type.
_ERRORS_OF_LOADING: tuple[type[Exception], ...] = (*_OWN_ERRORS, ValueError, RuntimeError)
_ERRORS_OF_RUNNING: tuple[type[Exception], ...] = (*_OWN_ERRORS, MemoryError, RuntimeError)
_SUFFIX = "ExecutionProvider"
_ELSEWHERE = {"bf16": "torch", "int8": "openvino"}
"""Precisions that no exported file has, and who has them."""
_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_NVIDIA = (_CUDA, "TensorrtExecutionProvider")


class OnnxBackend:
    """A :class:`~restorecli.inference.backends.base.Backend` on ONNX Runtime."""

    name = "onnx"
    ahead = 0

    def __init__(self, weights: Weights, *, device: str, precision: str) -> None:
        """``device`` is ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or the short name of an execution provider.

        A short name is what ONNX Runtime calls it, without its ending and in lower case: ``tensorrt``, ``coreml``,
        ``dml``, with ``:N`` for the N-th device. ``precision`` is ``auto`` or that of the ONNX file.

        Raises :class:`BackendError` when there is no ONNX file, or the device or the precision is not there,
        :class:`UsageError` for a device that ONNX Runtime has never heard of, and :class:`WeightsError` when the file
        does not load.
        """
        if weights.onnx is None:
            raise BackendError(
                f"{weights.path.name} has no ONNX file beside it: make one with "
                f"`restore export {weights.path} --onnx`, or use --backend torch",
                kind="backend",
            )
        self.descriptor = weights.descriptor
        wanted = _provider(device)
        # What it has to say about missing libraries comes as an error of ours, not as lines on the terminal.
        onnxruntime.set_default_logger_severity(4)
        if device != "auto" and (
            wanted not in onnxruntime.get_available_providers() or (wanted in _NVIDIA and cuda_devices() == 0)
        ):
            raise _not_there(device)
        if wanted in _NVIDIA and wanted != _CUDA:
            # TensorRT takes TF32 unless all of NVIDIA's libraries are told not to; ONNX Runtime has no option for it.
            os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
        if wanted in _NVIDIA:
            # It reports what it cannot load on standard output, where a photo or JSON may be going.
            with contextlib.redirect_stdout(io.StringIO()):
                onnxruntime.preload_dlls()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 4
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        # With patterns a second run of a shape takes one block for all layers, beside what the first took: that and the
        # C library's own allocation, without an arena, come to twice the memory at the same speed.
        options.enable_mem_pattern = False
        number = int(device.partition(":")[2] or 0)
        with _errors(device, weights, of_file=wanted == _CPU):
            try:
                self._session = _opened(weights, options, _providers(wanted, device, number))
            except _ERRORS_OF_LOADING:
                if device != "auto" or wanted == _CPU:
                    raise
                self._session = _opened(weights, options, [_CPU])
        # ONNX Runtime lists CUDA where there is none and then runs on the CPU: only the open session tells.
        runs = self._session.get_providers()[0]
        if (device != "auto" and runs != wanted) or (runs == _CPU and ":" in device):
            raise _not_there(device)
        self.device = _short(runs) + (f":{number}" if runs in _NVIDIA or ":" in device else "")
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.precision = metadata.get("precision", "fp32")
        if precision not in ("auto", self.precision):
            elsewhere = f"--backend {_ELSEWHERE.get(precision, 'torch, or export it in that precision')}"
            raise BackendError(
                f"--precision {precision} is not available: {weights.onnx.name} is {self.precision}; "
                f"use {'another --precision' if weights.is_onnx else elsewhere}",
                kind="precision",
            )
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._bound = _Bound(self._session, number) if runs == _CUDA else None
        self.together = ENOUGH_TOGETHER if runs == _CUDA else 1
        # Asked once: what runs have taken the session keeps, and gives to the next.
        self._free = free_cuda_memory(number) if runs in _NVIDIA else None

    def start(self, windows: Sequence[Window], strength: float) -> list[Pending]:
        given = feed(windows)
        known = {key: given[key] for key in given.keys() & self._inputs}
        try:
            if self._bound is not None:
                restored = self._bound.run(known)
            else:
                restored = np.asarray(self._session.run(["restored"], known)[0])
        except _ERRORS_OF_RUNNING as error:
            if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
                raise OutOfMemory(str(error)) from error
            raise BackendError(f"ONNX Runtime failed on {self.device}: {_first_line(error)}") from error
        return results(restored, windows, given["photo"], strength)

    def limit(self, memory: int | None) -> None:
        pass  # Windows are planned to fit; there is no way of holding an open session to it.

    def free_memory(self) -> int | None:
        return free_main_memory() if self.device == "cpu" else self._free


class _Bound:
    """A session whose inputs and output stay in the device's memory, which is taken anew only for a new shape."""

    def __init__(self, session: onnxruntime.InferenceSession, number: int) -> None:
        self._session, self._number = session, number
        self._inputs: dict[str, Any] = {}
        self._binding: Any = None

    def run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        """What the session makes of ``feed``; the device's memory is given back when that fails."""
        try:
            return self._run(feed)
        except _ERRORS_OF_RUNNING:
            self._inputs, self._binding = {}, None
            raise

    def _run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        if {name: tuple(value.shape()) for name, value in self._inputs.items()} != {
            name: array.shape for name, array in feed.items()
        }:
            # The old ones first: both together may be more than there is.
            self._inputs, self._binding = {}, None
            binding = self._session.io_binding()
            for name, array in feed.items():
                value = onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", self._number)
                binding.bind_ortvalue_input(name, value)
                self._inputs[name] = value
            binding.bind_output("restored", "cuda", self._number)
            self._binding = binding
        else:
            for name, array in feed.items():
                self._inputs[name].update_inplace(array)
        self._session.run_with_iobinding(self._binding)
        return self._binding.copy_outputs_to_cpu()[0]


def _provider(device: str) -> str:
    """The execution provider that a device means; :class:`UsageError` when there is no such provider anywhere."""
    if device == "auto":
        return _CUDA if cuda_devices() > 0 else _CPU
    short = device.partition(":")[0]
    known = {_short(name): name for name in onnxruntime.get_all_providers()}
    if short not in known:
        raise UsageError(
            f"--device {device} is no execution provider of ONNX Runtime: it knows {', '.join(sorted(known))}"
        )
    return known[short]


def _opened(weights: Weights, options: Any, providers: list[Any]) -> Any:
    # Its own way of falling back from one to the other prints on standard output, where a photo or JSON may be going.
    return onnxruntime.InferenceSession(weights.onnx, options, providers, enable_fallback=0)


def _providers(wanted: str, device: str, number: int) -> list[Any]:
    """What the session may use, best first."""
    # Other searches tune again for every new shape; TF32 would turn fp32 into something else without a word.
    # Memory is taken as it is asked for, not in powers of two, so that what was planned to fit does.
    cuda = (
        _CUDA,
        {
            "device_id": number,
            "cudnn_conv_algo_search": "HEURISTIC",
            "use_tf32": 0,
            "arena_extend_strategy": "kSameAsRequested",
        },
    )
    if wanted == _CPU:
        return [_CPU]
    if wanted == _CUDA:
        return [cuda, _CPU]
    if wanted in _NVIDIA:
        return [(wanted, {"device_id": number}), cuda, _CPU]
    return [(wanted, {"device_id": number} if ":" in device else {}), _CPU]


@contextlib.contextmanager
def _errors(device: str, weights: Weights, *, of_file: bool) -> Iterator[None]:
    """ONNX Runtime's errors of opening a file as ours: the file's fault, or maybe that of a device that is no CPU."""
    try:
        yield
    except _ERRORS_OF_LOADING as error:
        if of_file or isinstance(error, (ort_errors.InvalidProtobuf, ort_errors.InvalidGraph, ort_errors.NoSuchFile)):
            raise WeightsError(
                f"{weights.onnx} does not load in ONNX Runtime: {_first_line(error)}; make it again with "
                "`restore export --onnx`",
                kind="corrupt",
            ) from error
        raise BackendError(
            f"--device {device} does not start in ONNX Runtime: {_first_line(error)}; use --device cpu", kind="device"
        ) from error


def _short(provider: str) -> str:
    return provider.removesuffix(_SUFFIX).lower()


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _not_there(device: str) -> BackendError:
    return BackendError(
        f"--device {device} is not available to ONNX Runtime on this machine; use --device cpu", kind="device"
    )
