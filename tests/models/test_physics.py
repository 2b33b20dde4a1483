"""Degraders that can do nothing that weather cannot."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from restorecli.models.physics import PhysicsDegrader
from restorecli.models.unet import UNetConfig


def _degrader(task: str, spread: float = 0.2) -> PhysicsDegrader:
    torch.manual_seed(0)
    degrader = PhysicsDegrader(UNetConfig(widths=(8, 12), blocks=(1, 1), thumbnail=16, global_width=8), task)
    torch.nn.init.normal_(degrader.head.weight, std=spread)
    return degrader


@pytest.mark.parametrize("task", ["derain", "dehaze"])
def test_noise_decides_and_a_gradient_is_always_left(task: str) -> None:
    degrader = _degrader(task, spread=3.0)
    photo, small = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 16, 16)
    draws = (partial(torch.randn, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    noise, again = (degrader.draw_noise(photo, draw) for draw in draws)
    assert torch.equal(noise, again)
    assert float(noise[:, 1 if task == "derain" else 2].std()) == pytest.approx(1, abs=0.5)
    first, second = degrader(photo, small, None, noise), degrader(photo, small)
    assert not torch.allclose(first, second)
    assert first.min() >= 0 and first.max() <= 1
    first.mean().backward()
    assert degrader.head.weight.grad is not None and float(degrader.head.weight.grad.abs().sum()) > 0
    assert [f.shape[1] for f in degrader.features(photo, small)] == [8, 12]


def test_rain_is_where_drops_fell_and_nowhere_else() -> None:
    degrader = _degrader("derain")
    photo, small = torch.full((16, 3, 96, 96), 0.3), torch.rand(16, 3, 16, 16)
    noise = degrader.draw_noise(photo, partial(torch.randn, generator=torch.Generator().manual_seed(2)))
    streaks = noise[:, 2:]
    assert streaks.min() >= 0
    assert ((streaks > 0).float().mean((2, 3)) < 0.5).all()
    # Most of the rain of a crop is of one kind, and not all crops have the same.
    kinds = streaks.mean((2, 3))
    assert float((kinds.amax(1) / kinds.sum(1)).median()) > 0.7 and len(set(kinds.argmax(1).tolist())) > 3
    # Streaks go on down the photo, not across it.
    down, across = (streaks[:, :, 6:] * streaks[:, :, :-6]).mean(), (streaks[..., 6:] * streaks[..., :-6]).mean()
    assert down > 2 * across
    dry = streaks.sum(1, keepdim=True) == 0
    assert dry.any()
    layer = (degrader(photo, small, None, noise) - photo).detach()
    assert float(layer.abs().amax(1, keepdim=True)[dry].max()) < 1e-6 < float(layer.mean())


def test_rain_only_brightens_and_is_nearly_grey() -> None:
    photo, small = torch.rand(1, 3, 64, 64) * 0.8, torch.rand(1, 3, 16, 16)
    rainy = _degrader("derain")(photo, small)
    layer = (rainy - photo) / (1 - photo)
    assert layer.min() >= 0 and layer.max() > 0.05
    grey = layer.mean(1, keepdim=True)
    assert ((layer - grey).abs() <= 0.11 * grey + 1e-6).all()


def test_haze_differs_from_crop_to_crop_of_one_photo() -> None:
    degrader = _degrader("dehaze", spread=0.01)
    photo, small = torch.full((64, 3, 32, 32), 0.3), torch.full((64, 3, 16, 16), 0.3)
    with torch.no_grad():
        veil = (degrader(photo, small) - photo).mean((1, 2, 3))
    # An untrained network's, too: thin and dense by chance, or all haze is one haze to the restorer.
    assert veil.min() > 0 and veil.max() > 2 * veil.min() and veil.std() > 0.2 * veil.mean()


def test_haze_is_a_smooth_veil_of_one_colour() -> None:
    degrader = _degrader("dehaze")
    small, noise = torch.rand(1, 3, 16, 16), degrader.draw_noise(torch.zeros(1, 3, 64, 64))
    photo = torch.rand(1, 3, 64, 64)
    hazy = degrader(photo, small, None, noise)
    assert hazy.max() <= 1 and hazy.min() >= 0
    # One transmission for all channels, and smooth: haze over another photo would be explained by neither.
    explained = (degrader.law(hazy, photo) - hazy).abs().mean()
    assert explained < 0.2 * (hazy - photo).abs().mean()


def test_the_law_gives_back_weather_and_nothing_else() -> None:
    photo = 0.1 + 0.7 * torch.rand(1, 3, 64, 64)
    streaks = (torch.rand(1, 1, 64, 64) > 0.8).float() * 0.4
    rainy = photo + streaks * (1 - photo)
    rain = _degrader("derain")
    assert torch.allclose(rain.law(rainy, photo), rainy, atol=1e-5)
    # Nor is a veil rain, under streaks or alone.
    veiled = rainy + 0.3 * (1 - rainy)
    assert (rain.law(veiled, photo) - rainy).abs().mean() < 0.2 * (veiled - rainy).abs().mean()
    # What darkens, or colours, is no rain.
    assert torch.allclose(rain.law(photo - 0.1, photo), photo, atol=1e-5)
    reddened = photo + torch.tensor([0.2, -0.1, -0.1]).view(1, 3, 1, 1)
    assert (rain.law(reddened, photo) - reddened).abs().mean() > 0.05
    ramp = torch.linspace(0.4, 0.9, 64).view(1, 1, 1, 64)
    hazy = photo * ramp + 0.9 * (1 - ramp)
    haze = _degrader("dehaze")
    assert (haze.law(hazy, photo) - hazy).abs().mean() < 0.1 * (hazy - photo).abs().mean()
    # Detail that was not there is no haze.
    scattered = photo.flip(3)
    assert (haze.law(scattered, photo) - scattered).abs().mean() > 0.1
