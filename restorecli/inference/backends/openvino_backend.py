"""OpenVINO: the fastest way of running the ONNX file on many CPUs; an optional package."""

from __future__ import annotations

import numpy as np

from restorecli.errors import BackendError, WeightsError
from restorecli.inference.backends.base import OutOfMemory, planes
from restorecli.inference.backends.machine import free_main_memory, threads
from restorecli.weights import Weights


class OpenVinoBackend:
    """A :class:`~restorecli.inference.backends.base.Backend` on OpenVINO: CPU, fp32."""

    name = "openvino"
    device = "cpu"
    precision = "fp32"

    def __init__(self, weights: Weights, *, device: str, precision: str) -> None:
        """``device`` is ``auto`` or ``cpu``, ``precision`` ``auto`` or ``fp32``.

        Raises :class:`BackendError` for anything else, without an ONNX file and without the package, and
        :class:`WeightsError` when the file does not load.
        """
        if device.startswith("cuda"):
            raise BackendError(
                f"--device {device} is not available to OpenVINO; use --backend torch or --device cpu", kind="device"
            )
        if precision not in ("auto", "fp32"):
            raise BackendError(
                f"--precision {precision} is not available with --backend openvino, which runs in fp32; "
                "use --backend torch",
                kind="precision",
            )
        if weights.onnx is None:
            raise BackendError(
                f"{weights.path.name} has no ONNX file beside it: make one with "
                f"`restore export {weights.path} --onnx`, or use --backend torch",
                kind="backend",
            )
        try:
            import openvino
        except ImportError as error:
            raise BackendError("--backend openvino needs its package: pip install openvino") from error
        self.descriptor = weights.descriptor
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads()}
        try:
            self._model = openvino.Core().compile_model(weights.onnx, "CPU", options)
        except RuntimeError as error:
            reason = str(error).strip().rpartition("\n")[2]
            raise WeightsError(f"{weights.onnx} does not load in OpenVINO: {reason}", kind="corrupt") from error
        self._inputs = {name for entry in self._model.inputs for name in entry.get_names()}
        self._request = self._model.create_infer_request()

    def run(self, tile: np.ndarray, thumbnail: np.ndarray, place: np.ndarray) -> np.ndarray:
        feed = {"photo": planes(tile), "thumbnail": planes(thumbnail), "place": place[None]}
        try:
            self._request.infer({key: feed[key] for key in feed.keys() & self._inputs})
            # Copied, because the next tile is computed into the same memory.
            return self._request.get_output_tensor().data[0].transpose(1, 2, 0).copy()
        except MemoryError as error:
            raise OutOfMemory(str(error)) from error
        except RuntimeError as error:
            if "bad_alloc" in str(error) or "allocate" in str(error):
                raise OutOfMemory(str(error)) from error
            reason = str(error).strip().rpartition("\n")[2]
            raise BackendError(f"OpenVINO failed: {reason}") from error

    def free_memory(self) -> int | None:
        return free_main_memory()
