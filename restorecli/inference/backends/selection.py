"""Opens a backend: what is asked for by name is opened or is an error; only ``auto`` chooses."""

from __future__ import annotations

import logging
import re

from restorecli.errors import BackendError, UsageError
from restorecli.inference.backends.base import Backend
from restorecli.inference.backends.choice import choose
from restorecli.inference.measure import Setting
from restorecli.models import descriptor
from restorecli.weights import Weights

_log = logging.getLogger(__name__)

BACKENDS = ("auto", "torch", "onnx", "openvino")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", *descriptor.PRECISIONS)


def open_backend(
    weights: Weights, *, backend: str = "auto", device: str = "auto", precision: str = "auto", work: int = 0
) -> Backend:
    """Load ``weights`` into a backend that is ready to run.

    ``backend`` is one of BACKENDS; ``device`` one of DEVICES or ``cuda:N``, or what the backend that is named calls its
    devices; ``precision`` one of PRECISIONS; ``work`` how many pixels are going to be restored, as far as that is
    known. :class:`UsageError` for any other word, :class:`BackendError` for what is not available on this machine or
    with these weights, :class:`~restorecli.errors.WeightsError` when they do not load.
    """
    check_names(backend, device, precision)
    if "auto" not in (backend, precision):
        return _open(weights, backend, device, precision)
    choice = choose(weights, backend, device, precision, work=work)
    settings = list(choice.settings)
    if backend == "auto" and not weights.is_onnx:
        # Where nothing that is worth choosing has the precision that was named, PyTorch may; 8 bits are OpenVINO's.
        settings.append(Setting("openvino" if precision == "int8" else "torch", device, precision))
    failure: BackendError | None = None
    for setting in settings:
        wanted = precision if setting.precision == "auto" else setting.precision
        try:
            opened = _open(weights, setting.backend, setting.device, wanted)
        except BackendError as error:
            _log.info("%s does not start: %s", setting, error)
            failure = failure or error
            continue
        _log.info("runs on %s %s in %s: %s", opened.name, opened.device, opened.precision, choice.why)
        return opened
    if device == "auto" and failure is not None and settings[0].device.startswith("cuda"):
        _log.warning("%s; the CPU does it", failure)
        return open_backend(weights, backend=backend, device="cpu", precision=precision, work=work)
    if backend == "auto" and failure is not None:
        raise failure
    # What was named does not fit, and says best itself why.
    return _open(weights, backend if backend != "auto" else "onnx" if weights.is_onnx else "torch", device, precision)


def _open(weights: Weights, backend: str, device: str, precision: str) -> Backend:
    if backend == "torch":
        if weights.is_onnx:
            raise BackendError(f"{weights.path.name} is an ONNX file, which PyTorch does not run; use --backend onnx")
        try:
            from restorecli.inference.backends.torch_backend import TorchBackend
        except (ImportError, OSError) as error:
            raise BackendError(f"PyTorch does not start ({error}); use --backend onnx") from error
        return TorchBackend(weights, device=device, precision=precision)
    if backend == "openvino":
        from restorecli.inference.backends.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(weights, device=device, precision=precision)
    try:
        from restorecli.inference.backends.onnx_backend import OnnxBackend
    except (ImportError, OSError) as error:
        raise BackendError(f"ONNX Runtime does not start ({error}); use --backend torch") from error
    return OnnxBackend(weights, device=device, precision=precision)


def check_names(backend: str, device: str, precision: str) -> None:
    """:class:`UsageError` unless the three are words that :func:`open_backend` knows."""
    if backend not in BACKENDS:
        raise UsageError(f"--backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    known = device in DEVICES or re.fullmatch(r"cuda:\d+", device)
    # The backends know best which devices of their own there are.
    if not known and (backend not in ("onnx", "openvino") or not re.fullmatch(r"[a-z]+(:\d+)?", device)):
        raise UsageError(
            f"--device must be auto, cpu, cuda or cuda:N, not {device!r} "
            "(others with --backend onnx or openvino: tensorrt, coreml, gpu, ...)"
        )
    if precision not in PRECISIONS:
        raise UsageError(f"--precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
