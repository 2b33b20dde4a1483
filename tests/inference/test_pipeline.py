"""Many photos: names, order, what is skipped, and that one bad photo harms no other."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from restorecli.errors import BackendError, UsageError
from restorecli.inference import pipeline
from restorecli.inference.engine import Details, Engine
from restorecli.inference.jobs import Job, Result, plan_jobs
from restorecli.inference.pipeline import run
from restorecli.inference.reading import read_within
from restorecli.inference.restorer import Restorer
from restorecli.photo import Photo, read_photo, write_photo
from tests.small import noise


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def targets(
    inputs: list[Path], out: Path | None = None, format: str = "same", task: str = "derain", overwrite: bool = False
) -> dict[Path, Path]:
    jobs, _, _ = plan_jobs(inputs, task=task, out=out, format=format, overwrite=overwrite)
    return {job.source: job.target for job in jobs}


def test_outputs_lie_beside_their_inputs(tmp_path: Path) -> None:
    photo = tmp_path / "a.b.JPG"
    touch(photo)
    assert targets([photo]) == {photo: tmp_path / "a.b_derained.JPG"}
    assert targets([photo], task="dehaze", format="png") == {photo: tmp_path / "a.b_dehazed.png"}


def test_a_file_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    photo = tmp_path / "scan"
    touch(photo)
    assert targets([photo]) == {photo: tmp_path / "scan_derained"}
    assert targets([photo], format="jpg") == {photo: tmp_path / "scan_derained.jpg"}


def test_out_is_a_file_when_it_looks_like_one(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    touch(photo, tmp_path / "b.jpg")
    assert targets([photo], tmp_path / "new.png") == {photo: tmp_path / "new.png"}
    assert targets([photo], tmp_path / "new") == {photo: tmp_path / "new" / "a.jpg"}
    (tmp_path / "folder.png").mkdir()
    assert targets([photo], tmp_path / "folder.png") == {photo: tmp_path / "folder.png" / "a.jpg"}
    with pytest.raises(UsageError, match="give a folder"):
        targets([photo, tmp_path / "b.jpg"], tmp_path / "new.png")
    with pytest.raises(UsageError, match="give a folder"):
        targets([tmp_path], tmp_path / "new.png")
    with pytest.raises(UsageError, match="disagree"):
        targets([photo], tmp_path / "new.png", format="webp")
    assert targets([photo], tmp_path / "new.jpeg", format="jpg")


def test_a_folder_is_mirrored(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    touch(photos / "b.png", photos / "sub" / "a.JPEG", photos / "notes.txt")
    touch(photos / ".hidden.jpg", photos / ".x" / "c.jpg")
    out = tmp_path / "out"
    jobs, passed_over, failures = plan_jobs([photos], task="derain", out=out, format="same")
    assert jobs == [Job(photos / "b.png", out / "b.png"), Job(photos / "sub" / "a.JPEG", out / "sub" / "a.JPEG")]
    assert (passed_over, failures) == (1, [])


def test_outputs_are_not_taken_for_inputs_again(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    touch(photos / "a.jpg", photos / "a_derained.jpg", photos / "b.png", photos / "b_derained.webp")
    touch(photos / "alone_derained.jpg", photos / "a_dehazed.jpg", photos / "out" / "a.jpg")
    jobs, passed_over, _ = plan_jobs([photos], task="derain", out=None, format="same")
    assert [job.source.name for job in jobs] == ["a.jpg", "alone_derained.jpg", "b.png", "a.jpg"]
    assert passed_over == 3
    # An output folder inside the input.
    assert photos / "out" / "a.jpg" not in targets([photos], photos / "out")
    # What a shell makes of *.jpg on the second run.
    assert set(targets(sorted(photos.glob("a[._]*jpg")))) == {photos / "a.jpg", photos / "a_dehazed.jpg"}
    # By name and alone it is what is wanted; a result of the other task, by name in any company.
    assert set(targets([photos / "a_derained.jpg"])) == {photos / "a_derained.jpg"}


def test_the_same_photo_twice_is_one_job(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    assert len(targets([tmp_path, tmp_path / "a.jpg", tmp_path / "." / "a.jpg"])) == 1


def test_two_photos_never_get_one_output(tmp_path: Path) -> None:
    touch(tmp_path / "x" / "a.jpg", tmp_path / "y" / "a.jpg", tmp_path / "y" / "a.png")
    with pytest.raises(UsageError, match="would both become"):
        targets([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    with pytest.raises(UsageError, match="would both become"):
        targets([tmp_path / "y"], format="webp")


def test_no_input_is_replaced_unasked(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    touch(photo, tmp_path / "sub" / "a.jpg")
    for inputs, out in (([photo], photo), ([photo], tmp_path), ([tmp_path], tmp_path)):
        with pytest.raises(UsageError, match="--overwrite"):
            targets(inputs, out)
        assert targets(inputs, out, overwrite=True)
    with pytest.raises(UsageError, match="would replace the input"):
        targets([photo, tmp_path / "sub" / "a.jpg"], tmp_path / "sub", overwrite=True)


def test_missing_inputs_and_empty_folders_are_failures(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "empty" / "notes.txt")
    jobs, passed_over, failures = plan_jobs(
        [tmp_path / "none.jpg", tmp_path / "a.jpg", tmp_path / "empty"], task="derain", out=None, format="same"
    )
    assert [job.source.name for job in jobs] == ["a.jpg"]
    assert [result.error.kind for result in failures if result.error] == ["missing", "no_photos"]
    assert passed_over == 1


def test_capital_letters_do_not_make_two_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "in" / "a.jpg", tmp_path / "in" / "A.jpg", tmp_path / "other" / "b.jpg", tmp_path / "B.jpg")
    assert len(targets([tmp_path / "in"], tmp_path / "out")) == 2
    monkeypatch.setattr("restorecli.photo.places._folds", lambda _: True)
    with pytest.raises(UsageError, match="would both become"):
        targets([tmp_path / "in"], tmp_path / "out")
    with pytest.raises(UsageError, match="--overwrite"):
        targets([tmp_path / "other" / "b.jpg"], tmp_path / "other" / "B.jpg")
    with pytest.raises(UsageError, match="would replace the input"):
        targets([tmp_path / "other" / "b.jpg", tmp_path / "B.jpg"], tmp_path, overwrite=True)


def test_an_input_is_known_by_any_of_its_paths(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.jpg", tmp_path / "a.jpg")
    (tmp_path / "link").symlink_to("in")
    with pytest.raises(UsageError, match="--overwrite"):
        targets([tmp_path / "in" / "a.jpg"], tmp_path / "link")
    with pytest.raises(UsageError, match="would replace the input"):
        targets([tmp_path / "a.jpg", tmp_path / "in" / "a.jpg"], tmp_path / "link", overwrite=True)


def new_engine(weights_files: dict[str, Path]) -> Engine:
    return Restorer("derain", weights=str(weights_files["derain"]), device="cpu", precision="fp32").engine


@pytest.fixture(scope="module")
def engine(weights_files: dict[str, Path]) -> Engine:
    return new_engine(weights_files)


def run_all(jobs: list[Job], *engines: Engine, **options: object) -> list[Result]:
    results: list[Result] = []
    values = {"overwrite": False, "format": "same", "quality": 95, "workers": 2, "max_pixels": 10**6} | options
    run(jobs, engines, on_result=results.append, **values)  # type: ignore[arg-type]
    return results


@pytest.mark.parametrize("workers", [1, 3])
def test_a_broken_photo_stops_no_other(workers: int, engine: Engine, tmp_path: Path) -> None:
    sources = [tmp_path / f"{index}.png" for index in range(6)]
    for index, path in enumerate(sources):
        write_photo(Photo(noise(40, 50, seed=index)), path)
    sources[1].write_bytes(b"")
    sources[3].write_bytes(sources[2].read_bytes()[:200])
    touch(tmp_path / "out" / "4.png" / "in the way")
    jobs = [Job(path, tmp_path / "out" / path.name) for path in sources]
    results = run_all(jobs, engine, workers=workers, overwrite=True)
    assert [result.job for result in results] == jobs
    assert [result.status for result in results] == ["restored", "failed", "restored", "failed", "failed", "restored"]
    assert [result.error.kind for result in results if result.error] == ["empty", "truncated", "unwritable"]
    assert all(str(result.job.source.name) in str(result.error) for result in results if result.error)
    done = results[0]
    assert (done.width, done.height) == (50, 40) and done.details is not None and done.details.device == "cpu"
    assert set(done.seconds) == {"read", "restore", "write", "total"}
    assert np.array_equal(
        read_photo(jobs[0].target).pixels, engine.start(Photo(noise(40, 50, seed=0))).wait()[0].pixels
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "2.png", "4.png", "5.png"]


def test_the_same_call_again_finishes_what_is_missing(engine: Engine, tmp_path: Path) -> None:
    jobs = [Job(tmp_path / f"{index}.png", tmp_path / "out" / f"{index}.jpg") for index in range(3)]
    for job in jobs:
        write_photo(Photo(noise(30, 20)), job.source)
    assert [result.status for result in run_all(jobs, engine, format="jpg")] == ["restored"] * 3
    jobs[1].target.unlink()
    before = jobs[0].target.stat().st_mtime_ns
    assert [result.status for result in run_all(jobs, engine, format="jpg")] == ["skipped", "restored", "skipped"]
    assert jobs[0].target.stat().st_mtime_ns == before
    assert read_photo(jobs[1].target).format == "jpeg"
    assert [result.status for result in run_all(jobs, engine, format="jpg", overwrite=True)] == ["restored"] * 3


def test_photos_above_the_limit_are_refused(engine: Engine, tmp_path: Path) -> None:
    write_photo(Photo(noise(40, 50)), tmp_path / "a.png")
    (result,) = run_all([Job(tmp_path / "a.png", tmp_path / "b.png")], engine, max_pixels=1999)
    assert result.error is not None and result.error.kind == "too_large"


class Fake:
    """An engine that gives photos back as they are."""

    under_way = 0
    most_pixels: int | None = None

    def start(self, photo: Photo, progress: object = None) -> Fake:
        self.photo = photo
        return self

    def wait(self) -> tuple[Photo, Details]:
        return self.photo, Details("fake", "cpu", "fp32", tile=16, tiles=1, seconds=0.0, notes=())

    def hungry(self, under_way: int) -> bool:
        return False


class Failing(Fake):
    """An engine that fails on the second photo."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.count = error, 0

    def wait(self) -> tuple[Photo, Details]:
        self.count += 1
        if self.count == 2:
            raise self.error
        return super().wait()


def test_within_a_bound_on_memory_nothing_is_read_ahead_and_what_cannot_fit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [Job(tmp_path / f"{index}.png", tmp_path / "out" / f"{index}.png") for index in range(3)]
    for job, height in zip(jobs, (20, 200, 20), strict=True):
        write_photo(Photo(noise(height, 30)), job.source)
    told: list[str] = []

    class Noting(Fake):
        def start(self, photo: Photo, progress: object = None) -> Fake:
            told.append("started")
            return super().start(photo, progress)

    def noted(source: Path, *bounds: int) -> Photo:
        told.append(f"read {source.stem}")
        return read_within(source, *bounds)

    monkeypatch.setattr(pipeline, "read_within", noted)
    engine = Noting()
    results = run_all(jobs, engine)  # type: ignore[arg-type]
    assert [result.status for result in results] == ["restored"] * 3
    told.clear()
    engine.most_pixels = 1000
    results = run_all(jobs, engine, overwrite=True)  # type: ignore[arg-type]
    assert [result.status for result in results] == ["restored", "failed", "restored"]
    assert results[1].error is not None and results[1].error.kind == "out_of_memory"
    assert "1.png: is too large for --max-memory, which holds a photo of 0.001 MP" in str(results[1].error)
    assert told == ["read 0", "started", "read 1", "read 2", "started"]


class Slow(Fake):
    """An engine whose photos have two tiles, the second of which takes until the photo before is written."""

    def __init__(self, results: list[Result]) -> None:
        self.results = results
        self.told: list[int] = []

    def start(self, photo: Photo, progress: object = None) -> Fake:
        self.progress = progress
        return super().start(photo)

    def wait(self) -> tuple[Photo, Details]:
        time.sleep(0.2)
        self.progress(1, 2)  # type: ignore[operator]
        self.told.append(len(self.results))
        return super().wait()


def test_a_photo_is_told_of_while_the_next_is_restored(tmp_path: Path) -> None:
    jobs, results = failing_jobs(tmp_path), []
    engine = Slow(results)
    options = {"overwrite": False, "format": "same", "quality": 95, "workers": 2, "max_pixels": 10**6}
    run(jobs, [engine], on_result=results.append, **options)  # type: ignore[arg-type, list-item]
    assert engine.told == [0, 1, 2, 3, 4] and len(results) == len(jobs)
    for job in jobs:
        job.target.unlink()

    def closed(result: Result) -> None:
        raise BrokenPipeError

    results.clear()
    with pytest.raises(BrokenPipeError):
        run(jobs, [Slow(results)], on_result=closed, **options)  # type: ignore[arg-type, list-item]


def failing_jobs(folder: Path) -> list[Job]:
    jobs = [Job(folder / f"{index}.png", folder / "out" / f"{index}.png") for index in range(5)]
    for job in jobs:
        write_photo(Photo(noise(30, 20)), job.source)
    return jobs


@pytest.mark.parametrize("error", [ZeroDivisionError("odd"), MemoryError()])
def test_an_unforeseen_error_is_one_photo_s_own(error: Exception, tmp_path: Path) -> None:
    results = run_all(failing_jobs(tmp_path), Failing(error))  # type: ignore[arg-type]
    assert [result.status for result in results] == ["restored", "failed", "restored", "restored", "restored"]
    assert results[1].error is not None and results[1].error.kind in ("internal", "out_of_memory")


@pytest.mark.parametrize("error", [BackendError("the device is gone"), KeyboardInterrupt()])
def test_what_ends_the_run_leaves_finished_photos_whole(error: BaseException, tmp_path: Path) -> None:
    jobs = failing_jobs(tmp_path)
    results: list[Result] = []
    with pytest.raises(type(error)):
        run(
            jobs,
            [Failing(error)],  # type: ignore[arg-type]
            overwrite=False,
            format="same",
            quality=95,
            workers=2,
            max_pixels=10**6,
            on_result=results.append,
        )
    assert [(result.status, result.job) for result in results] == [("restored", jobs[0])]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.png"]


def test_progress_ends_at_the_whole_photo(engine: Engine, tmp_path: Path) -> None:
    jobs = failing_jobs(tmp_path)[:2]
    seen: list[tuple[Job, int, int]] = []
    run_all(jobs, engine, on_progress=lambda *values: seen.append(values))
    assert [job for job, _, _ in seen] == jobs
    assert all(done == total for _, done, total in seen)


def test_names_and_folders_that_cannot_be_end_no_run(engine: Engine, tmp_path: Path) -> None:
    jobs = failing_jobs(tmp_path)
    jobs[1] = Job(jobs[1].source, tmp_path / ("n" * 300 + ".png"))
    (tmp_path / "loop").symlink_to("loop")
    jobs[2] = Job(jobs[2].source, tmp_path / "loop" / "2.png")
    jobs[3] = Job(tmp_path / "loop", jobs[3].target)
    results = run_all(jobs, engine)
    assert [result.status for result in results] == ["restored", "failed", "failed", "failed", "restored"]
    assert [result.error.kind for result in results if result.error] == ["unwritable", "unwritable", "unreadable"]


def test_nothing_is_made_where_a_disk_was_taken_out(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    jobs = [Job(job.source, disk / "out" / job.source.name) for job in failing_jobs(tmp_path)]
    disk.mkdir()

    class TakesOut(Fake):
        def wait(self) -> tuple[Photo, Details]:
            if disk.exists():
                disk.rename(tmp_path / "taken out")
            return super().wait()

    results = run_all(jobs, TakesOut())  # type: ignore[arg-type]
    assert {result.status for result in results} == {"failed"}
    assert all(result.error and str(disk) in str(result.error) and "is gone" in str(result.error) for result in results)
    assert not disk.exists()


def test_what_a_killed_run_was_writing_is_removed_even_if_all_is_done(engine: Engine, tmp_path: Path) -> None:
    jobs = failing_jobs(tmp_path)
    run_all(jobs, engine)
    (tmp_path / "out" / ".restore-0123456789abcdef.tmp").write_bytes(b"half")
    assert {result.status for result in run_all(jobs, engine)} == {"skipped"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{index}.png" for index in range(5)]


def test_a_photo_that_another_run_finished_meanwhile_is_skipped(tmp_path: Path) -> None:
    (job, *_) = failing_jobs(tmp_path)

    class Slow(Fake):
        def wait(self) -> tuple[Photo, Details]:
            touch(job.target)
            return super().wait()

    (result,) = run_all([job], Slow())  # type: ignore[arg-type]
    assert (result.status, result.error, job.target.read_bytes()) == ("skipped", None, b"")


def test_a_photo_is_never_taken_for_what_a_killed_run_left(engine: Engine, tmp_path: Path) -> None:
    source = tmp_path / ".restore-0123456789abcdef.tmp"
    write_photo(Photo(noise(30, 20)), source, format="png")
    (result,) = run_all([Job(source, tmp_path / "a.png")], engine)
    assert result.status == "restored" and source.exists()
