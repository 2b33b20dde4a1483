"""The unpaired branch: who learns what from which loss."""

from __future__ import annotations

import pytest
import torch

from restorecli.errors import TrainingError
from restorecli.models.unet import UNet
from restorecli.training.cdd import AdversarialContrastive
from restorecli.training.config import TrainConfig
from restorecli.training.cyclegan import CycleGAN, nce_over_layers
from restorecli.training.data import WHOLE, Crops, thumbnail_of
from restorecli.training.methods import BRANCHES, build_branch


def _crops(seed: int) -> Crops:
    crop = torch.rand((2, 3, 48, 48), generator=torch.Generator().manual_seed(seed))
    return Crops(crop, thumbnail_of(crop, 16), torch.tensor([WHOLE, (0.1, 0.2, 0.6, 0.7)]))


def _branch(config: TrainConfig, method: str) -> CycleGAN:
    torch.manual_seed(0)
    restorer = UNet(config.generator)
    branch = build_branch(config.with_overrides([f"method={method}"]), restorer, torch.device("cpu"))
    for network in (restorer, branch.degrader):
        # Away from identity, or half of the gradients are zero.
        torch.nn.init.normal_(network.head.weight, std=0.02)
    return branch


@pytest.mark.parametrize("method", sorted(BRANCHES))
def test_the_generators_loss_reaches_generators_and_heads_but_no_judge(small_config: TrainConfig, method: str) -> None:
    branch = _branch(small_config, method)
    loss, values = branch.losses(_crops(1), _crops(2))
    loss.backward()
    assert all(torch.isfinite(torch.tensor(value)) for value in values.values())
    for module in (branch.restorer, branch.degrader, branch.heads_restorer, branch.heads_degrader):
        assert any(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in module.parameters())
    for judge in (branch.judge_clear, branch.judge_degraded):
        assert all(p.grad is None for p in judge.parameters())


@pytest.mark.parametrize("method", sorted(BRANCHES))
def test_a_round_moves_every_player(small_config: TrainConfig, method: str) -> None:
    branch = _branch(small_config, method)
    before = {n: [p.clone() for p in m.parameters()] for n, m in branch.modules().items()}
    loss, _ = branch.losses(_crops(1), _crops(2))
    loss.backward()
    branch.update()
    for name, module in branch.modules().items():
        moved = any(not torch.equal(a, b) for a, b in zip(before[name], module.parameters(), strict=True))
        assert moved, name


def test_cycle_and_identity_are_distances_to_the_photos(small_config: TrainConfig) -> None:
    """With both generators at identity every translation is its source: both terms are zero."""
    torch.manual_seed(0)
    restorer = UNet(small_config.generator)
    branch = build_branch(small_config, restorer, torch.device("cpu"))
    _, values = branch.losses(_crops(1), _crops(2))
    assert values["cycle"] == pytest.approx(0, abs=1e-6) and values["identity"] == pytest.approx(0, abs=1e-6)
    # A degrader that adds a tenth everywhere: each cycle and its identity are off by just that.
    torch.nn.init.constant_(branch.degrader.head.bias, 0.1)
    _, values = branch.losses(_crops(1), _crops(2))
    assert values["cycle"] == pytest.approx(0.2, rel=1e-4)
    assert values["identity"] == pytest.approx(0.1, rel=1e-4)


def test_negative_generators_ascend_what_the_encoder_descends(small_config: TrainConfig) -> None:
    branch = _branch(small_config.with_overrides(["unpaired.diversity=0.0", "unpaired.lr=0.003"]), "cdd")
    assert isinstance(branch, AdversarialContrastive)
    there = branch.translate(_crops(1), branch.restorer, branch.degrader)
    back = branch.translate(_crops(2), branch.degrader, branch.restorer)

    def loss_now() -> float:
        torch.manual_seed(5)
        with torch.no_grad():
            queries, positives = branch._embed(there, branch.heads_restorer, branch.average_restorer)
            negatives = branch.negatives_restorer(positives)
            return float(nce_over_layers(queries, positives, 0.07, negatives))

    before = loss_now()
    for _ in range(10):
        branch.learn_negatives(there, back)
    assert loss_now() > before


def test_diversity_keeps_negatives_apart(small_config: TrainConfig) -> None:
    spreads = []
    for weight in (0.0, 5.0):
        branch = _branch(small_config.with_overrides([f"unpaired.diversity={weight}", "unpaired.lr=0.003"]), "cdd")
        assert isinstance(branch, AdversarialContrastive)
        there = branch.translate(_crops(1), branch.restorer, branch.degrader)
        back = branch.translate(_crops(2), branch.degrader, branch.restorer)
        torch.manual_seed(0)
        for _ in range(15):
            branch.learn_negatives(there, back)
        with torch.no_grad():
            _, positives = branch._embed(there, branch.heads_restorer, branch.average_restorer)
            spreads.append(float(torch.stack([n.std(1).mean() for n in branch.negatives_restorer(positives)]).mean()))
    assert spreads[1] > spreads[0]


def test_a_judge_that_is_not_finite_stops_the_run(small_config: TrainConfig) -> None:
    branch = _branch(small_config, "dcd")
    torch.nn.init.constant_(branch.judge_clear.score.bias, float("nan"))
    with pytest.raises(TrainingError, match="discriminators is not finite"):
        branch.losses(_crops(1), _crops(2))
