"""What is installed on this machine and which devices of it really run."""

from __future__ import annotations

import contextlib
import io
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from restorecli import __version__
from restorecli.errors import RestoreError

if TYPE_CHECKING:
    from restorecli.weights import Weights

PACKAGES = ("torch", "onnxruntime", "openvino", "numpy", "opencv-python-headless", "pillow", "onnx", "safetensors")
_ONNX_RUNTIMES = ("onnxruntime-gpu", "onnxruntime")


def version_of(package: str) -> str | None:
    """The installed version of a package (of either build of ONNX Runtime), None when it is not there."""
    for name in _ONNX_RUNTIMES if package == "onnxruntime" else (package,):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def both_onnx_runtimes() -> bool:
    """Whether both builds are installed, in which case one hides the other."""
    found = {distribution.name for distribution in metadata.distributions()}
    return found.issuperset(_ONNX_RUNTIMES)


def devices_of(package: str) -> list[str]:
    """Devices that ``torch`` or ``onnxruntime`` runs on; in their place why, when it does not start."""
    try:
        return {"torch": _torch_devices, "onnxruntime": _onnx_devices}[package]()
    except Exception as error:  # a broken installation may raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return [f"does not start: {reason}"]


def _torch_devices() -> list[str]:
    """Devices that torch finds: ``cpu``, and each CUDA device with its name."""
    import torch

    cards = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ["cpu", *(f"cuda:{index} ({name})" for index, name in enumerate(cards))]


def _onnx_devices() -> list[str]:
    """Devices that an ONNX Runtime session really opens on; what it lists as available says nothing."""
    import onnxruntime
    from onnx import TensorProto, helper

    from restorecli.inference.backends.machine import has_cuda_driver

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", values[:1], values[1:])
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, ir_version=8, opset_imports=[opset]).SerializeToString()
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    found = ["cpu"]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and has_cuda_driver():
        # It prints what it does not find.
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
        session = onnxruntime.InferenceSession(model, options, ["CUDAExecutionProvider", "CPUExecutionProvider"])
        if session.get_providers()[0] == "CUDAExecutionProvider":
            found.append("cuda")
    return found


def version_lines() -> list[str]:
    """restorecli, torch and ONNX Runtime, each with its version and the devices that it runs on."""
    return [
        f"restorecli {__version__}, Python {platform.python_version()}",
        f"torch {version_of('torch')}: {', '.join(devices_of('torch'))}",
        f"ONNX Runtime {version_of('onnxruntime')}: {', '.join(devices_of('onnxruntime'))}",
    ]


@dataclass(frozen=True)
class Trial:
    """One backend on one device, tried with real weights."""

    backend: str
    device: str
    precision: str | None
    """What it ran in, None when it did not run."""
    problem: str | None
    """Why it did not run."""


def try_backends(weights: Weights) -> Iterator[Trial]:
    """Open every backend on every kind of device and run one small tile on it."""
    for backend, device in (
        ("torch", "cpu"),
        ("torch", "cuda"),
        ("onnx", "cpu"),
        ("onnx", "cuda"),
        ("openvino", "cpu"),
    ):
        yield try_backend(weights, backend, device)


def try_backend(weights: Weights, backend: str = "auto", device: str = "auto") -> Trial:
    """Open one backend, ``auto`` as a user's call would, and run one small tile on it."""
    import numpy as np

    from restorecli.inference.backends import OutOfMemory, open_backend

    try:
        opened = open_backend(weights, backend=backend, device=device)
        edge, small = 4 * opened.descriptor.stride, max(1, opened.descriptor.thumbnail)
        tile, thumbnail = np.zeros((edge, edge, 3), np.float32), np.zeros((small, small, 3), np.float32)
        opened.run(tile, thumbnail, np.array([0, 0, 1, 1], np.float32))
    except RestoreError as error:
        return Trial(backend, device, None, str(error))
    except OutOfMemory:
        return Trial(backend, device, None, "its memory is full")
    return Trial(opened.name, opened.device, opened.precision, None)
