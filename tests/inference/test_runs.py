"""Windows of several photos in one run, and several engines side by side: nobody can tell from the results."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from restorecli.errors import BackendError, PhotoError
from restorecli.inference import devices
from restorecli.inference.backends import open_backend, run
from restorecli.inference.backends.base import Window
from restorecli.inference.devices import engines_for
from restorecli.inference.engine import Engine
from restorecli.inference.jobs import Job, Result
from restorecli.inference.lanes import in_order
from restorecli.inference.pipeline import run as run_jobs
from restorecli.inference.restorer import Restorer
from restorecli.inference.runs import Runs
from restorecli.inference.stitch import start_plan
from restorecli.photo import Photo, read_photo, write_photo
from restorecli.weights import resolve
from tests.inference.test_stitch import THUMBNAIL, Inverter, run_plan, tiles_of
from tests.small import noise


@pytest.mark.parametrize("backend", ["torch", "onnx", "openvino"])
def test_windows_together_are_windows_alone(backend: str, weights_files: dict[str, Path]) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    opened = open_backend(
        resolve(str(weights_files["dehaze"]), "dehaze"), backend=backend, device="cpu", precision="fp32"
    )
    windows = [
        Window(
            noise(96, 128, seed=seed),
            noise(64, 64, seed=9 - seed).astype(np.float32) / 255,
            np.array([0.1 * seed, 0, 0.5, 1], np.float32),
        )
        for seed in range(3)
    ]
    for strength in (0.4, 1.0):
        for window, pending in zip(windows, opened.start(windows, strength), strict=True):
            alone = run(opened, window.pixels, window.thumbnail, window.place, strength)
            together = pending()
            assert together.dtype == np.uint8 and np.abs(together.astype(int) - alone).max() <= 1
            assert np.abs(together.astype(int) - window.pixels).max() > 3


@pytest.mark.parametrize("ahead", [0, 1])
def test_tiles_of_one_shape_share_runs_within_their_pixels(ahead: int) -> None:
    pixels = noise(500, 700)
    tiles = tiles_of(pixels, 96)
    backend = Inverter(ahead=ahead, together=8)
    begun = start_plan(pixels, THUMBNAIL, tiles, Runs(backend, pixels=5 * tiles.window_pixels + 1))
    assert begun.under_way > 0, "something is started before anyone waits"
    assert np.array_equal(begun.whole().pixels, 255 - pixels)
    assert max(backend.runs) == 5 and sum(backend.runs) == len(tiles.tiles)
    assert len(backend.runs) == -(-len(tiles.tiles) // 5)


def test_memory_for_few_windows_makes_smaller_runs_and_no_smaller_tiles() -> None:
    pixels = noise(500, 700)
    tiles = tiles_of(pixels, 96)
    backend = Inverter(limit=3 * tiles.window_pixels, together=8)
    outcome = run_plan(pixels, THUMBNAIL, tiles, backend)
    assert np.array_equal(outcome.pixels, 255 - pixels)
    assert outcome.halvings == 0 and 1 < max(backend.runs) <= 3
    # Even one is too much: as without runs.
    backend = Inverter(limit=tiles.window_pixels - 1, together=8)
    outcome = run_plan(pixels, THUMBNAIL, tiles, backend)
    assert np.array_equal(outcome.pixels, 255 - pixels) and outcome.halvings > 0


def test_one_window_that_is_not_finite_spoils_no_other_of_its_run() -> None:
    pixels, exact = noise(500, 700), Inverter()
    outcome = run_plan(
        pixels, THUMBNAIL, tiles_of(pixels), Inverter(broken=(1, 3), together=8), exact_backend=lambda: exact
    )
    assert np.array_equal(outcome.pixels, 255 - pixels)
    assert outcome.repeated == len(exact.calls) == 2


def new_engine(weights_files: dict[str, Path]) -> Engine:
    return Restorer(
        "derain", weights=str(weights_files["derain"]), backend="torch", device="cpu", precision="fp32", ensemble=1
    ).engine


def folder_of(place: Path, sizes: list[tuple[int, int]]) -> list[Job]:
    jobs = [Job(place / f"{index}.png", place / "out" / f"{index}.png") for index in range(len(sizes))]
    for seed, (job, size) in enumerate(zip(jobs, sizes, strict=True)):
        write_photo(Photo(noise(*size, seed=seed)), job.source)
    return jobs


def run_all(jobs: list[Job], *engines: Engine, **options: object) -> list[Result]:
    results: list[Result] = []
    values = {"overwrite": True, "format": "same", "quality": 95, "workers": 3, "max_pixels": 10**6} | options
    run_jobs(jobs, engines, on_result=results.append, **values)  # type: ignore[arg-type]
    return results


SIZES = [(40, 50)] * 5 + [(300, 200), (40, 50), (40, 50), (1, 1)]


@pytest.mark.parametrize("engines", [1, 3])
@pytest.mark.parametrize("together", [1, 4])
def test_photos_come_out_as_alone_and_in_order(
    engines: int, together: int, weights_files: dict[str, Path], tmp_path: Path
) -> None:
    jobs = folder_of(tmp_path, SIZES)
    jobs[2].source.write_bytes(jobs[2].source.read_bytes()[:200])
    alone = new_engine(weights_files)
    opened = [new_engine(weights_files) for _ in range(engines)]
    runs: list[int] = []
    for engine in opened:
        engine.backend.together = together

        def counted(windows: list[Window], strength: float, start=engine.backend.start) -> object:
            runs.append(len(windows))
            return start(windows, strength)

        engine.backend.start = counted  # type: ignore[method-assign]
    seen: list[tuple[Job, int, int]] = []
    results = run_all(jobs, *opened, on_progress=lambda *values: seen.append(values))
    assert [result.job for result in results] == jobs
    assert [result.status for result in results] == ["restored", "restored", "failed"] + ["restored"] * 6
    assert sum(runs) == 8 and (max(runs) > 1) == (together > 1)
    for job in jobs[:2] + jobs[3:]:
        wanted = alone.start(read_photo(job.source)).wait()[0].pixels.astype(int)
        assert np.abs(read_photo(job.target).pixels - wanted).max() <= 1
    assert {job for job, done, total in seen if done == total} == set(jobs) - {jobs[2]}


def test_what_fails_on_one_of_several_devices_ends_the_run(weights_files: dict[str, Path], tmp_path: Path) -> None:
    jobs = folder_of(tmp_path, [(40, 50)] * 6)
    engines = [new_engine(weights_files) for _ in range(2)]
    results: list[Result] = []

    def lost(*_: object) -> object:
        raise BackendError("the device is gone")

    engines[1].backend.start = lost  # type: ignore[method-assign, assignment]
    with pytest.raises(BackendError, match="is gone"):
        run_jobs(
            jobs,
            engines,
            overwrite=True,
            format="same",
            quality=95,
            workers=1,
            max_pixels=10**6,
            on_result=results.append,
        )
    assert all(result.status == "restored" for result in results)
    assert sorted(path.name for path in (tmp_path / "out").glob("*")) == sorted(
        result.job.target.name for result in results
    )


def test_lanes_take_what_comes_and_give_it_in_order() -> None:
    started = threading.Barrier(2)

    def lane(items: Iterator[int]) -> Iterator[int]:
        # Two at a time, so that each lane holds some while the other goes on.
        for first in items:
            if first in (0, 1):
                started.wait(10)
            time.sleep(0.02 * (first % 3))
            yield first * first
            yield from (second * second for second in [next(items, None)] if second is not None)

    assert list(in_order(range(20), [lane, lane], threading.Event())) == [number**2 for number in range(20)]


def test_lanes_stop_when_nobody_wants_more() -> None:
    stop, taken = threading.Event(), []

    def lane(items: Iterator[int]) -> Iterator[int]:
        for item in items:
            taken.append(item)
            yield item

    def endless() -> Iterator[int]:
        number = 0
        while True:
            time.sleep(0.001)
            yield (number := number + 1)

    made = in_order(endless(), [lane, lane], stop)
    assert next(made) == 1
    made.close()
    assert stop.is_set()
    many = len(taken)
    time.sleep(0.02)
    assert len(taken) == many


def test_each_cuda_device_gets_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Somewhere:
        def __init__(self, device: str) -> None:
            self.backend = Inverter()
            self.backend.device = device  # type: ignore[misc]

        def on(self, device: str) -> Somewhere:
            if device == "cuda:2":
                raise BackendError("it is taken")
            return Somewhere(device)

    def found(device: str, asked: str, photos: int) -> list[str]:
        return [engine.backend.device for engine in engines_for(Somewhere(device), asked, photos)]  # type: ignore[arg-type]

    monkeypatch.setattr(devices, "cuda_devices", lambda: 4)
    assert found("cuda:0", "cuda", 9) == found("cuda:0", "auto", 9) == ["cuda:0", "cuda:1", "cuda:3"]
    assert found("cuda:0", "cuda", 2) == ["cuda:0", "cuda:1"]
    assert found("cuda:1", "cuda:1", 9) == ["cuda:1"]
    assert found("cpu", "auto", 9) == ["cpu"]
    assert found("cuda:0", "cuda", 1) == ["cuda:0"]


def test_a_photo_too_large_in_a_run_is_refused_alone(tmp_path: Path, weights_files: dict[str, Path]) -> None:
    jobs = folder_of(tmp_path, [(40, 50)] * 3)
    engine = new_engine(weights_files)
    engine.backend.together = 4
    start = engine.start

    def refuses(photo: Photo, progress: object = None) -> object:
        if photo.pixels[0, 0, 0] == read_photo(jobs[1].source).pixels[0, 0, 0]:
            raise PhotoError("memory ran out", kind="out_of_memory")
        return start(photo)

    engine.start = refuses  # type: ignore[method-assign, assignment]
    assert [result.status for result in run_all(jobs, engine)] == ["restored", "failed", "restored"]
