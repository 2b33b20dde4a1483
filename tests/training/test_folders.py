"""What is said about the two folders before the first step."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from restorecli.errors import TrainingError, UsageError
from restorecli.training.config import TrainConfig
from restorecli.training.folders import hold_out, length_of, open_folders
from restorecli.training.options import Options


@pytest.fixture
def options(tmp_path: Path, small_config: TrainConfig, degraded_folder: Path, clear_folder: Path) -> Options:
    return Options(degraded_folder, clear_folder, tmp_path / "run", small_config)


def test_a_folder_in_the_other_is_refused(options: Options) -> None:
    with pytest.raises(TrainingError, match="given twice"):
        open_folders(replace(options, clear=options.degraded))
    inner = options.clear / "inner"
    shutil.copytree(options.degraded, inner)
    for pair in ((inner, options.clear), (options.clear, inner)):
        with pytest.raises(TrainingError, match="lies inside"):
            open_folders(replace(options, degraded=pair[0], clear=pair[1]))


def test_a_run_among_the_photos_is_refused(options: Options) -> None:
    """Its sheets would be learnt from at the next start."""
    for folder in (options.degraded, options.clear):
        with pytest.raises(TrainingError, match=r"--out .* lies inside"):
            open_folders(replace(options, run=folder / "runs" / "mine"))


def test_what_restoring_put_beside_photos_is_not_learnt_from(options: Options) -> None:
    before = open_folders(options).degraded
    shutil.copy(before[0], before[0].with_stem(before[0].stem + "_derained"))
    assert open_folders(options).degraded == before


def test_the_same_photos_in_both_are_told(options: Options) -> None:
    assert open_folders(options).warnings == ()
    twin = next(options.clear.iterdir())
    shutil.copy(twin, options.degraded / "renamed.png")
    (warning,) = open_folders(options).warnings
    assert warning.startswith("1 photos are in both folders") and twin.name in warning and "renamed.png" in warning


def test_held_out_photos_are_few_and_spread() -> None:
    photos = [Path(f"{number:02d}.png") for number in range(20)]
    held, rest = hold_out(photos, 8)
    assert [path.stem for path in held] == ["02", "07", "12", "17"] and sorted(held + rest) == photos
    assert hold_out(photos, 2)[0] == [photos[5], photos[15]]
    assert hold_out(photos[:4], 8) == (photos[:4], photos[:4])


def test_without_pairs_finetuning_holds_photos_out(options: Options) -> None:
    assert open_folders(options).held_clear == []
    folders = open_folders(replace(options, start_from="derain"))
    assert len(folders.held_clear) == 4 and len(folders.clear) == 4
    assert len(folders.warnings) == 2 and "too few photos to spare" in folders.warnings[0]


def test_epochs_count_the_larger_folder(options: Options) -> None:
    strict = ["rendered.weight=0", "unpaired.start=0", "unpaired.every=1", "epochs=5", "unpaired.batch=1"]
    config = options.config.with_overrides(strict)
    folders = open_folders(options)
    assert (len(folders.degraded), len(folders.clear)) == (3, 4)
    assert length_of(config, folders, 1).steps == 20
    assert length_of(config, folders, 3).steps == 10
    assert length_of(options.config, folders, 1).steps == options.config.steps


def test_a_folder_without_a_readable_photo_is_told_of_at_the_start(options: Options) -> None:
    photos = sorted(options.degraded.iterdir())
    for path in photos[1:]:
        path.write_bytes(b"x")
    open_folders(options)
    photos[0].write_bytes(b"x")
    with pytest.raises(TrainingError, match=r"none of the photos .* can be read .*not a photo"):
        open_folders(options)


def test_depth_is_for_haze(options: Options) -> None:
    with pytest.raises(UsageError, match=r"^configuration: data\.rgbd is for haze only"):
        options.config.with_overrides(["task=derain", "data.rgbd=there"])
