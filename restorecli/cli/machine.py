"""What is installed on this machine and which devices of it really run."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from restorecli import __version__
from restorecli.cli.advice import ONNX_RUNTIMES, Found
from restorecli.errors import RestoreError

if TYPE_CHECKING:
    from restorecli.weights import Weights

PACKAGES = ("torch", "onnxruntime", "openvino", "numpy", "opencv-python-headless", "pillow", "onnx", "safetensors")
NOT_STARTED = "does not start: "


def version_of(package: str) -> str | None:
    """The installed version of a package (of either build of ONNX Runtime), None when it is not there."""
    for name in ONNX_RUNTIMES if package == "onnxruntime" else (package,):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def find(devices: Mapping[str, list[str]]) -> Found:
    """The facts that advice is made from; ``devices`` as :func:`devices_of` tells them."""
    installed = {distribution.name for distribution in metadata.distributions()}
    cards = nvidia_cards()
    problems = {
        name: next((each.removeprefix(NOT_STARTED) for each in told if each.startswith(NOT_STARTED)), None)
        for name, told in devices.items()
    }
    torch_cuda = None
    if version_of("torch") is not None and problems["torch"] is None:
        import torch

        torch_cuda = torch.version.cuda
    gpu_wheel = platform.machine() in ("x86_64", "AMD64") and sys.platform in ("linux", "win32")
    return Found(
        cards=cards,
        bare_card=not cards and _nvidia_on_the_bus(),
        torch=version_of("torch"),
        torch_problem=problems["torch"],
        torch_cuda=torch_cuda,
        torch_on_cuda=any(each.startswith("cuda") for each in devices["torch"]),
        onnx_builds=tuple(name for name in ONNX_RUNTIMES if name in installed),
        onnx_problem=problems["onnxruntime"],
        onnx_on_cuda="cuda" in devices["onnxruntime"],
        onnx_wanted=ONNX_RUNTIMES[0 if gpu_wheel else 1],
        torch_wanted=_requirement("torch"),
        hidden=os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"),
        windows=sys.platform == "win32",
    )


def nvidia_cards() -> tuple[str, ...]:
    """NVIDIA cards by name and memory, as the driver's own ``nvidia-smi`` tells them; none without a driver."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line.strip() for line in found.stdout.splitlines() if line.strip()) if found.returncode == 0 else ()


def _nvidia_on_the_bus() -> bool:
    """Whether an NVIDIA display controller is on the PCI bus; known on Linux only."""
    for device in Path("/sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = ((device / name).read_text("ascii").strip() for name in ("vendor", "class"))
        except (OSError, UnicodeDecodeError):
            continue
        if vendor == "0x10de" and kind.startswith("0x03"):
            return True
    return False


def _requirement(package: str) -> str:
    """What restorecli asks of a package, as pip writes it: ``torch<2.14,>=2.11``."""
    try:
        wanted = metadata.requires("restorecli") or []
    except metadata.PackageNotFoundError:
        wanted = []
    return next((each for each in wanted if re.match(rf"{package}\b(?!-)", each) and ";" not in each), package)


def devices_of(package: str) -> list[str]:
    """Devices that ``torch``, ``onnxruntime`` or ``openvino`` runs on; in their place why, when it does not start."""
    try:
        return {"torch": _torch_devices, "onnxruntime": _onnx_devices, "openvino": _openvino_devices}[package]()
    except Exception as error:  # a broken installation may raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return [f"{NOT_STARTED}{reason}"]


def _torch_devices() -> list[str]:
    """Devices that torch finds: ``cpu``, and each CUDA device with its name."""
    import torch

    cards = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ["cpu", *(f"cuda:{index} ({name})" for index, name in enumerate(cards))]


def _onnx_devices() -> list[str]:
    """Devices that an ONNX Runtime session really opens on; what it lists as available says nothing."""
    from onnx import TensorProto, helper

    from restorecli.inference.backends.machine import has_cuda_driver
    from restorecli.onnx_runtime import onnxruntime

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
        providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        # A driver without a device that it can use is an error; falling back from it would print, too.
        with contextlib.suppress(Exception):
            session = onnxruntime.InferenceSession(model, options, providers, enable_fallback=0)
            if session.get_providers()[0] == "CUDAExecutionProvider":
                found.append("cuda")
    return found


def _openvino_devices() -> list[str]:
    from restorecli.inference.backends.openvino_backend import the_core

    return [name.lower() for name in the_core().available_devices]


def version_lines() -> list[str]:
    """restorecli and what it runs on, each with its version and its devices."""
    return [
        f"restorecli {__version__}, Python {platform.python_version()}",
        f"torch {version_of('torch')}: {', '.join(devices_of('torch'))}",
        f"ONNX Runtime {version_of('onnxruntime')}: {', '.join(devices_of('onnxruntime'))}",
        f"OpenVINO {version_of('openvino')}: {', '.join(devices_of('openvino'))}"
        if version_of("openvino")
        else "OpenVINO: not installed",
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


def try_backend(weights: Weights, backend: str = "auto", device: str = "auto", precision: str = "auto") -> Trial:
    """Open one backend, ``auto`` as a user's call would, and run one small tile on it."""
    import numpy as np

    from restorecli.inference.backends import NotFinite, OutOfMemory, open_backend, run

    try:
        opened = open_backend(weights, backend=backend, device=device, precision=precision)
        edge, small = 4 * opened.descriptor.stride, max(1, opened.descriptor.thumbnail)
        window, thumbnail = np.zeros((edge, edge, 3), np.uint8), np.zeros((small, small, 3), np.float32)
        run(opened, window, thumbnail, np.array([0, 0, 1, 1], np.float32))
    except RestoreError as error:
        return Trial(backend, device, None, str(error))
    except OutOfMemory:
        return Trial(backend, device, None, "its memory is full")
    except NotFinite:
        return Trial(backend, device, None, "it gives values that are no numbers")
    return Trial(opened.name, opened.device, opened.precision, None)
