"""What is done about CUDA devices that are not there, are too old, or run out of memory: tried without one."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from restorecli import hardware
from restorecli.errors import BackendError
from restorecli.inference.backends import OutOfMemory, choice, machine, onnx_backend, open_backend, selection
from restorecli.inference.backends.base import Pending, Window
from restorecli.weights import Weights, resolve
from tests.inference.test_stitch import THUMBNAIL, Inverter, run_plan, tiles_of
from tests.small import noise

ONNX_CUDA = "CUDAExecutionProvider"


@pytest.fixture
def weights(weights_files: dict[str, Path]) -> Weights:
    return resolve(str(weights_files["derain"]), "derain")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Failed to allocate memory for requested buffer", OutOfMemory),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED", OutOfMemory),
        ("CUDNN failure 5000", BackendError),
    ],
)
def test_what_bound_runs_raise_is_told_apart(weights: Weights, words: str, expected: type[Exception]) -> None:
    backend = open_backend(weights, backend="onnx", device="cpu", precision="fp32")

    class Failing:
        def run_with_iobinding(self, binding: object) -> None:
            raise RuntimeError(words)

        def io_binding(self) -> Any:
            return SimpleNamespace(bind_ortvalue_input=lambda *_: None, bind_output=lambda *_: None)

    bound = onnx_backend._Bound(Failing(), 0)  # type: ignore[arg-type]
    backend._bound = bound  # type: ignore[attr-defined]
    window = Window(noise(32, 32), THUMBNAIL, np.array([0, 0, 1, 1], np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_backend.onnxruntime.OrtValue, "ortvalue_from_numpy", lambda *_: object())
        with pytest.raises(expected):
            backend.start([window], 1.0)
    assert bound._inputs == {} and bound._binding is None, "the device's memory is given back"


def test_a_card_whose_memory_is_full_is_no_internal_error(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    to = torch.nn.Module.to

    def full(self: torch.nn.Module, *args: Any, **options: Any) -> Any:
        if "memory_format" in options:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return to(self, *args, **options)

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(BackendError, match="the memory of cpu is full: close other programs"):
        open_backend(weights, backend="torch", device="cpu", precision="fp32")


def test_the_cpu_does_what_no_card_starts_for_unless_one_was_named(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_card = (choice.Setting("torch", "cuda:0", "fp16"), choice.Setting("torch", "cuda:0", "fp32"))

    def chosen(weights: Weights, backend: str, device: str, precision: str, work: int = 0) -> choice.Choice:
        return choice.Choice(on_card if device != "cpu" else (choice.Setting("torch", "cpu", "fp32"),), "a test")

    opened = selection._open

    def full(weights: Weights, backend: str, device: str, precision: str) -> Any:
        if device.startswith("cuda"):
            raise BackendError("the memory of cuda:0 is full")
        return opened(weights, backend, device, precision)

    monkeypatch.setattr(selection, "choose", chosen)
    monkeypatch.setattr(selection, "_open", full)
    assert open_backend(weights).device == "cpu"
    with pytest.raises(BackendError, match="the memory of cuda:0 is full"):
        open_backend(weights, device="cuda:0")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("[GPU] Exceeded max size of memory object allocation: requested 5 bytes", OutOfMemory),
        ("[GPU] clFinish, error code: -5 CL_OUT_OF_RESOURCES", OutOfMemory),
        ("[GPU] program build failed", BackendError),
    ],
)
def test_what_intel_s_gpus_raise_is_told_apart(weights: Weights, words: str, expected: type[Exception]) -> None:
    pytest.importorskip("openvino")
    backend = open_backend(weights, backend="openvino", device="cpu", precision="fp32")

    def fail(*args: object, **options: object) -> None:
        raise RuntimeError(words)

    backend._request = SimpleNamespace(infer=fail)  # type: ignore[attr-defined]
    with pytest.raises(expected):
        backend.start([Window(noise(32, 32), THUMBNAIL, np.array([0, 0, 1, 1], np.float32))], 1.0)


def test_the_first_of_two_gpus_of_openvino_needs_no_number(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    from restorecli.inference.backends import openvino_backend

    class Found(Exception):
        pass

    class Core:
        available_devices = ("CPU", "GPU.0", "GPU.1")

        def get_property(self, plugin: str, name: str) -> None:
            raise Found(plugin)

    monkeypatch.setattr(openvino_backend, "the_core", Core)
    for device, plugin in (("gpu", "GPU"), ("gpu:1", "GPU.1")):
        with pytest.raises(Found, match=f"^{plugin}$"):
            open_backend(weights, backend="openvino", device=device, precision="fp16")
    with pytest.raises(BackendError, match="which finds cpu, gpu:0, gpu:1"):
        open_backend(weights, backend="openvino", device="gpu:2", precision="fp16")


def test_the_bound_of_one_restorer_is_not_that_of_the_next(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend(weights, backend="torch", device="cpu", precision="fp32")
    backend._on_cuda, backend.device = True, "cuda:0"  # type: ignore[attr-defined]
    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=8e9))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, device: shares.append(share))
    for bound in (None, 2_000_000_000, None, None):
        backend.limit(bound)
    assert shares == [0.25, 1.0], "and what a program has set itself is left alone"


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_driver_without_a_device_prints_nothing(
    device: str, weights: Weights, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ort, opened = onnx_backend.onnxruntime, onnx_backend.onnxruntime.InferenceSession

    class Session(opened):  # type: ignore[misc, valid-type]
        def _create_inference_session(self, providers: Sequence[Any], *rest: Any) -> None:
            if providers and providers[0] != "CPUExecutionProvider":
                raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected")
            super()._create_inference_session(providers, *rest)

    monkeypatch.setattr(ort, "InferenceSession", Session)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [ONNX_CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnx_backend, "cuda_devices", lambda: 1)
    if device == "auto":
        assert onnx_backend.OnnxBackend(weights, device="auto", precision="auto").device == "cpu"
    else:
        with pytest.raises(BackendError, match="--device cuda does not start in ONNX Runtime: CUDA failure 100"):
            onnx_backend.OnnxBackend(weights, device=device, precision="auto")
    assert capfd.readouterr().out == ""


class Driver:
    """As much of the CUDA driver as is asked."""

    def __init__(self, devices: int = 1, told: int = 0) -> None:
        self.devices, self.told, self.held = devices, told, 0

    def cuInit(self, _: int) -> int:
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:
        device._obj.value = number
        return 0 if number < self.devices else 101

    def cuDevicePrimaryCtxRetain(self, context: Any, _: object) -> int:
        self.held += 1
        return 0

    def cuCtxPushCurrent_v2(self, _: object) -> int:
        self.held += 1
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
        free._obj.value, total._obj.value = 5 * 2**30, 8 * 2**30
        return self.told

    def cuCtxPopCurrent_v2(self, _: object) -> int:
        self.held -= 1
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, _: object) -> int:
        self.held -= 1
        return 0


@pytest.mark.parametrize(
    ("driver", "number", "expected"),
    [(Driver(), 0, 5 * 2**30), (Driver(), 1, None), (Driver(told=1), 0, None), (None, 0, None)],
)
def test_free_memory_of_a_device(
    driver: Driver | None, number: int, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_cuda_driver", lambda: driver)
    assert machine.free_cuda_memory(number) == expected
    assert driver is None or driver.held == 0


@pytest.mark.parametrize(
    ("capability", "built", "expected"),
    [
        ((8, 9), ["sm_80", "sm_90", "compute_90"], True),
        ((6, 1), ["sm_75", "sm_80", "sm_90", "sm_100", "compute_120"], False),
        ((7, 0), ["sm_75", "sm_80"], False),
        ((12, 0), ["sm_80", "compute_80"], True),
        ((9, 0), ["sm_90a"], True),
        ((9, 4), ["gfx942"], True),
    ],
)
def test_devices_that_pytorch_was_built_for(
    capability: tuple[int, int], built: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    assert hardware.cuda_has_kernels("cuda:0") is expected


def test_auto_computes_in_what_the_card_is_quick_in(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(choice, "_torch_has_cuda", lambda: True)

    def candidates(device: str = "auto") -> list[str]:
        return [f"{one.device} {one.precision}" for one in choice._candidates(weights, device)]

    monkeypatch.setattr(choice, "cuda_has_fast_bf16", lambda _: True)
    assert candidates() == ["cuda:0 bf16", "cuda:0 fp16", "cuda:0 fp32"]
    # Imitated in software, and still there for who asks for it.
    monkeypatch.setattr(choice, "cuda_has_fast_bf16", lambda _: False)
    assert candidates() == ["cuda:0 fp16", "cuda:0 fp32", "cuda:0 bf16"]
    monkeypatch.setattr(choice, "cuda_has_kernels", lambda _: False)
    assert candidates() and not any(one.startswith("cuda") for one in candidates())
    assert candidates("cuda")[0] == "cuda:0 fp16"


@pytest.mark.parametrize("together", [1, 8])
def test_a_run_that_fails_lets_go_of_its_memory(together: int) -> None:
    """With the collector off: what is held by a circle is held for as long as it takes to come by."""
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    class Greedy(Inverter):
        def start(self, windows: Sequence[Window], strength: float) -> list[Pending]:
            alive.append(sum(one() is not None for one in held))
            activations = torch.empty(8)
            held.append(weakref.ref(activations))
            try:
                return super().start(windows, strength)
            except OutOfMemory as error:
                raise OutOfMemory("no more") from error

    pixels = noise(500, 700)
    tiles = tiles_of(pixels, 96)
    gc.disable()
    try:
        outcome = run_plan(pixels, THUMBNAIL, tiles, Greedy(limit=tiles.window_pixels // 3, together=together))
    finally:
        gc.enable()
    assert outcome.halvings > 0 and np.array_equal(outcome.pixels, 255 - pixels)
    assert max(alive) == 0
