"""Backends agree with one another, and say so when they cannot do what was asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import restorecli
from restorecli.errors import BackendError, UsageError, WeightsError
from restorecli.export import export_onnx
from restorecli.hardware import cpu_has_fast_bf16
from restorecli.inference.backends import Backend, NotFinite, open_backend, run
from restorecli.inference.backends.base import levels as levels_of
from restorecli.inference.backends.base import planes
from restorecli.inference.backends.machine import free_main_memory, threads
from restorecli.weights import Weights, load_network, resolve
from tests.small import noise

TASKS = ("derain", "dehaze")


def weights_for(task: str, files: dict[str, Path]) -> Weights:
    return resolve(str(files[task]), task)


def example(height: int = 144, width: int = 208) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tile, the thumbnail of its photo, and where in it the tile lies: beyond the right edge, too."""
    photo, thumbnail = noise(height, width, dtype=np.uint16), noise(64, 64, seed=1).astype(np.float32) / 255
    return photo, thumbnail, np.array([0.1, 0.3, 0.7, 1.1], np.float32)


def levels(restored: np.ndarray) -> np.ndarray:
    """16 bits as levels of 255."""
    return restored.astype(np.float64) / 257


def opened(task: str, files: dict[str, Path], name: str, precision: str = "fp32") -> Backend:
    if name == "openvino":
        pytest.importorskip("openvino")
    return open_backend(weights_for(task, files), backend=name, device="cpu", precision=precision)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("backend", ["torch", "onnx", "openvino"])
def test_all_backends_give_what_the_network_gives(task: str, backend: str, weights_files: dict[str, Path]) -> None:
    network = load_network(weights_for(task, weights_files))
    other = opened(task, weights_files, backend)
    assert (other.name, other.device, other.precision) == (backend, "cpu", "fp32")
    for size in [(16, 16), (144, 208), (16, 1008)]:
        photo, thumbnail, place = example(*size)
        given = torch.from_numpy(photo.astype(np.float32) / 65535).permute(2, 0, 1)[None]
        with torch.inference_mode():
            small = torch.from_numpy(thumbnail).permute(2, 0, 1)[None]
            wanted = network(given, small, torch.from_numpy(place)[None]).clamp(0, 1)
        wanted = wanted[0].permute(1, 2, 0).numpy() * 255
        assert np.abs(wanted - levels(photo)).max() > 5, "the network does something"
        deep = run(other, photo, thumbnail, place)
        assert deep.dtype == np.uint16 and deep.shape == photo.shape
        assert np.abs(levels(deep) - wanted).max() < 0.05
        # Eight bits are rounded once; strength blends with what was given.
        shallow = np.rint(levels(photo)).astype(np.uint8)
        for strength in (0.0, 0.3, 1.0):
            wanted = shallow + strength * (levels(run(other, shallow * np.uint16(257), thumbnail, place)) - shallow)
            result = run(other, shallow, thumbnail, place, strength)
            assert result.dtype == np.uint8 and np.abs(result - wanted).max() < 0.55


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_bf16_is_close_to_fp32(task: str, backend: str, weights_files: dict[str, Path]) -> None:
    if backend == "openvino" and not cpu_has_fast_bf16():
        pytest.skip("this CPU does not multiply bf16 in hardware, and OpenVINO does not pretend to")
    photo, thumbnail, place = example()
    exact = run(opened(task, weights_files, "torch"), photo, thumbnail, place)
    narrow = opened(task, weights_files, backend, "bf16")
    assert narrow.precision == "bf16"
    difference = np.abs(levels(run(narrow, photo, thumbnail, place)) - levels(exact))
    assert 0 < difference.max() < 0.1 * np.abs(levels(exact) - levels(photo)).max()


def test_openvino_runs_half_precision_files_in_bf16(weights_files: dict[str, Path], tmp_path: Path) -> None:
    """What OpenVINO takes by itself where a CPU has it; weights with a guide are then read in two models."""
    pytest.importorskip("openvino")
    if not cpu_has_fast_bf16():
        pytest.skip("this CPU does not multiply bf16 in hardware, and OpenVINO does not pretend to")
    half = tmp_path / "half.onnx"
    export_onnx(weights_for("dehaze", weights_files), half, precision="fp16")
    photo, thumbnail, place = example()
    exact = run(opened("dehaze", weights_files, "torch"), photo, thumbnail, place)
    narrow = open_backend(resolve(str(half), "dehaze"), device="cpu")
    assert (narrow.name, narrow.precision) == ("openvino", "bf16")
    difference = np.abs(levels(run(narrow, photo, thumbnail, place)) - levels(exact))
    assert difference.max() < 0.1 * np.abs(levels(exact) - levels(photo)).max()


@pytest.mark.parametrize("backend", ["torch", "onnx", "openvino"])
def test_results_are_not_overwritten_by_the_next(backend: str, weights_files: dict[str, Path]) -> None:
    photo, thumbnail, place = example(32, 32)
    engine = opened("derain", weights_files, backend)
    first = run(engine, photo, thumbnail, place)
    kept = first.copy()
    run(engine, 65535 - photo, thumbnail, place)
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_told_of(value: float, weights_files: dict[str, Path]) -> None:
    photo, thumbnail, place = example(32, 32)
    thumbnail[0, 0, 0] = value
    # OpenVINO's rectifiers turn such values into 0, so it is told by what all ONNX backends share.
    for backend in ("torch", "onnx"):
        with pytest.raises(NotFinite):
            run(opened("derain", weights_files, backend), photo, thumbnail, place)
    restored = planes(photo)
    restored[0, 1, 5, 7] = value
    with pytest.raises(NotFinite):
        levels_of(restored[0], photo, planes(photo)[0], 1.0)


def test_onnx_backends_leave_torch_alone_and_send_nothing(weights_files: dict[str, Path], tmp_path: Path) -> None:
    # In a new process: what this one has imported already is imported no more.
    code = """
        import socket, sys
        import numpy as np
        reached = []
        sys.addaudithook(lambda event, values: event.startswith("socket.") and reached.append((event, values)))
        from restorecli.inference.restorer import Restorer
        for backend in sys.argv[2:]:
            restorer = Restorer("derain", weights=sys.argv[1], backend=backend, device="cpu", precision="fp32")
            restorer.restore(np.zeros((40, 50, 3), np.uint8))
        import openvino
        openvino.convert_model(sys.argv[1].replace(".safetensors", ".onnx"))
        assert not reached, reached
        assert "torch" not in sys.modules
        assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
    """
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", textwrap.dedent(code), str(weights_files["derain"]), "onnx", "openvino"]
    environment = {**os.environ, "HOME": str(tmp_path), "CI": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for library in ("openvino", "onnxruntime"):
        assert not [*tmp_path.rglob(f"*{library}*")], "its telemetry leaves a file with an identity when it is at work"


def test_onnx_runtime_is_imported_in_the_one_place_where_it_is_silenced() -> None:
    package = Path(restorecli.__file__).parent
    importing = [
        path for path in package.rglob("*.py") if re.search(r"(?m)^\s*(import|from) onnxruntime", path.read_text())
    ]
    assert [path.name for path in importing] == ["onnx_runtime.py"]


def test_cuda_that_is_not_there_is_an_error(weights_files: dict[str, Path]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    for backend in ("auto", "torch", "onnx", "openvino"):
        if backend == "openvino":
            pytest.importorskip("openvino")
        with pytest.raises(BackendError, match="--device cuda"):
            open_backend(weights_for("derain", weights_files), backend=backend, device="cuda")


def test_weights_without_onnx_say_how_to_get_it(weights_files: dict[str, Path]) -> None:
    weights = replace(weights_for("derain", weights_files), onnx=None)
    with pytest.raises(BackendError, match="restore export"):
        open_backend(weights, backend="onnx")
    assert open_backend(weights, device="cpu").name == "torch"


def test_an_onnx_file_alone_runs_on_onnx_runtime(weights_files: dict[str, Path]) -> None:
    weights = resolve(str(weights_files["derain"].with_suffix(".onnx")), "derain")
    assert open_backend(weights, device="cpu").name in ("onnx", "openvino")
    with pytest.raises(BackendError, match="--backend onnx"):
        open_backend(weights, backend="torch")


def test_a_signal_finds_its_handler_after_engines_came_and_went(weights_files: dict[str, Path]) -> None:
    pytest.importorskip("openvino")
    code = """
        import gc, signal, sys
        from pathlib import Path
        from restorecli.inference.backends import open_backend
        from restorecli.weights import resolve
        engines = [open_backend(resolve(sys.argv[1], "derain"), backend="openvino", device="cpu") for _ in range(3)]
        while engines:
            engines.pop(0)
            gc.collect()
        signal.signal(signal.SIGINT, lambda *_: print("handled"))
        signal.raise_signal(signal.SIGINT)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(weights_files["derain"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.parametrize(("backend", "precision"), [("onnx", "bf16"), ("onnx", "fp16"), ("openvino", "fp16")])
def test_precisions_that_a_backend_has_not(backend: str, precision: str, weights_files: dict[str, Path]) -> None:
    if backend == "openvino":
        core = pytest.importorskip("openvino").Core()
        if precision.upper() in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            pytest.skip(f"OpenVINO computes in {precision} on this CPU")
    with pytest.raises(BackendError, match=f"--precision {precision}"):
        open_backend(weights_for("derain", weights_files), backend=backend, device="cpu", precision=precision)


def test_auto_takes_the_backend_that_has_a_precision(weights_files: dict[str, Path]) -> None:
    found = open_backend(weights_for("derain", weights_files), device="cpu", precision="fp16")
    assert (found.name, found.precision) == ("torch", "fp16")


def test_a_cpu_has_no_number(weights_files: dict[str, Path]) -> None:
    with pytest.raises(BackendError, match="cpu:1"):
        open_backend(weights_for("derain", weights_files), backend="onnx", device="cpu:1")


def test_precisions_that_the_weights_do_not_work_in(weights_files: dict[str, Path]) -> None:
    weights = weights_for("derain", weights_files)
    fragile = replace(weights, descriptor=replace(weights.descriptor, dtypes=("fp32",)))
    with pytest.raises(BackendError, match="bf16 is not one of fp32"):
        open_backend(fragile, backend="torch", device="cpu", precision="bf16")
    assert open_backend(fragile, backend="torch", device="cpu").precision == "fp32"


@pytest.mark.parametrize(
    "wrong",
    [
        {"backend": "jax"},
        {"device": "gpu"},
        {"device": "cuda:x"},
        {"precision": "int4"},
        {"backend": "onnx", "device": "quantum", "precision": "fp32"},
        {"backend": "onnx", "device": "CPU:"},
    ],
)
def test_unknown_words_are_a_matter_of_usage(wrong: dict[str, str], weights_files: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"must be|it knows .*tensorrt"):
        open_backend(weights_for("derain", weights_files), **wrong)


@pytest.mark.parametrize(("backend", "device"), [("onnx", "tensorrt"), ("onnx", "coreml:1"), ("openvino", "gpu:7")])
def test_other_devices_that_are_not_there_are_an_error(
    backend: str, device: str, weights_files: dict[str, Path]
) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    with pytest.raises(BackendError, match=f"--device {device} ") as caught:
        open_backend(weights_for("derain", weights_files), backend=backend, device=device)
    assert caught.value.exit_code == 4


def test_a_damaged_onnx_file_is_a_weights_error(weights_files: dict[str, Path], tmp_path: Path) -> None:
    whole = weights_files["derain"].with_suffix(".onnx").read_bytes()
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(whole[: len(whole) // 2])
    weights = replace(weights_for("derain", weights_files), onnx=damaged)
    for backend in ("onnx", "openvino"):
        if backend == "openvino":
            pytest.importorskip("openvino")
        with pytest.raises(WeightsError, match=r"damaged\.onnx"):
            open_backend(weights, backend=backend, device="cpu")


def test_openvino_names_the_package_to_install(weights_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(BackendError, match="pip install openvino"):
        open_backend(weights_for("derain", weights_files), backend="openvino", device="cpu")


def test_threads_heed_the_usual_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "10000")
    assert 1 <= threads() < 10000
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert threads() >= 1


def test_free_memory_is_known_or_none() -> None:
    free = free_main_memory()
    assert free is None or free > 0


def test_an_engine_that_does_not_start_is_a_backend_error(
    weights_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, package in (("torch", "torch"), ("onnx", "onnxruntime")):
        monkeypatch.delitem(sys.modules, f"restorecli.inference.backends.{name}_backend", raising=False)
        monkeypatch.delitem(sys.modules, "restorecli.onnx_runtime", raising=False)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(BackendError, match="does not start"):
            open_backend(weights_for("derain", weights_files), backend=name, device="cpu")
