"""The renderers obey their physics, are seeded, and are fast enough to feed a training run."""

from __future__ import annotations

import math
import time

import pytest
import torch

from restorecli.training.degrade import HazeRange, RainRange, periodic_thumbnail, render_haze, render_rain
from restorecli.training.degrade.depth import enlarge_along_edges, pseudo_depth
from restorecli.training.degrade.haze import KNOWABLE
from restorecli.training.degrade.streaks import streaks


def _scene(count: int = 4, size: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((count, 3, 8, 8), generator=generator) * 0.6
    crop = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    thumbnail = torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")
    return crop, thumbnail, torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(count, 4)


def _seed(value: int) -> torch.Generator:
    return torch.Generator().manual_seed(value)


def _haze(seed: int, depth: float = 0.5, ranges: HazeRange | None = None):  # type: ignore[no-untyped-def]
    crop, thumbnail, box = _scene()
    far, far_small = torch.full_like(crop[:, :1], depth), torch.full_like(thumbnail[:, :1], depth)
    # Somewhere in the photo, outside of the crop, is the farthest thing.
    far_small[..., 0, 0] = 1
    return render_haze(crop, thumbnail, box, far, far_small, torch.ones(4), _seed(seed), ranges)


def test_same_seed_same_picture_and_another_seed_another() -> None:
    crop, thumbnail, box = _scene()
    first, again, other = (render_rain(crop, thumbnail, box, _seed(seed)).degraded for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(_haze(3).degraded, _haze(3).degraded)
    assert not torch.equal(_haze(3).degraded, _haze(4).degraded)


def test_no_haze_and_no_rain_leave_the_photo_alone() -> None:
    crop, thumbnail, box = _scene()
    clean = RainRange(none=1.0, noise=0.0)
    rain = render_rain(crop, thumbnail, box, _seed(1), clean)
    haze = _haze(1, ranges=HazeRange(none=1.0, noise=0.0))
    for rendered in (rain, haze):
        assert float((rendered.degraded - crop).abs().max()) <= 0.5 / 255 + 1e-6
        assert float((rendered.thumbnail - thumbnail).abs().max()) < 1e-6


def test_haze_follows_the_scattering_model() -> None:
    """With constant depth each photo is ``J t + A (1 - t)``: contrast falls, and deeper is hazier."""
    plain = HazeRange(none=0.0, beta=(1.0, 1.0), tint=0.0, noise=0.0)
    crop, _, _ = _scene()
    near, far = _haze(5, 0.2, plain).degraded, _haze(5, 0.9, plain).degraded
    contrast = [x.std((2, 3)) / crop.std((2, 3)) for x in (near, far)]
    assert bool((contrast[0] < 1).all()) and bool((contrast[1] < contrast[0]).all())
    assert bool(((near >= 0) & (near <= 1)).all())


def test_measured_depth_has_no_haze_at_the_lens() -> None:
    crop, _, _ = _scene()
    for seed in range(6):
        rendered = _haze(seed, depth=0.0, ranges=HazeRange(noise=0.0))
        assert float((rendered.degraded - crop).abs().max()) <= 0.5 / 255 + 1e-6


def test_plain_haze_has_one_grey_airlight() -> None:
    """With t = exp(-beta d) known to be alike everywhere, plain haze over black is one grey."""
    ranges = HazeRange(none=0.0, beta=(1.0, 1.0), tint=0.0, plain=1.0)
    black, small, box = (
        torch.zeros(8, 3, 32, 32),
        torch.zeros(8, 3, 16, 16),
        torch.tensor([[0.0, 0, 1, 1]]).repeat(8, 1),
    )
    far, far_small = torch.ones(8, 1, 32, 32), torch.ones(8, 1, 16, 16)
    hazy = render_haze(black, small, box, far, far_small, torch.ones(8), _seed(9), ranges).degraded
    assert float((hazy.amax((1, 2, 3)) - hazy.amin((1, 2, 3))).max()) < 1e-6


def test_what_dense_haze_hides_is_not_asked_for() -> None:
    """Down to a transmission of KNOWABLE the target is the clear photo; what is denser is to keep some of its haze."""
    crop, thumbnail, box = _scene()
    for beta, share in ((1.5, 1.0), (-2 * math.log(KNOWABLE), KNOWABLE)):
        ranges = HazeRange(none=0.0, beta=(beta, beta), tint=0.0, noise=0.0, plain=1.0)
        far, far_small = torch.ones_like(crop[:, :1]), torch.ones_like(thumbnail[:, :1])
        target = render_haze(crop, thumbnail, box, far, far_small, torch.ones(4), _seed(7), ranges).clear
        contrast = (target.std((2, 3)) / crop.std((2, 3))).flatten()
        # A tenth of the samples are denser.
        assert int(((contrast - share).abs() < 0.01).sum()) >= 6


def test_plain_rain_leaves_dark_places_dark() -> None:
    """Streaks alone: between them nothing is brighter than it was, however hard it rains."""
    crop, thumbnail = torch.full((16, 3, 64, 64), 0.2), torch.full((16, 3, 16, 16), 0.2)
    ranges = RainRange(none=0.0, plain=1.0)
    rainy = render_rain(crop, thumbnail, torch.tensor([[0.0, 0, 1, 1]]).repeat(16, 1), _seed(2), ranges).degraded
    assert float(rainy.amin((1, 2, 3)).max()) < 0.21
    assert float(rainy.min()) > 0.19


def test_rain_without_veil_only_brightens_dark_scenes() -> None:
    crop = torch.zeros(8, 3, 64, 64)
    rendered = render_rain(crop, torch.zeros(8, 3, 16, 16), torch.rand(8, 4), _seed(2), RainRange(none=0.0, noise=0.0))
    assert float(rendered.degraded.min()) >= 0
    assert int((rendered.degraded.amax((1, 2, 3)) > 0.05).sum()) >= 6
    # Rain is nearly grey.
    spread = rendered.degraded.amax(1) - rendered.degraded.amin(1)
    assert float(spread.mean()) < 0.06


def test_a_layer_goes_on_periodically_over_the_thumbnail_of_the_whole_photo() -> None:
    layer = torch.rand((2, 1, 24, 24), generator=_seed(1))
    photo = layer.repeat(1, 1, 5, 5)
    for box, expected in (
        ([0.2, 0.4, 0.4, 0.6], photo),
        ([0.25, 0.4, 0.45, 0.6], photo.roll(6, 2)),
    ):
        found = periodic_thumbnail(layer, torch.tensor([box]).expand(2, 4), 20)
        assert float((found - torch.nn.functional.avg_pool2d(expected, 6)).abs().max()) < 1e-5


def test_the_rain_of_a_thumbnail_is_that_of_the_photo() -> None:
    crop, thumbnail, box = _scene()
    for seed in range(8):
        rendered = render_rain(crop, thumbnail, box, _seed(seed), RainRange(none=0, noise=0))
        seen = torch.nn.functional.avg_pool2d(rendered.degraded, 4)
        rain = seen - torch.nn.functional.avg_pool2d(crop, 4)
        error = (rendered.thumbnail - thumbnail - rain).abs().mean((1, 2, 3))
        assert (error <= 0.25 * rain.abs().mean((1, 2, 3)) + 0.004).all()


def test_streaks_lie_along_their_angle() -> None:
    """A vertical layer changes little from row to row, a lying one little from column to column."""
    one = torch.ones(1)

    def layer(angle: float) -> torch.Tensor:
        return streaks(1, 64, 64, 20 * one, 0.8 * one, angle * one, 0.004 * one, one, one, 0 * one, 0 * one, _seed(1))[
            0
        ]

    upright, lying = layer(0.0), layer(torch.pi / 2)
    down, across = upright.diff(dim=0).abs().mean(), upright.diff(dim=1).abs().mean()
    assert float(down) < 0.5 * float(across)
    down, across = lying.diff(dim=0).abs().mean(), lying.diff(dim=1).abs().mean()
    assert float(across) < 0.5 * float(down)


def test_pseudo_depth_is_a_depth_and_its_edges_are_the_photos() -> None:
    _, thumbnail, box = _scene()
    depth = pseudo_depth(thumbnail, _seed(1))
    assert depth.shape == (4, 1, 16, 16)
    assert float(depth.min()) >= 0 and float(depth.max()) <= 1
    assert float(depth.std((1, 2, 3)).min()) > 0.02
    # A step in the photo where the map has a step: enlarged, the map steps there and not four pixels wide.
    step = torch.zeros(1, 3, 64, 64)
    step[..., 32:] = 1
    low = torch.nn.functional.adaptive_avg_pool2d(step[:, :1], 16)
    high = enlarge_along_edges(low, torch.nn.functional.adaptive_avg_pool2d(step, 16), step, box[:1])
    assert float(high[..., :30].max()) < 0.2 and float(high[..., 34:].min()) > 0.8


@pytest.mark.parametrize("task", ["derain", "dehaze"])
def test_at_least_300_crops_a_second_on_two_cores(task: str) -> None:
    generator = _seed(1)
    crop, thumbnail = torch.rand(16, 3, 128, 128), torch.rand(16, 3, 64, 64)
    box = torch.tensor([[0.2, 0.2, 0.6, 0.6]]).expand(16, 4)
    # By the processor's time on one core, so that whatever else runs on the machine does not count.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rates = []
    # Others on the machine slow even that down (caches, clock), for seconds at a time: the best of many is the truth.
    while len(rates) < 100 and 2 * max(rates, default=0) < 300:
        began = time.process_time()
        if task == "derain":
            render_rain(crop, thumbnail, box, generator)
        else:
            render_haze(crop, thumbnail, box, crop[:, :1], thumbnail[:, :1], torch.zeros(16), generator)
        rates.append(16 / (time.process_time() - began))
    torch.set_num_threads(threads)
    assert 2 * max(rates) >= 300
