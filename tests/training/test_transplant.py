"""Rain that is taken from degraded photos and laid over clear ones."""

from __future__ import annotations

import pytest
import torch

from restorecli.errors import UsageError
from restorecli.models.physics import screened
from restorecli.training import transplant
from restorecli.training.config import TrainConfig
from restorecli.training.cyclegan import Noise, alone
from restorecli.training.step import Players, set_rates
from tests.training.test_cyclegan import _branch, _crops


def _rain(size: int = 24) -> torch.Tensor:
    layer = torch.zeros(2, 1, size, size)
    layer[0, :, 6:18, 6] = 0.3
    layer[1, :, 7:19, 15:17] = 0.5
    return layer


def test_the_layer_is_what_was_laid_over() -> None:
    clear = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1)) * 0.9
    rainy = screened(clear, _rain())
    assert torch.allclose(transplant.rain_of(rainy, clear), _rain(), atol=1e-5)
    # What only one channel lost was no rain; nor is what was added to a photo.
    tinted = clear.clone()
    tinted[:, 0] += 0.09
    assert transplant.rain_of(tinted, clear).abs().max() == 0
    assert transplant.rain_of(clear, rainy).abs().max() == 0
    # Nor is a veil, which darkening a photo would find.
    assert transplant.rain_of(screened(clear, torch.full_like(_rain(), 0.2)), clear).max() < 1e-5


def test_only_streaks_that_fall_with_the_others_are_rain() -> None:
    layer = torch.zeros(1, 1, 48, 48)
    for start in (6, 12, 18):
        layer[0, 0, 10:30, start] = 0.4
    rain = layer.clone()
    # A level line, a blob, and a stroke of another slant.
    layer[0, 0, 40, 5:40] = 0.4
    layer[0, 0, 20:24, 30:34] = 0.4
    for step in range(14):
        layer[0, 0, 5 + step, 30 + step // 2] = 0.4
    assert torch.equal(transplant.falling(layer), rain)


def test_a_layer_is_made_bolder_and_mirrored() -> None:
    plain = transplant.changed(_rain(), lambda count: torch.zeros(count))
    assert plain.max() > 1.1 * _rain().max() and plain.shape == (2, 1, 24, 24)
    mirrored = transplant.changed(_rain(), lambda count: torch.full((count,), -1e-6))
    assert torch.allclose(mirrored, plain.flip(3), atol=1e-3)
    wild = transplant.changed(_rain(), lambda count: torch.randn(count, generator=torch.Generator().manual_seed(2)) * 5)
    assert float(wild.min()) >= 0 and float(wild.max()) <= 1


def test_it_teaches_the_restorer_from_its_first_step_on(small_config: TrainConfig) -> None:
    config = small_config.with_overrides(["unpaired.transplant=5", "unpaired.transplant_start=4", "unpaired.every=1"])
    branch = _branch(config, "dcd")
    ways = branch.translate(_crops(1), _crops(2), Noise(3))
    torch.manual_seed(7)  # Where contrast looks is drawn.
    before, values = branch.losses(ways)
    assert "transplant" not in values
    optimiser = torch.optim.Adam(branch.restorer.parameters())
    players = Players(branch.restorer, branch.restorer, optimiser, branch.mechanics, None, branch)  # type: ignore[arg-type]
    set_rates(config, 3, players)
    assert not branch.transplants
    set_rates(config, 4, players)
    torch.manual_seed(7)
    after, values = branch.losses(ways)
    assert float((after - before).detach()) == pytest.approx(5 * values["transplant"], abs=1e-4)

    found = transplant.rain_of(ways.there.source.crop, ways.there.generated.crop.detach())
    rainy = screened(ways.back.source.crop, transplant.changed(found, ways.noise.of(3, found.device)))
    given = alone(rainy, ways.back.source.thumbnail.shape[-1])
    restored = branch.restorer(given.crop, given.thumbnail, given.place)
    assert values["transplant"] == pytest.approx(
        float((restored - ways.back.source.crop).abs().mean().detach()), rel=1e-4
    )
    branch.transplant(ways).backward()
    assert any(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in branch.restorer.parameters())
    assert all(p.grad is None for p in branch.degrader.parameters())


def test_haze_is_not_transplanted(small_config: TrainConfig) -> None:
    with pytest.raises(UsageError, match="transplant"):
        small_config.with_overrides(["task=dehaze", "unpaired.transplant=1"])
