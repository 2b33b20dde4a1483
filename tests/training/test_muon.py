"""Muon: what an orthogonal step is, which layers take one, and that a run goes on from a checkpoint as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from restorecli.models.unet import UNet, UNetConfig
from restorecli.training.checkpoint import load_optimiser_tensors, optimiser_tensors
from restorecli.training.config import OptimiserConfig
from restorecli.training.cyclegan import placed
from restorecli.training.muon import build_optimiser, orthogonal

CONFIG = OptimiserConfig(kind="muon", lr=1e-3)


def network() -> UNet:
    torch.manual_seed(4)
    made = UNet(UNetConfig(head="airlight", widths=(8, 12), blocks=(1, 1), thumbnail=16, global_width=8, guide=4))
    torch.nn.init.normal_(made.head.weight, std=0.01)
    return made


def learn(made: UNet, optimiser: torch.optim.Optimizer, steps: int, first: int = 0) -> list[float]:
    losses = []
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step % 2)
        photo = torch.rand(2, 3, 16, 16, generator=generator)
        loss = (made(photo, torch.rand(2, 3, 16, 16, generator=generator)) - photo**2).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def test_every_direction_of_a_step_counts_nearly_alike() -> None:
    torch.manual_seed(1)
    for shape in ((12, 40), (40, 12)):
        # From a direction that is a thousand times as strong as another.
        matrix = torch.randn(shape) @ torch.diag(torch.logspace(0, -3, shape[1]))
        values = torch.linalg.svdvals(orthogonal(matrix))
        strong = torch.linalg.svdvals(matrix) > 1e-3 * torch.linalg.svdvals(matrix)[0]
        assert values.max() < 1.3
        assert values[strong[: len(values)]].min() > 0.3


def test_steps_of_layers_are_orthogonal_and_as_long_as_those_of_adam() -> None:
    made = network()
    optimiser = build_optimiser(made, CONFIG)
    before = {name: value.detach().clone() for name, value in made.named_parameters()}
    learn(made, optimiser, 1)
    moved = made.bottleneck[0].first.weight.detach() - before["bottleneck.0.first.weight"]
    values = torch.linalg.svdvals(moved.flatten(1))
    assert values.min() > 0.3 * values.max()
    assert 0.1e-3 < float(moved.pow(2).mean().sqrt()) < 0.3e-3
    # The head is Adam's: at the first step every weight with a gradient moves by the whole rate.
    assert torch.allclose((made.head.weight.detach() - before["head.weight"]).abs(), torch.tensor(1e-3), rtol=1e-2)


def test_goes_on_from_its_state_as_if_it_had_not_stopped() -> None:
    whole, broken = network(), network()
    optimiser = build_optimiser(whole, CONFIG)
    learn(whole, optimiser, 6)
    first = build_optimiser(broken, CONFIG)
    learn(broken, first, 3)
    second = build_optimiser(broken, CONFIG)
    load_optimiser_tensors(second, optimiser_tensors(first))
    learn(broken, second, 3, first=3)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), broken.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["muon", "adam"])
def test_weight_decay_takes_its_share_of_weights_and_muon_spares_what_it_does_not_move(kind: str) -> None:
    plain, decayed = network(), network()
    share = 2.0
    for made, decay in ((plain, 0.0), (decayed, share)):
        config = OptimiserConfig(kind=kind, lr=1e-3, weight_decay=decay)
        learn(made, build_optimiser(made, config), 1)
    before = dict(network().named_parameters())
    for (name, one), (_, other) in zip(plain.named_parameters(), decayed.named_parameters(), strict=True):
        spared = kind == "muon" and (one.ndim < 2 or name.startswith(("head", "airlight", "last")))
        taken = 0.0 if spared else 1e-3 * share
        assert torch.allclose(one - other, before[name] * taken, atol=1e-6), name


@pytest.mark.parametrize("kind", ["muon", "adam"])
def test_what_is_loaded_lies_in_memory_as_the_weights_do(kind: str) -> None:
    """Files keep no layout, and where moments lie otherwise than their weights each is stepped by itself."""
    made = placed(network(), torch.device("cpu"))
    first = build_optimiser(made, replace(CONFIG, kind=kind))
    learn(made, first, 1)
    second = build_optimiser(made, replace(CONFIG, kind=kind))
    load_optimiser_tensors(second, {key: value.contiguous() for key, value in optimiser_tensors(first).items()})
    for parameter, state in second.state.items():
        for name, value in state.items():
            assert torch.equal(value, first.state[parameter][name])
            assert value.shape != parameter.shape or value.stride() == parameter.stride()
