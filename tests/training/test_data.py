"""Batches depend on seed and step alone, and broken photos do no harm."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from restorecli.errors import TrainingError
from restorecli.training import data as data_module
from restorecli.training.config import TrainConfig
from restorecli.training.data import (
    WHOLE,
    Batch,
    Batches,
    PhotoCache,
    batches,
    thumbnail_of,
    training_photos,
    unpaired_step,
)
from restorecli.training.degrade import Rendered

STRICT = ["unpaired.start=0", "unpaired.every=1"]


def _data(config: TrainConfig, degraded: Path, clear: Path) -> Batches:
    return Batches(config, training_photos(degraded, ()), training_photos(clear, ()))


def test_a_batch_is_a_function_of_seed_and_step(
    small_config: TrainConfig, degraded_folder: Path, clear_folder: Path
) -> None:
    one, other = (_data(small_config, degraded_folder, clear_folder) for _ in range(2))
    other[0], other[3]
    first, again = one[2], other[2]
    assert first.rendered is not None and again.rendered is not None
    assert first.degraded is not None and again.degraded is not None
    assert torch.equal(first.rendered.degraded, again.rendered.degraded)
    assert torch.equal(first.degraded.crop, again.degraded.crop)
    third = one[3].rendered
    assert third is not None and not torch.equal(first.rendered.degraded, third.degraded)


def test_workers_change_nothing(small_config: TrainConfig, degraded_folder: Path, clear_folder: Path) -> None:
    data = _data(small_config, degraded_folder, clear_folder)
    alone = list(batches(data, 0, 0, torch.device("cpu")))
    helped = list(batches(data, 0, 1, torch.device("cpu")))
    assert len(alone) == len(helped) == small_config.steps
    for (a,), (b,) in zip(alone, helped, strict=True):
        assert a.rendered is not None and b.rendered is not None
        assert torch.equal(a.rendered.degraded, b.rendered.degraded)


@pytest.mark.parametrize("task", ["derain", "dehaze"])
def test_shapes_and_values(task: str, small_config: TrainConfig, degraded_folder: Path, clear_folder: Path) -> None:
    batch = _data(small_config.with_overrides([f"task={task}"]), degraded_folder, clear_folder)[2]
    assert batch.rendered is not None and batch.degraded is not None and batch.clear is not None
    assert batch.rendered.degraded.shape == batch.rendered.clear.shape == (2, 3, 48, 48)
    assert batch.rendered.thumbnail.shape == (2, 3, 16, 16)
    for part in (batch.rendered.degraded, batch.rendered.thumbnail, batch.degraded.crop, batch.clear.thumbnail):
        assert part.dtype == torch.float32 and float(part.min()) >= 0 and float(part.max()) <= 1


def test_small_photos_are_mirrored_and_broken_ones_passed_over(
    small_config: TrainConfig, tmp_path: Path, degraded_folder: Path
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    cv2.imwrite(str(folder / "tiny.png"), np.full((20, 30, 3), 90, np.uint8))
    cv2.imwrite(str(folder / "icon.png"), np.full((8, 30, 3), 90, np.uint8))
    (folder / "broken.jpg").write_bytes(b"no photo")
    data = _data(small_config, degraded_folder, folder)
    found = [data[step] for step in range(6)]
    assert all(isinstance(b, Batch) and b.rendered is not None for b in found)
    assert found[0].rendered.clear.shape == (2, 3, 48, 48)
    told = [reason for batch in found for reason in batch.broken]
    # Each is told once, with the reason.
    assert len(told) == 2 and any("icon.png has 30x8 pixels" in reason for reason in told)


def test_groups_share_a_step_without_overlap(
    small_config: TrainConfig, degraded_folder: Path, clear_folder: Path
) -> None:
    """Two groups of two crops, in whichever process, are what one group of four is."""
    strict = ["rendered.weight=0", "unpaired.start=0", "unpaired.every=1", "data.sampling=epoch"]
    config = small_config.with_overrides(strict)
    photos = training_photos(degraded_folder, ()), training_photos(clear_folder, ())
    halves = [Batches(config, *photos, groups=range(rank, rank + 1), total=2) for rank in range(2)]
    whole = Batches(config.with_overrides(["unpaired.batch=4"]), *photos)
    for step in range(3):
        crops = torch.cat([half[step].clear.crop for half in halves])
        assert torch.equal(crops, whole[step].clear.crop)
    # Four clear photos, four crops a step: an epoch a step, and every photo once in it.
    source = whole.clear
    for step in range(3):
        drawn = {source.draw(np.random.default_rng(0), 4 * step + number) for number in range(4)}
        assert len(drawn) == 4


def test_resized_as_cyclegan_does(small_config: TrainConfig, degraded_folder: Path, clear_folder: Path) -> None:
    config = small_config.with_overrides(["data.resize=64", "data.scale=[1.0, 1.0]", "rendered.weight=0"] + STRICT)
    batch = _data(config, degraded_folder, clear_folder)[0]
    sides = batch.degraded.place[:, 2:] - batch.degraded.place[:, :2]
    assert torch.allclose(sides, torch.full((2, 2), 48 / 64))


def test_a_folder_of_broken_photos_is_an_error(
    small_config: TrainConfig, tmp_path: Path, degraded_folder: Path
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"no photo")
    with pytest.raises(TrainingError, match="cannot be used"):
        _data(small_config, degraded_folder, folder).batch(0)


def test_a_worker_passes_its_error_on_as_it_is(
    small_config: TrainConfig, tmp_path: Path, degraded_folder: Path
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"no photo")
    data = _data(small_config, degraded_folder, folder)
    with pytest.raises(TrainingError) as caught:
        next(batches(data, 0, 1, torch.device("cpu")))
    assert "Traceback" not in str(caught.value)


def test_depth_is_read_with_its_photo(
    small_config: TrainConfig, tmp_path: Path, degraded_folder: Path, clear_folder: Path
) -> None:
    root = tmp_path / "rgbd"
    for name in ("rgb", "depth"):
        (root / name).mkdir(parents=True)
    cv2.imwrite(str(root / "rgb" / "1.png"), np.zeros((100, 120, 3), np.uint8))
    depth = np.tile(np.linspace(10, 100, 120).astype(np.uint8), (100, 1))
    cv2.imwrite(str(root / "depth" / "1.png"), depth)
    config = small_config.with_overrides(
        ["task=dehaze", f"data.rgbd={root}", "data.rgbd_share=1.0", "data.jpeg=0.0", "data.batch=8"]
    )
    data = _data(config, degraded_folder, clear_folder)
    # The farthest thing counts as far away, in whatever unit the file is: a small room may be as hazy as a hall.
    assert int(data._rgbd(np.random.default_rng(0))[1].max()) == 255
    batch = data[0]
    assert batch.rendered is not None
    # Over black, haze is A (1 - t), which rises or falls evenly with depth from column to column.
    columns = batch.rendered.degraded.mean((1, 2))
    slope = columns[:, -8:].mean(1) - columns[:, :8].mean(1)
    assert int((slope.abs() > 0.02).sum()) >= 4
    # Another photo of the folder whose depth is of another size is passed over, and told of.
    cv2.imwrite(str(root / "rgb" / "2.png"), np.zeros((50, 120, 3), np.uint8))
    cv2.imwrite(str(root / "depth" / "2.png"), depth)
    data = _data(config, degraded_folder, clear_folder)
    broken = [reason for step in range(4) for reason in data[step].broken]
    assert len(broken) == 1 and "2.png is not of the size of" in broken[0]


def test_an_enlarged_crop_knows_its_place(small_config: TrainConfig, degraded_folder: Path, clear_folder: Path) -> None:
    config = small_config.with_overrides(["data.enlarge=1", "data.jpeg=0", "data.alone=0", "data.crop=64"])
    data = _data(config, degraded_folder, clear_folder)
    # Each pixel says where in the photo it lies, so the corners of what comes out say which part it is.
    at = (torch.arange(64) + 0.5) / 64
    ramp = torch.stack([0.2 + 0.4 * at[:, None].expand(64, 64), 0.5 + 0.3 * at.expand(64, 64), torch.zeros(64, 64)])
    crop, small = ramp.repeat(6, 1, 1, 1), torch.zeros(6, 3, config.generator.thumbnail, config.generator.thumbnail)
    place = torch.tensor([0.2, 0.5, 0.6, 0.8]).repeat(6, 1)
    made = data._as_files(Rendered(crop, small, crop, place), np.random.default_rng(0))
    assert torch.equal(made.degraded, made.clear) and not torch.equal(made.clear, crop)
    extent = made.place[:, 2:] - made.place[:, :2]
    assert bool((extent <= torch.tensor([0.401, 0.301])).all()) and float(extent[:, 0].min()) < 0.3
    for index in range(6):
        for axis, turned in ((0, made.clear[index, 0].T), (1, made.clear[index, 1])):
            seen = turned.mean(0)
            low, high = made.place[index, axis], made.place[index, axis + 2]
            wanted = low + (high - low) * at
            assert float((seen - wanted)[4:-4].abs().max()) < 0.005


@pytest.mark.parametrize("side", [160, 176, 192])
def test_the_thumbnail_of_a_crop_is_the_engines(side: int) -> None:
    photo = np.random.default_rng(side).integers(0, 256, (side, side + 5, 3), np.uint8)
    made = cv2.resize(photo.astype(np.float32) / 255, (64, 64), interpolation=cv2.INTER_AREA)
    with torch.autocast("cpu", torch.bfloat16):
        found = thumbnail_of(data_module.as_tensor(photo)[None], 64)[0]
    assert float((found - torch.from_numpy(made).permute(2, 0, 1)).abs().max()) < 1e-5


def test_a_thumbnail_is_that_of_the_photo_of_another_gamma(
    small_config: TrainConfig, tmp_path: Path, degraded_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a fine checkerboard the thumbnail is even, and as bright as the mean of its crops, whatever the gamma."""
    folder = tmp_path / "boards"
    folder.mkdir()
    board = (np.indices((96, 96)).sum(0) % 2 * 225 + 15).astype(np.uint8)
    cv2.imwrite(str(folder / "1.png"), board)
    monkeypatch.setattr(data_module, "render_rain", lambda crop, small, box, _: Rendered(crop, small, crop, box))
    config = small_config.with_overrides(
        ["data.gamma=1", "data.jpeg=0", "data.alone=0", "data.scale=[1.0, 1.0]", "data.batch=8", "data.lines=0"]
    )
    rendered = _data(config, degraded_folder, folder).batch(0).rendered
    assert rendered is not None
    crops, small = rendered.clear.mean((1, 2, 3)), rendered.thumbnail.mean((1, 2, 3))
    assert float((crops - small).abs().max()) < 1.5 / 255
    assert float(crops.std()) > 5 / 255


def test_other_colours_are_paler_or_stronger_and_cast_over_photo_and_thumbnail_alike(
    small_config: TrainConfig, degraded_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "red"
    folder.mkdir()
    cv2.imwrite(str(folder / "1.png"), np.full((96, 96, 3), (80, 100, 120), np.uint8))
    monkeypatch.setattr(data_module, "render_rain", lambda crop, small, box, _: Rendered(crop, small, crop, box))
    plain = ["data.gamma=0", "data.jpeg=0", "data.alone=0", "data.batch=32", "data.lines=0"]
    colours = []
    for share in (0, 1):
        rendered = _data(
            small_config.with_overrides([*plain, f"data.colour={share}"]), degraded_folder, folder
        ).batch(0).rendered  # fmt: skip
        assert rendered is not None
        colours.append(rendered.clear.mean((2, 3)))
        assert float((colours[-1] - rendered.thumbnail.mean((2, 3))).abs().max()) < 1e-5
    before, after = (colour[:, 0] - colour[:, 2] for colour in colours)
    assert float(before.std()) < 1e-5
    # Between red and blue there were 40 levels: from hardly half to one and a half of that, and a cast of some levels.
    assert float(after.min()) < 25 / 255 and float(after.max()) > 55 / 255
    assert 2 / 255 < float(colours[1].mean(1).std()) < 15 / 255


def test_with_drawn_lines_a_crop_and_its_depth_become_the_photo(
    small_config: TrainConfig,
    tmp_path: Path,
    degraded_folder: Path,
    clear_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "rgbd"
    for name in ("rgb", "depth"):
        (root / name).mkdir(parents=True)
    cv2.imwrite(str(root / "rgb" / "1.png"), np.zeros((100, 120, 3), np.uint8))
    cv2.imwrite(str(root / "depth" / "1.png"), np.tile(np.linspace(10, 250, 120).astype(np.uint8), (100, 1)))

    def render(crop, small, box, far, far_small, known, _):  # type: ignore[no-untyped-def]
        assert torch.equal(box, torch.tensor(WHOLE).expand(4, 4)) and bool((known == 1).all())
        assert float((far_small - thumbnail_of(far, far_small.shape[-1])).abs().max()) < 1.01 / 255
        assert float(far.std()) > 0.02
        return Rendered(crop, small, crop, box)

    monkeypatch.setattr(data_module, "render_haze", render)
    config = small_config.with_overrides(
        ["task=dehaze", f"data.rgbd={root}", "data.rgbd_share=1.0", "data.lines=1", "data.batch=4"]
    )
    assert _data(config, degraded_folder, clear_folder).batch(0).rendered is not None


def test_excluded_names_are_left_out(clear_folder: Path) -> None:
    assert len(training_photos(clear_folder, ())) == 4
    assert [p.name for p in training_photos(clear_folder, ("1_[1-9]*",))] == ["1_0.png"]
    with pytest.raises(TrainingError, match=r"no photo to train on: data\.exclude leaves out all 4"):
        training_photos(clear_folder, ("*",))
    with pytest.raises(TrainingError, match="not a folder"):
        training_photos(clear_folder / "none", ())


def test_the_cache_keeps_to_its_limit(clear_folder: Path) -> None:
    photos = training_photos(clear_folder, ())
    cache = PhotoCache(2 * 96 * 112 * 3)
    for path in photos:
        cache.get(path)
    assert len(cache.photos) == 2 and cache.held == 2 * 96 * 112 * 3
    assert cache.get(photos[-1]) is cache.get(photos[-1])


def test_which_steps_are_unpaired(small_config: TrainConfig) -> None:
    assert [unpaired_step(small_config, step) for step in range(6)] == [False, False, True, False, True, False]
    off = small_config.with_overrides(["unpaired.weight=0"])
    assert not any(unpaired_step(off, step) for step in range(6))


def test_whole_photos_are_squeezed_into_the_crop(
    small_config: TrainConfig, degraded_folder: Path, clear_folder: Path
) -> None:
    config = small_config.with_overrides(["data.whole=1", "data.scale=[1.0, 1.0]"])
    data = _data(config, degraded_folder, clear_folder)
    crops = data._crops(data.clear, 4, (0,), 0, 0)
    assert torch.allclose(crops.place, torch.tensor(WHOLE).expand(4, 4))
    # So the crop, at the thumbnail's size, is the thumbnail.
    assert (thumbnail_of(crops.crop, 16) - crops.thumbnail).abs().max() < 0.03


def test_stretched_windows_keep_one_side_and_lie_in_the_photo(
    small_config: TrainConfig, degraded_folder: Path, clear_folder: Path
) -> None:
    config = small_config.with_overrides(["data.stretch=1.8", "data.scale=[1.0, 1.0]"])
    data = _data(config, degraded_folder, clear_folder)
    rng = np.random.default_rng(1)
    sides = []
    for _ in range(200):
        top, left, bottom, right = data._window(200, 300, rng)
        assert min(top, left) >= 0 and bottom <= 200 and right <= 300
        sides.append((bottom - top, right - left))
    assert all(min(pair) == 48 and max(pair) <= round(48 * 1.8) for pair in sides)
    # Half are left as they are; of the others as many are squeezed across as along.
    assert 0.35 < np.mean([tall == wide for tall, wide in sides]) < 0.65
    assert min(sum(tall > wide for tall, wide in sides), sum(tall < wide for tall, wide in sides)) > 30
    assert data._cut(np.zeros((200, 300, 3), np.uint8), (0, 0, 48, 80)).shape == (48, 48, 3)


def test_a_part_takes_the_place_of_a_photo_with_its_depth(
    small_config: TrainConfig, degraded_folder: Path, clear_folder: Path
) -> None:
    data = _data(small_config.with_overrides(["data.recompose=1"]), degraded_folder, clear_folder)
    rng = np.random.default_rng(1)
    photo = np.repeat(np.arange(200, dtype=np.uint8)[:, None, None], 120, axis=1).repeat(3, axis=2)
    farthest = []
    for _ in range(50):
        part, depth = data._recomposed(photo, photo[..., 0], rng)
        assert depth is not None and part.shape[:2] == depth.shape
        assert 110 <= part.shape[0] <= 200 and 66 <= part.shape[1] <= 120
        farthest.append(int(depth.max()))
        # Depth is still that of the photo's own rows, up to its scale.
        assert np.abs(depth - part[..., 0] * (depth.max() / part.max())).max() <= 1
    assert 10 < sum(one == 255 for one in farthest) < 40
    tiny = np.zeros((50, 49, 3), np.uint8)
    assert data._recomposed(tiny, None, rng)[0].shape[:2] >= (48, 48)
    batch = data[0]
    assert isinstance(batch, Batch) and batch.rendered is not None


def test_batches_reach_memory_that_a_device_reads_by_itself(
    small_config: TrainConfig, clear_folder: Path, degraded_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loader pins what has the method; each tensor of a batch, and nothing is lost on the way."""
    batch = _data(small_config, degraded_folder, clear_folder).batch(2)
    pinned: list[int] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(id(self)) or self)
    again = pin_memory(batch)
    assert len(pinned) == 4 + 3 + 3
    assert again.rendered is not None and batch.rendered is not None
    assert torch.equal(again.rendered.degraded, batch.rendered.degraded) and again.broken == batch.broken


def test_workers_share_the_memory_for_photos(
    small_config: TrainConfig, clear_folder: Path, degraded_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _data(small_config, degraded_folder, clear_folder)
    monkeypatch.setattr(data_module, "get_worker_info", lambda: SimpleNamespace(dataset=data, num_workers=8))
    threads = torch.get_num_threads(), cv2.getNumThreads()
    try:
        data_module._one_of_several(0)
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
    assert data.cache.limit == small_config.data.cache_mb * 2**20 // 8
