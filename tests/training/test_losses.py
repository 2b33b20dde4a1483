"""Each loss against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from restorecli.training.losses import (
    adversarial_loss,
    discriminator_loss,
    diversity_loss,
    floor_loss,
    nearest,
    patch_nce,
    rendered_loss,
)


def _unit(*shape: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_patch_nce_is_the_literal_loop() -> None:
    query, positive, temperature = _unit(2, 5, 8, seed=1), _unit(2, 5, 8, seed=2), 0.3
    terms = []
    for photo in range(2):
        for place in range(5):
            own = math.exp(float(query[photo, place] @ positive[photo, place]) / temperature)
            others = sum(
                math.exp(float(query[photo, place] @ positive[photo, other]) / temperature)
                for other in range(5)
                if other != place
            )
            terms.append(-math.log(own / (own + others)))
    assert float(patch_nce(query, positive, temperature)) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_given_negatives_replace_those_of_the_photo() -> None:
    query, positive, negatives, temperature = (
        _unit(2, 3, 8, seed=1),
        _unit(2, 3, 8, seed=2),
        _unit(2, 4, 8, seed=3),
        0.2,
    )
    terms = []
    for photo in range(2):
        for place in range(3):
            own = math.exp(float(query[photo, place] @ positive[photo, place]) / temperature)
            others = sum(math.exp(float(query[photo, place] @ n) / temperature) for n in negatives[photo])
            terms.append(-math.log(own / (own + others)))
    assert float(patch_nce(query, positive, temperature, negatives)) == pytest.approx(sum(terms) / 6, rel=1e-5)


def test_own_places_are_negatives_beside_given_ones() -> None:
    query, positive, keys = (_unit(2, 3, 8, seed=seed) for seed in (1, 2, 4))
    negatives, temperature = _unit(2, 4, 8, seed=3), 0.2
    terms = []
    for photo in range(2):
        for place in range(3):
            fit = math.exp(float(query[photo, place] @ positive[photo, place]) / temperature)
            others = [*negatives[photo], *(keys[photo, other] for other in range(3) if other != place)]
            terms.append(
                -math.log(fit / (fit + sum(math.exp(float(query[photo, place] @ n) / temperature) for n in others)))
            )
    found = float(patch_nce(query, positive, temperature, negatives, keys))
    assert found == pytest.approx(sum(terms) / 6, rel=1e-5)


def test_adversarial_losses_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-2.0, 0.0])
    assert float(discriminator_loss("hinge", [real], [fake])) == pytest.approx(0.5 * (0.25 + 0.5))
    assert float(discriminator_loss("lsgan", [real], [fake])) == pytest.approx(0.5 * ((1 + 0.25) / 2 + 4 / 2))
    assert float(adversarial_loss("hinge", [fake])) == pytest.approx(1.0)
    assert float(adversarial_loss("lsgan", [fake])) == pytest.approx((9 + 1) / 2)
    # Scales count alike, whatever the number of their patches.
    assert float(adversarial_loss("hinge", [fake, torch.tensor([4.0])])) == pytest.approx((1 - 4) / 2)


def test_diversity_is_lowest_for_different_halves() -> None:
    same = torch.ones(1, 4, 3)
    apart = torch.cat([torch.ones(1, 2, 3), -torch.ones(1, 2, 3)], dim=1)
    assert float(diversity_loss(same)) == 0
    assert float(diversity_loss(apart)) == pytest.approx(-2)
    # Enough is enough, and what lacks is a loss.
    assert float(diversity_loss(apart, spread=1.5)) == 0
    assert float(diversity_loss(same, spread=1.5)) == pytest.approx(1.5)


def test_the_floor_counts_what_each_crop_lacks() -> None:
    clear = torch.zeros(2, 3, 4, 4)
    degraded = clear + torch.tensor([0.01, 0.3]).view(2, 1, 1, 1)
    assert float(floor_loss(degraded, clear, 0.04)) == pytest.approx((1 - 0.25 + 0) / 2)


def test_the_nearest_exemplar_is_the_most_alike() -> None:
    exemplars = _unit(7, 8, seed=4)
    queries = F.normalize(exemplars[[5, 2, 6]] + 0.1 * _unit(3, 8, seed=5), dim=-1)[None]
    assert torch.equal(nearest(queries, exemplars), exemplars[[5, 2, 6]][None])


def test_rendered_loss_of_a_constant_error() -> None:
    clear = torch.zeros(1, 3, 8, 8)
    assert float(rendered_loss(clear + 0.25, clear, 0.0, 0.0)) == pytest.approx(0.25)
    # The orthonormal spectrum of a constant has one term, 0.25 * 8, among 8 * 5.
    assert float(rendered_loss(clear + 0.25, clear, 0.1, 0.0)) == pytest.approx(0.25 + 0.1 * 2 / 40, rel=1e-4)


def test_the_root_mean_square_counts_what_l1_hardly_does() -> None:
    clear, spread, streak = torch.zeros(3, 1, 3, 8, 8)
    spread[:] = 0.02
    # As much in sum, in a sixteenth of the pixels.
    streak[..., :2, :2] = 0.32
    assert float(rendered_loss(streak, clear, 0.0, 0.0)) == pytest.approx(float(rendered_loss(spread, clear, 0.0, 0.0)))
    assert float(rendered_loss(spread, clear, 0.0, 0.0, 2.0)) == pytest.approx(0.02 + 2 * 0.02, rel=2e-3)
    assert float(rendered_loss(streak, clear, 0.0, 0.0, 2.0)) == pytest.approx(0.02 + 2 * 0.08, rel=2e-3)
    same = clear.clone().requires_grad_()
    rendered_loss(same, clear, 0.1, 0.01, 1.0).backward()
    assert same.grad is not None and bool((same.grad == 0).all())


def test_balance_counts_large_errors_by_their_logarithm() -> None:
    clear = torch.zeros(2, 3, 8, 8)
    restored = clear + torch.tensor([0.001, 0.3]).view(2, 1, 1, 1)
    by_hand = 0.01 * (math.log(1.1) + math.log(31)) / 2
    assert float(rendered_loss(restored, clear, 0.0, 0.01)) == pytest.approx(by_hand, rel=1e-4)
