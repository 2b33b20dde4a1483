"""What runs on CUDA devices; each test is skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from restorecli.inference.backends.machine import cuda_devices
from restorecli.inference.devices import engines_for
from restorecli.inference.engine import Details
from restorecli.inference.jobs import Job, Result
from restorecli.inference.pipeline import run
from restorecli.inference.restorer import Restorer
from restorecli.photo import Photo, write_photo
from tests.small import noise

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device on this machine")

TASKS = ("derain", "dehaze")
# bf16 keeps eight bits: so far are it and fp32 from one another on photographs, on a CPU too.
LEVELS = {"fp32": 1, "fp16": 2, "bf16": 4}


def restored(task: str, photo: np.ndarray, **engine: object) -> tuple[np.ndarray, Details]:
    found, details = Restorer(task, **engine).restore_photo(Photo(photo))  # type: ignore[arg-type]
    return found.pixels.astype(int), details


def photograph(height: int, width: int) -> np.ndarray:
    return cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("precision", LEVELS)
def test_torch_agrees_with_the_cpu(task: str, precision: str) -> None:
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this CUDA device does not compute in bf16")
    for photo in (photograph(509, 387), noise(120, 130, dtype=np.uint16), noise(120, 130, 1)):
        scale = np.iinfo(photo.dtype).max // 255
        wanted, _ = restored(task, photo, backend="torch", device="cpu", precision="fp32")
        found, details = restored(task, photo, backend="torch", device="cuda", precision=precision)
        assert (details.device, details.precision, details.notes) == ("cuda:0", precision, ())
        assert np.abs(found - wanted).max() <= LEVELS[precision] * scale


@pytest.mark.parametrize("task", TASKS)
def test_onnx_runtime_agrees_with_the_cpu(task: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime is built without CUDA")
    photo = photograph(509, 387)
    wanted, _ = restored(task, photo, backend="torch", device="cpu", precision="fp32")
    # Tiles of several shapes, so that what is bound to one is bound anew.
    for tile in ("auto", 128):
        found, details = restored(task, photo, backend="onnx", device="cuda", tile=tile)
        assert details.device == "cuda:0" and np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("precision", "levels"), [("fp32", 1), ("fp16", 2), ("bf16", 2)])
def test_tiled_is_whole_and_tiles_share_runs(task: str, precision: str, levels: int) -> None:
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this CUDA device does not compute in bf16")
    photo = photograph(1201, 1399)
    whole, one = restored(task, photo, backend="torch", device="cuda", precision=precision)
    tiled, many = restored(task, photo, backend="torch", device="cuda", precision=precision, tile=128)
    assert one.tiles == 1 < many.tiles
    assert np.abs(whole - tiled).max() <= levels


def test_memory_that_runs_out_halves_the_tile() -> None:
    photo = photograph(1600, 2000)
    wanted, _ = restored("derain", photo, backend="torch", device="cuda", precision="fp32")
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + 400_000_000
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(0).total_memory)
    try:
        found, details = restored("derain", photo, backend="torch", device="cuda", precision="fp32", tile=4096)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert details.tiles > 1 and "halved" in details.notes[0]
    assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_memory_bound_is_kept(precision: str) -> None:
    bound = 600_000_000
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    try:
        _, details = restored(
            "derain", photograph(2400, 3600), backend="torch", device="cuda", precision=precision, max_memory=bound
        )
        assert details.tiles > 1 and details.notes == ()
        assert torch.cuda.max_memory_reserved() - before <= bound
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def results_of(folder: Path, asked: str, photos: int) -> list[Result]:
    jobs = [Job(folder / f"{index}.png", folder / "out" / f"{index}.png") for index in range(photos)]
    for seed, job in enumerate(jobs):
        write_photo(Photo(noise(320, 480, seed=seed)), job.source)
    engines = engines_for(Restorer("derain", backend="torch", device=asked, precision="fp32").engine, asked, len(jobs))
    results: list[Result] = []
    run(
        jobs,
        engines,
        overwrite=True,
        format="same",
        quality=95,
        workers=4,
        max_pixels=10**6,
        on_result=results.append,
    )
    assert [result.job for result in results] == jobs
    for seed, job in enumerate(jobs):
        wanted, _ = restored("derain", noise(320, 480, seed=seed), backend="torch", device="cpu", precision="fp32")
        written = cv2.cvtColor(cv2.imread(str(job.target)), cv2.COLOR_BGR2RGB)
        assert np.abs(written - wanted).max() <= 1
    return results


def test_photos_share_runs(tmp_path: Path) -> None:
    results = results_of(tmp_path, "cuda:0", 6)
    assert {result.details.device for result in results if result.details} == {"cuda:0"}


def test_a_folder_on_all_devices(tmp_path: Path) -> None:
    assert cuda_devices() == torch.cuda.device_count()
    if cuda_devices() < 2:
        pytest.skip("there is one CUDA device only")
    results = results_of(tmp_path, "cuda", 24)
    used = {result.details.device for result in results if result.details}
    assert used == {f"cuda:{number}" for number in range(cuda_devices())}
