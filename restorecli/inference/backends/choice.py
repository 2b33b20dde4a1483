"""What ``auto`` means on this machine: measured once and remembered, or a rule of thumb until then.

All backends give the same photo within the stated tolerance, so the choice is one of speed alone. Measuring takes some
ten seconds; it is done when much more work than that is ahead, and by ``restore benchmark``.
"""

from __future__ import annotations

import logging
import math
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from restorecli import __version__
from restorecli.hardware import cpu_has_fast_bf16, cpu_has_fast_int8, cpu_name, cuda_has_fast_bf16, cuda_has_kernels
from restorecli.inference import remembered
from restorecli.inference.backends.machine import has_cuda_driver, threads
from restorecli.inference.footprint import default_window
from restorecli.inference.measure import Measurement, Setting, measure
from restorecli.weights import Weights

_log = logging.getLogger(__name__)

WORTH_MEASURING = 150_000_000
"""Pixels ahead from which on measuring first is quicker: restoring them takes several times as long."""
_WORTH_NARROWING = 1.05
"""How much faster a narrow precision must be than fp32, which is closer to the truth, to be chosen."""
_NO_LONGER = 1.5
"""A setting whose first run takes so much longer than the best so far is not run again."""
_TIMEOUT = 60.0
_PACKAGES = ("torch", "onnxruntime", "onnxruntime-gpu", "openvino")
# Elsewhere ONNX Runtime's kernels are the better tuned ones.
_HOME_OF_OPENVINO = ("x86_64", "AMD64")


@dataclass(frozen=True)
class Choice:
    """What ``auto`` came to."""

    settings: tuple[Setting, ...]
    """Best first; one that does not start after all leaves its place to the next."""
    why: str
    figures: tuple[tuple[Setting, float], ...] = ()
    """Seconds per megapixel of each setting that was measured."""


def choose(weights: Weights, backend: str, device: str, precision: str, *, work: int = 0) -> Choice:
    """The best way of running ``weights`` among those that fit what was asked for.

    ``backend``, ``device`` and ``precision`` are ``auto`` or what has to be; ``work`` is how many pixels are going to
    be restored, as far as that is known. No setting at all is left only when nothing fits.
    """
    asked = Setting(backend, device, precision)
    candidates = [setting for setting in _candidates(weights, device) if fits(setting, asked)]
    if len(candidates) < 2:
        return Choice(tuple(candidates), "nothing else fits what was asked for")
    known = recall(weights, candidates[0].device)
    missing = [setting for setting in candidates if setting not in known]
    if missing and work >= WORTH_MEASURING and sys.executable:
        _log.info("much work is ahead: measuring what is fastest on this machine, once")
        known |= _measured(weights, missing, known)
        remember(weights, candidates[0].device, known)
        missing = [setting for setting in candidates if setting not in known]
    if missing:
        rule = "by a rule of thumb; `restore benchmark` measures it, and so does a job that takes minutes"
        return Choice(tuple(candidates), rule)
    best = sorted(candidates, key=lambda setting: _cost(setting, known))
    figures = tuple((setting, known[setting]) for setting in best)
    told = ", ".join(f"{setting.backend} {setting.precision} {_figure(seconds)}" for setting, seconds in figures)
    return Choice(tuple(best), f"measured on this machine, seconds per megapixel: {told}", figures)


def recall(weights: Weights, device: str) -> dict[Setting, float]:
    """Seconds per megapixel of all settings that were measured here with these weights and versions.

    Infinite for one that did not run.
    """
    return {Setting(*key.split()): seconds for key, seconds in remembered.load(_key(weights, device)).items()}


def remember(weights: Weights, device: str, figures: dict[Setting, float]) -> None:
    """Keep what :func:`recall` gives; where that cannot be, nothing happens."""
    remembered.store(_key(weights, device), {str(setting): seconds for setting, seconds in figures.items()})


def every_setting(weights: Weights, device: str) -> list[Setting]:
    """All settings on ``device`` (``auto``, ``cpu``, ``cuda`` or ``cuda:N``) that may be worth running.

    Those that ``auto`` chooses among, and with ``auto`` those on the CPU of a machine with a CUDA device.
    """
    found = _candidates(weights, device)
    if found and found[0].device.startswith("cuda") and weights.onnx is not None and not weights.is_onnx:
        found += [Setting("onnx", found[0].device, "auto")]
    return found if device != "auto" else [*found, *(s for s in _candidates(weights, "cpu") if s not in found)]


def _candidates(weights: Weights, device: str) -> list[Setting]:
    """What may be the fastest on this machine, best first by a rule of thumb."""
    known = weights.descriptor.dtypes
    runs_torch = not weights.is_onnx and _is_there("torch")
    if device.startswith("cuda") or (device == "auto" and has_cuda_driver()):
        if weights.is_onnx:
            return [Setting("onnx", device, "auto")]
        if _torch_has_cuda():
            place = "cuda:0" if device in ("auto", "cuda") else device
            if device != "auto" or cuda_has_kernels(place):
                best_first = ("bf16", "fp16", "fp32") if cuda_has_fast_bf16(place) else ("fp16", "fp32", "bf16")
                return [Setting("torch", place, name) for name in best_first if name in (*known, "fp32")]
    if device not in ("auto", "cpu"):
        return []
    narrow = ["bf16"] if "bf16" in known and cpu_has_fast_bf16() else []
    runs_openvino = weights.onnx is not None and _is_there("openvino")
    runs_onnx = weights.onnx is not None and _is_there("onnxruntime")
    integers = ["int8"] if weights.ranges and cpu_has_fast_int8() else []
    found = [Setting("openvino", "cpu", name) for name in (*narrow, *integers, "fp32") if runs_openvino]
    if platform.machine() not in _HOME_OF_OPENVINO:
        found.reverse()
    torch_bf16 = [Setting("torch", "cpu", name) for name in narrow if runs_torch]
    onnx = [Setting("onnx", "cpu", "auto")] if runs_onnx else []
    torch_fp32 = [Setting("torch", "cpu", "fp32")] if runs_torch else []
    if platform.machine() in _HOME_OF_OPENVINO:
        return [*found[:-1], *torch_bf16, *found[-1:], *onnx, *torch_fp32]
    return [*torch_bf16, *onnx, *found, *torch_fp32]


def fits(setting: Setting, asked: Setting) -> bool:
    """Whether ``setting`` is of the backend and the precision that were asked for."""
    # The ONNX file's own precision shows only when it is opened.
    precisions = {asked.precision, *(("auto",) if asked.precision in ("fp32", "fp16") else ())}
    return (asked.backend in ("auto", setting.backend)) and (
        asked.precision == "auto" or setting.precision in precisions
    )


def _measured(weights: Weights, settings: Iterable[Setting], known: dict[Setting, float]) -> dict[Setting, float]:
    best, found = min(known.values(), default=math.inf), {}
    for setting in settings:
        result = probe(weights, setting, best)
        if result.problem is not None:
            _log.info("%s does not run: %s", setting, result.problem)
        # The best of the runs: what others on the machine took is not the setting's fault.
        found[setting] = min(result.seconds, default=math.inf) / (result.megapixels or 1)
        _log.info("%s: %s s a megapixel", setting, _figure(found[setting]))
        best = min(best, found[setting])
    return found


def probe(
    weights: Weights, setting: Setting, best: float = math.inf, run: Callable[..., Measurement] = measure
) -> Measurement:
    """Measure one setting on one window of the size that photos are cut into; a slow one once only."""
    precision = setting.precision if setting.precision != "auto" else "fp32"
    stride = weights.descriptor.stride
    edge = max(stride, math.isqrt(default_window(weights.descriptor, setting.backend, precision)) // stride * stride)
    give_up = None if math.isinf(best) else _NO_LONGER * best * edge**2 / 1e6
    return run(weights, setting, height=edge, width=edge, runs=2, give_up=give_up, timeout=_TIMEOUT)


def _cost(setting: Setting, known: dict[Setting, float]) -> float:
    return known[setting] * (1.0 if setting.precision in ("fp32", "auto") else _WORTH_NARROWING)


def _key(weights: Weights, device: str) -> dict[str, str]:
    """All that the figures depend on."""
    versions = {name: _version(name) for name in _PACKAGES}
    place = {"cpu": cpu_name(), "threads": str(threads())}
    if device.startswith("cuda"):
        import torch

        try:
            place["gpu"] = torch.cuda.get_device_name(device)
        except (RuntimeError, AssertionError):  # no such device, which opening it will say
            place["gpu"] = ""
    return {"weights": weights.sha256, "restorecli": __version__, **versions, **place}


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # what sits in its place is no module
        return False


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _torch_has_cuda() -> bool:
    try:
        import torch
    except (ImportError, OSError):
        return False
    return torch.cuda.is_available()


def _figure(seconds: float) -> str:
    return "-" if math.isinf(seconds) else f"{seconds:.3g}"
