"""Backends agree with one another, and say so when they cannot do what was asked."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from restorecli.errors import BackendError, UsageError, WeightsError
from restorecli.inference.backends import open_backend, selection
from restorecli.inference.backends.machine import free_main_memory, threads
from restorecli.weights import Weights, resolve
from tests.small import noise

TASKS = ("derain", "dehaze")


def weights_for(task: str, files: dict[str, Path]) -> Weights:
    return resolve(str(files[task]), task)


def example(height: int = 144, width: int = 208) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tile, the thumbnail of its photo, and where in it the tile lies: beyond the right edge, too."""
    photo = noise(height, width).astype(np.float32) / 255
    return photo, noise(64, 64, seed=1).astype(np.float32) / 255, np.array([0.1, 0.3, 0.7, 1.1], np.float32)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_other_backends_give_what_torch_gives(task: str, backend: str, weights_files: dict[str, Path]) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    weights = weights_for(task, weights_files)
    torch_backend = open_backend(weights, backend="torch", device="cpu", precision="fp32")
    other = open_backend(weights, backend=backend, device="cpu", precision="fp32")
    assert (other.name, other.device, other.precision) == (backend, "cpu", "fp32")
    for size in [(16, 16), (144, 208), (16, 1008)]:
        photo, thumbnail, place = example(*size)
        wanted = torch_backend.run(photo, thumbnail, place)
        assert wanted.shape == photo.shape and wanted.dtype == np.float32
        assert np.abs(wanted - photo).max() > 5 / 255, "the network does something"
        assert np.abs(other.run(photo, thumbnail, place) - wanted).max() < 0.05 / 255


@pytest.mark.parametrize("task", TASKS)
def test_bf16_is_close_to_fp32(task: str, weights_files: dict[str, Path]) -> None:
    weights = weights_for(task, weights_files)
    photo, thumbnail, place = example()
    exact = open_backend(weights, backend="torch", device="cpu", precision="fp32").run(photo, thumbnail, place)
    narrow = open_backend(weights, backend="torch", device="cpu", precision="bf16")
    assert narrow.precision == "bf16"
    given = narrow.run(photo, thumbnail, place)
    assert given.dtype == np.float32
    assert np.abs(given - exact).max() < 0.1 * np.abs(exact - photo).max()


def test_results_are_not_overwritten_by_the_next(weights_files: dict[str, Path]) -> None:
    photo, thumbnail, place = example(32, 32)
    for name in ("torch", "onnx"):
        backend = open_backend(weights_for("derain", weights_files), backend=name, device="cpu", precision="fp32")
        first = backend.run(photo, thumbnail, place)
        kept = first.copy()
        backend.run(1 - photo, thumbnail, place)
        assert np.array_equal(first, kept)


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
    assert open_backend(weights, device="cpu").name == "onnx"
    with pytest.raises(BackendError, match="--backend onnx"):
        open_backend(weights, backend="torch")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_precisions_that_a_backend_has_not(backend: str, precision: str, weights_files: dict[str, Path]) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    with pytest.raises(BackendError, match=f"--precision {precision}"):
        open_backend(weights_for("derain", weights_files), backend=backend, device="cpu", precision=precision)


def test_precisions_that_the_weights_do_not_work_in(weights_files: dict[str, Path]) -> None:
    weights = weights_for("derain", weights_files)
    fragile = replace(weights, descriptor=replace(weights.descriptor, dtypes=("fp32",)))
    with pytest.raises(BackendError, match="bf16 is not one of fp32"):
        open_backend(fragile, backend="torch", device="cpu", precision="bf16")
    assert open_backend(fragile, backend="torch", device="cpu").precision == "fp32"


@pytest.mark.parametrize("wrong", [{"backend": "jax"}, {"device": "gpu"}, {"device": "cuda:x"}, {"precision": "int8"}])
def test_unknown_words_are_a_matter_of_usage(wrong: dict[str, str], weights_files: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="must be"):
        open_backend(weights_for("derain", weights_files), **wrong)


@pytest.mark.parametrize(("bf16", "chosen"), [(True, ("torch", "bf16")), (False, ("onnx", "fp32"))])
def test_auto_on_a_cpu_takes_what_is_fastest(
    bf16: bool, chosen: tuple[str, str], weights_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from restorecli.inference.backends import torch_backend

    monkeypatch.setattr(selection, "cpu_has_fast_bf16", lambda: bf16)
    monkeypatch.setattr(torch_backend, "cpu_has_fast_bf16", lambda: bf16)
    weights = weights_for("derain", weights_files)
    backend = open_backend(weights, device="cpu")
    assert (backend.name, backend.precision) == chosen
    assert open_backend(weights, device="cpu", precision="fp32").name == "onnx"
    assert open_backend(replace(weights, onnx=None), device="cpu").precision == ("bf16" if bf16 else "fp32")


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


@pytest.mark.parametrize(("torch_has_it", "chosen"), [(True, "torch"), (False, "onnx")])
def test_a_cuda_driver_alone_does_not_choose_torch(
    torch_has_it: bool, chosen: str, weights_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(selection, "cpu_has_fast_bf16", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: torch_has_it)
    assert selection._choose(weights_for("derain", weights_files), "auto", "auto") == chosen


def test_an_engine_that_does_not_start_is_a_backend_error(
    weights_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, package in (("torch", "torch"), ("onnx", "onnxruntime")):
        monkeypatch.delitem(sys.modules, f"restorecli.inference.backends.{name}_backend", raising=False)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(BackendError, match="does not start"):
            open_backend(weights_for("derain", weights_files), backend=name, device="cpu")
