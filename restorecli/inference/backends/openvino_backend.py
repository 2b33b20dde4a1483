"""OpenVINO: reads the ONNX file, starts in a moment, and is the fastest on many CPUs; Intel GPUs too."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from restorecli.errors import BackendError, WeightsError
from restorecli.hardware import cpu_has_fast_int8
from restorecli.inference.backends.base import OutOfMemory, Pending, Window, feed, results
from restorecli.inference.backends.machine import free_main_memory, threads
from restorecli.inference.backends.openvino_int8 import quantised
from restorecli.inference.backends.openvino_place import READ, ReadAtPlace, split
from restorecli.weights import Weights

if TYPE_CHECKING:
    from openvino import Core

# OpenVINO has no error type for this; the words are those of its allocators, of its GPU plugin, and of OpenCL.
_OUT_OF_MEMORY = (
    "bad_alloc",
    "allocate",
    "Exceeded max size",
    "OUT_OF_RESOURCES",
    "OUT_OF_DEVICE_MEMORY",
    "OUT_OF_HOST_MEMORY",
)
_TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
"""What OpenVINO is to compute in where nothing else is said: layers in 8 bits say so themselves."""
_TELEMETRY = "openvino_telemetry"


class OpenVinoBackend:
    """A :class:`~restorecli.inference.backends.base.Backend` on OpenVINO."""

    name = "openvino"
    ahead = 0
    together = 1

    def __init__(self, weights: Weights, *, device: str, precision: str) -> None:
        """``device`` is ``auto`` or ``cpu``, or a device of OpenVINO: ``gpu``, ``gpu:N``, ``npu``.

        ``precision`` is ``auto``, or one that the device computes in: fp32 always, bf16 on CPUs that multiply it in
        hardware, fp16 on GPUs, int8 on CPUs that are fast in it, with weights that tell their layers' ranges.
        ``auto`` is what OpenVINO prefers on the device, fp32 where the weights do not work in it.

        Raises :class:`BackendError` for what is not there, without an ONNX file and without the package, and
        :class:`WeightsError` when the file does not load.
        """
        if weights.onnx is None:
            raise BackendError(
                f"{weights.path.name} has no ONNX file beside it: make one with "
                f"`restore export {weights.path} --onnx`, or use --backend torch",
                kind="backend",
            )
        try:
            openvino = import_openvino()
        except (ImportError, OSError) as error:
            raise BackendError(
                f"--backend openvino does not start ({error}); install it with `pip install openvino`"
            ) from error
        self.descriptor = weights.descriptor
        core = the_core()
        plugin = "CPU" if device == "auto" else device.upper().replace(":", ".")
        # Where there are two GPUs, GPU means the first of GPU.0 and GPU.1.
        if not any(plugin in (name, name.partition(".")[0]) for name in core.available_devices):
            raise BackendError(
                f"--device {device} is not available to OpenVINO, which finds "
                f"{', '.join(core.available_devices).lower().replace('.', ':')}; use --backend torch or --device cpu",
                kind="device",
            )
        wished = self._wished(core, plugin, precision, bool(weights.ranges))
        options: dict[str, object] = {"INFERENCE_PRECISION_HINT": _TYPES[wished]}
        if plugin == "CPU":
            options["INFERENCE_NUM_THREADS"] = threads()
        self._read_at_place: ReadAtPlace | None = None
        try:
            narrow = wished in ("bf16", "fp16")
            parts = split(core, openvino, weights.onnx) if self.descriptor.place and narrow else None
            integers = quantised(core, openvino, weights.onnx, weights.ranges) if wished == "int8" else None
            if (parts is None and self.descriptor.place and narrow) or (integers is None and wished == "int8"):
                raise _no_precision(wished, device, "fp32 with these weights")
            if parts is not None:
                exact = options | {"INFERENCE_PRECISION_HINT": _TYPES["fp32"]}
                self._read_at_place = ReadAtPlace(core.compile_model(parts[0], plugin, exact))
            self._model = core.compile_model(parts[1] if parts else integers or weights.onnx, plugin, options)
        except RuntimeError as error:
            raise WeightsError(f"{weights.onnx} does not load in OpenVINO: {_reason(error)}", kind="corrupt") from error
        runs = self._model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if runs != _TYPES[wished]:
            there = next((ours for ours, name in _TYPES.items() if name == runs), runs)
            raise _no_precision(precision, device, there)
        self.precision = wished
        self.device = device if plugin != "CPU" else "cpu"
        self._inputs = {name for entry in self._model.inputs for name in entry.get_names()}
        self._request = self._model.create_infer_request()

    def start(self, windows: Sequence[Window], strength: float) -> list[Pending]:
        given = feed(windows)
        try:
            if self._read_at_place is not None:
                given[READ] = self._read_at_place(given)
            self._request.infer({key: given[key] for key in given.keys() & self._inputs}, share_inputs=True)
            restored = self._request.get_output_tensor().data
        except MemoryError as error:
            raise OutOfMemory(str(error)) from error
        except RuntimeError as error:
            if any(words in str(error) for words in _OUT_OF_MEMORY):
                raise OutOfMemory(str(error)) from error
            raise BackendError(f"OpenVINO failed on {self.device}: {_reason(error)}") from error
        return results(restored, windows, given["photo"], strength)

    def limit(self, memory: int | None) -> None:
        pass  # Windows are planned to fit; there is no way of holding an open session to it.

    def free_memory(self) -> int | None:
        return free_main_memory() if self.device == "cpu" else None

    def _wished(self, core: object, plugin: str, precision: str, ranges: bool) -> str:
        """The precision to ask OpenVINO for; :class:`BackendError` when the device or the weights do not do it."""
        can = core.get_property(plugin, "OPTIMIZATION_CAPABILITIES")  # type: ignore[attr-defined]
        there: list[str] = [
            ours for ours in ("bf16", "fp16", "fp32") if ours.upper() in can and ours in self.descriptor.dtypes
        ]
        if precision == "auto":
            return there[0] if there else "fp32"
        if ranges and plugin == "CPU" and "INT8" in can and cpu_has_fast_int8():
            there.append("int8")
        if precision == "int8" and not ranges:
            raise BackendError(
                "--precision int8 needs the ranges of the layers, which weights of earlier versions and of other "
                "programs do not tell; use another --precision, or fine-tune them",
                kind="precision",
            )
        if precision != "fp32" and precision not in there:
            raise _no_precision(precision, plugin.lower(), ", ".join(there) or "fp32")
        return precision


def import_openvino() -> ModuleType:
    """The ``openvino`` module, imported so that nothing of it can ever report what its users do.

    Its model converter imports ``openvino_telemetry``, which sends to Google Analytics unless somebody opted out. With
    that package out of sight OpenVINO takes an empty stand-in of its own. :class:`ImportError` when it is not there.
    """
    with _hidden(_TELEMETRY):
        import openvino
    return openvino


@functools.cache
def the_core() -> Core:
    """OpenVINO's entry point, one for the whole process and never let go of; errors as of :func:`import_openvino`.

    Each one gives the thread that makes it a stack for signals, and takes it away at its end. When several end in the
    order in which they began, the thread is left with a stack that is no more, and the next Ctrl-C is a crash.
    """
    found: Core = import_openvino().Core()
    return found


@contextlib.contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Importing ``package`` fails within the block, unless the program around us has imported it already."""
    hide = package not in sys.modules
    if hide:
        sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hide:
            del sys.modules[package]


def _no_precision(precision: str, device: str, there: str) -> BackendError:
    remedy = "use another --precision" if precision == "int8" else "use --backend torch"
    return BackendError(
        f"--precision {precision} is not available with --backend openvino on {device}, which computes in {there}; "
        f"{remedy}",
        kind="precision",
    )


def _reason(error: RuntimeError) -> str:
    """OpenVINO's last line: the ones before it say where in its source the error arose."""
    return str(error).strip().rpartition("\n")[2]
