"""The unpaired branch: who learns what from which loss."""

from __future__ import annotations

import pytest
import torch

from restorecli.errors import TrainingError
from restorecli.models.unet import UNet
from restorecli.training.cdd import AdversarialContrastive
from restorecli.training.config import TrainConfig, load_preset
from restorecli.training.cyclegan import CycleGAN, Noise, Ways
from restorecli.training.data import WHOLE, Crops, thumbnail_of
from restorecli.training.losses import nce_over_layers
from restorecli.training.methods import BRANCHES, build_branch
from restorecli.training.pool import ImagePool


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


def _loss_after(branch: CycleGAN, ways: Ways) -> torch.Tensor:
    branch.oppose([ways])
    return branch.losses(ways)[0]


def _round(branch: CycleGAN) -> tuple[torch.Tensor, dict[str, float]]:
    ways = branch.translate(_crops(1), _crops(2), Noise(3))
    values = branch.oppose([ways])
    loss, terms = branch.losses(ways)
    return loss, values | terms


@pytest.mark.parametrize("method", sorted(BRANCHES))
def test_the_generators_loss_reaches_generators_and_heads_but_no_judge(small_config: TrainConfig, method: str) -> None:
    branch = _branch(small_config, method)
    loss, values = _round(branch)
    loss.backward()
    assert all(torch.isfinite(torch.tensor(value)) for value in values.values())
    for module in (branch.restorer, branch.degrader, branch.heads_restorer, branch.heads_degrader):
        assert any(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in module.parameters())
    for judge in (branch.judge_clear, branch.judge_degraded):
        assert all(p.grad is None for p in judge.parameters())


@pytest.mark.parametrize("method", sorted(BRANCHES))
def test_every_term_counts_with_its_own_weight(small_config: TrainConfig, method: str) -> None:
    weights = {"adversarial": 0.5, "cycle": 7.0, "identity": 1.5, "contrast": 25.0}
    branch = _branch(small_config.with_overrides([f"unpaired.{key}={value}" for key, value in weights.items()]), method)
    loss, values = _round(branch)
    expected = sum(
        weights["adversarial" if name == "gan" else name] * values[name]
        for name in ("gan", "cycle", "identity", "contrast")
    )
    assert min(values[name] * weight for name, weight in weights.items() if name in values) > 1e-3
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", sorted(BRANCHES))
def test_a_round_moves_every_player(small_config: TrainConfig, method: str) -> None:
    branch = _branch(small_config, method)
    before = {n: [p.clone() for p in m.parameters()] for n, m in branch.modules().items()}
    loss, _ = _round(branch)
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
    _, values = _round(branch)
    assert values["cycle"] == pytest.approx(0, abs=1e-6) and values["identity"] == pytest.approx(0, abs=1e-6)
    # A degrader that adds a tenth everywhere: each cycle and its identity are off by just that.
    torch.nn.init.constant_(branch.degrader.head.bias, 0.1)
    _, values = _round(branch)
    assert values["cycle"] == pytest.approx(0.2, rel=1e-4)
    assert values["identity"] == pytest.approx(0.1, rel=1e-4)


def _opposed(config: TrainConfig, rounds: int) -> tuple[AdversarialContrastive, list[float], list[torch.Tensor]]:
    """The negative generators alone learn; the adversarial contrastive loss before and after, and their negatives."""
    branch = _branch(config, "cdd")
    assert isinstance(branch, AdversarialContrastive)
    ways = branch.translate(_crops(1), _crops(2), Noise(3))
    queries, keys = ([one.detach() for one in part] for part in ways.embedded[0])

    def made() -> list[torch.Tensor]:
        with torch.no_grad():
            return branch._invent(branch.negatives_restorer, keys, Noise(5).of(1, branch.device))

    losses = [float(nce_over_layers(queries, keys, 0.07, made()))]
    for _ in range(rounds):
        branch.oppose([ways])
    losses.append(float(nce_over_layers(queries, keys, 0.07, made())))
    return branch, losses, made()


def test_negative_generators_ascend_what_the_encoder_descends(small_config: TrainConfig) -> None:
    config = small_config.with_overrides(["unpaired.diversity=0.0", "unpaired.lr=0.003"])
    branch, (before, after), _ = _opposed(config, 10)
    assert after > before
    # The encoder's own step, against negatives that stay as they are, is downhill.
    torch.manual_seed(0)
    ways = branch.translate(_crops(1), _crops(2), Noise(3))
    loss = branch.contrast(ways, branch.close(ways))
    loss.backward()
    assert all(p.grad is None for p in branch.negatives_restorer.parameters())
    branch.generating.step()
    torch.manual_seed(0)
    again = branch.translate(_crops(1), _crops(2), Noise(3))
    assert branch.contrast(again, branch.close(again)).detach() < loss.detach()


def test_the_contrast_of_the_preset_says_something_to_a_restorer_that_does_nothing(small_config: TrainConfig) -> None:
    """All that it gave is then what it was given: negatives of the generators alone, which have nothing to do with it
    at first, are told apart at once, and nothing is learnt from them."""
    terms = {}
    for name, more in {"alone": [], "own": ["unpaired.own=true"]}.items():
        branch = _branch(small_config.with_overrides(["unpaired.temperature=0.07", *more]), "cdd")
        torch.manual_seed(0)
        ways = branch.translate(_crops(1), _crops(1), Noise(3))
        terms[name] = float(branch.contrast(ways, branch.close(ways)).detach())
    assert terms["own"] > 2 * terms["alone"] and terms["own"] > 1
    assert load_preset("cdd").unpaired.own and not load_preset("cdd-paper").unpaired.own


def test_diversity_keeps_negatives_apart(small_config: TrainConfig) -> None:
    spreads = []
    for weight in (0.0, 5.0):
        config = small_config.with_overrides([f"unpaired.diversity={weight}", "unpaired.lr=0.003"])
        negatives = _opposed(config, 15)[2]
        spreads.append(float(torch.stack([n.std(1).mean() for n in negatives]).mean()))
    assert spreads[1] > spreads[0]


def test_old_negatives_stay_until_they_are_the_oldest(small_config: TrainConfig) -> None:
    branch = _branch(small_config.with_overrides(["unpaired.queue=8", "unpaired.fresh=2"]), "cdd")
    assert isinstance(branch, AdversarialContrastive)
    before = branch.queue_restorer.latest.clone()
    ways = branch.translate(_crops(1), _crops(2), Noise(3))
    loss = _loss_after(branch, ways)
    assert loss.isfinite()
    # What is learnt from in a step is of earlier ones.
    assert torch.equal(branch.queue_restorer.latest, before)
    loss.backward()
    branch.update()
    # Two photos of two fresh negatives each, behind the six that were there, of which the first four are gone.
    assert torch.equal(branch.queue_restorer.latest[:, :2], before[:, 4:])
    assert not torch.equal(branch.queue_restorer.latest[:, 2:], before[:, :4])


@pytest.mark.parametrize("method", sorted(BRANCHES))
def test_the_degrader_learns_alike_however_little_the_branch_weighs(small_config: TrainConfig, method: str) -> None:
    learnt = []
    for weight in (1.0, 1e-4):
        branch = _branch(small_config, method)
        (weight * _round(branch)[0]).backward()
        branch.update(weight)
        learnt.append([p.detach().clone() for group in branch.generating.param_groups for p in group["params"]])
    for one, other in zip(*learnt, strict=True):
        # A step of Adam is about as long as its rate.
        assert float((one - other).abs().max()) < 0.1 * small_config.unpaired.lr


def test_heads_average_follows_with_its_decay(small_config: TrainConfig) -> None:
    branch = _branch(small_config, "cdd")
    assert isinstance(branch, AdversarialContrastive)
    before = next(branch.average_restorer.parameters()).clone()
    _round(branch)[0].backward()
    branch.update()
    wanted = 0.9 * before + 0.1 * next(branch.heads_restorer.parameters())
    assert torch.allclose(next(branch.average_restorer.parameters()), wanted, atol=1e-7)


def _all_of(features: list[torch.Tensor]) -> list[torch.Tensor]:
    """All places of every layer, so that their order does not matter."""
    return [f.flatten(2).transpose(1, 2) for f in features]


def test_exemplars_are_second_positives_towards_clear(small_config: TrainConfig) -> None:
    more = ["unpaired.exemplars=0.25", "unpaired.temperature=1.0", "unpaired.patches=600"]
    branch = _branch(small_config.with_overrides(more), "cdd")
    assert isinstance(branch, AdversarialContrastive)
    ways = branch.translate(_crops(1), _crops(2), Noise(3))
    branch.oppose([ways])
    clear, draw, by_hand = _crops(2), ways.noise.of(2, branch.device), 0.0
    seen = branch.restorer.features(clear.crop, clear.thumbnail, clear.place)
    exemplars = [layer.flatten(0, 1) for layer in branch.average_restorer(_all_of(seen))]
    for index, (makers, queue) in enumerate(branch._makers()):
        queries, keys = ways.embedded[index]
        negatives = queue(branch._invent(makers, keys, draw))
        share = 0.25 if index == 0 else 0.0
        near = [e[(q @ e.T).argmax(-1)] for q, e in zip(queries, exemplars, strict=True)]
        for positives, part in ((keys, 1 - share), (near, share)):
            by_hand += part * float(nce_over_layers(queries, positives, 1.0, negatives).detach())
    assert float(branch.contrast(ways, branch.close(ways)).detach()) == pytest.approx(by_hand, rel=1e-4)


def test_dual_contrast_asks_the_opposite_encoder(small_config: TrainConfig) -> None:
    """Query: head of the other domain on the opposite encoder's features; key: the generator's own, detached."""
    branch = _branch(small_config.with_overrides(["unpaired.patches=600"]), "dcd")
    ways = branch.translate(_crops(1), _crops(2), Noise(3))
    torch.manual_seed(0)
    again = branch.close(ways)
    loss = branch.contrast(ways, again)
    stages = []
    for way, own, other in (
        (ways.there, branch.heads_restorer, branch.heads_degrader),
        (ways.back, branch.heads_degrader, branch.heads_restorer),
        # R* is of the degrader, which saw N_R; N* of the restorer, which saw R_N.
        (again[0], branch.heads_degrader, branch.heads_restorer),
        (again[1], branch.heads_restorer, branch.heads_degrader),
    ):
        made, source = way.generated, way.source
        asked = way.opposite.features(made.crop, made.thumbnail, made.place)
        known = way.generator.features(source.crop, source.thumbnail, source.place)
        stages.append(float(nce_over_layers(other(_all_of(asked)), own(_all_of(known)), 0.07).detach()))
    assert float(loss.detach()) == pytest.approx(sum(stages[:2]), rel=1e-4)
    branch.config = branch.config.with_overrides(["unpaired.all_stages=true"])
    assert float(branch.contrast(ways, again).detach()) == pytest.approx(sum(stages) / 2, rel=1e-4)


@pytest.mark.parametrize("task", ["derain", "dehaze"])
def test_a_degrader_bound_to_physics_degrades(small_config: TrainConfig, task: str) -> None:
    config = small_config.with_overrides([f"task={task}", "unpaired.physics=true", "unpaired.floor=0.2"])
    branch = _branch(config, "dcd")
    ways = branch.translate(_crops(1), _crops(2), Noise(3))
    same, other = (branch.translate(_crops(1), _crops(2), Noise(seed)).back.generated.crop for seed in (3, 4))
    assert torch.equal(ways.back.generated.crop, same) and not torch.equal(same, other)
    loss, values = branch.losses(ways)
    change = (ways.back.generated.crop - ways.back.source.crop).abs().mean((1, 2, 3))
    assert (
        values["floor"] == pytest.approx(float(torch.relu(1 - change.detach() / 0.2).mean()), rel=1e-5)
        and values["floor"] > 0
    )
    # The cycle that begins with a clear photo teaches the restorer alone.
    again = branch.close(ways)
    (again[1].generated.crop - ways.back.source.crop).abs().mean().backward()
    assert all(p.grad is None for p in branch.degrader.parameters())
    loss.backward()
    assert any(float(p.grad.abs().sum()) > 0 for p in branch.degrader.parameters() if p.grad is not None)


def test_pooled_photos_are_shown_again(small_config: TrainConfig) -> None:
    pool = ImagePool(3, 4)
    draws = torch.Generator().manual_seed(0)
    photos = torch.arange(12.0).view(12, 1, 1, 1).expand(12, 3, 4, 4)
    assert torch.equal(pool.swap(photos[:3], draws), photos[:3])
    given = pool.swap(photos[3:], draws)[:, 0, 0, 0].tolist()
    kept = pool.photos[:, 0, 0, 0].tolist()
    # Every photo was either shown or is still there, and none twice.
    assert sorted(given + kept) == list(range(12)) and given != list(range(3, 12))
    branch = _branch(small_config.with_overrides(["unpaired.pool=4"]), "dcd")
    _round(branch)
    assert int(branch.pool_clear.filled) == 2 and "pool_clear" in branch.modules()


def test_a_judge_that_is_not_finite_stops_the_run(small_config: TrainConfig) -> None:
    branch = _branch(small_config, "dcd")
    torch.nn.init.constant_(branch.judge_clear.scales[0].score.bias, float("nan"))
    with pytest.raises(TrainingError, match="discriminators is not finite"):
        _round(branch)
