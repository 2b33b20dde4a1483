"""The shared core: two generators, two discriminators, two cycles, and a place for what each paper adds.

``restorer`` maps degraded to clear, ``degrader`` clear to degraded. The photos of the two domains are unpaired.
The core itself has the patch-contrastive loss of CUT (Park et al., ECCV 2020) in both directions; ``cdd.py`` and
``dcd.py`` replace it by theirs.

One round, in the order in which it happens: :meth:`CycleGAN.translate` both ways; :meth:`CycleGAN.oppose`, the step of
those that work against the generators; :meth:`CycleGAN.losses`, what the generators minimise; and, after the caller's
backward pass, :meth:`CycleGAN.update`, the step of the degrader and the heads. The caller steps the restorer.

DCD-GAN's code computes the cycle consistency and leaves it out of its sum; its paper draws it. It is in. The same code
has two L1 terms between *unpaired* photos, left out of its sum too: they are not here, as nothing relates their pixels.

**The degrader bound to physics** (``unpaired.physics``; our addition) is given noise, so it cannot make of N_R just the
R that was there: were it asked to, it would learn to add nothing. So, with R degraded and N clear:

* the cycle R -> N_R -> R* is closed by the law itself: what was removed must be weather that could have been;
* the cycle N -> R_N -> N* teaches the restorer alone: to a degrader it says that less is better;
* the degrader has no identity loss, and a floor under how much it changes; what rain or haze looks like it learns from
  its discriminator alone.

**Transplanted rain** (``unpaired.transplant``; our addition): ``transplant.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

from restorecli.models.contrast import ProjectionHeads, patches_at, sample_places
from restorecli.models.discriminator import Discriminators
from restorecli.models.generators import Generator
from restorecli.models.physics import PhysicsDegrader, screened
from restorecli.models.resnet import ResNet
from restorecli.models.unet import UNet
from restorecli.training.config import TrainConfig
from restorecli.training.data import Crops, thumbnail_of, whole_place
from restorecli.training.losses import adversarial_loss, discriminator_loss, floor_loss, nce_over_layers
from restorecli.training.mechanics import Mechanics
from restorecli.training.pool import ImagePool
from restorecli.training.transplant import changed, rain_of

Network = TypeVar("Network", bound=nn.Module)

BETAS = (0.5, 0.999)
"""Adam's betas for every adversarial player, as in CycleGAN, CUT and DCD-GAN."""


@dataclass(frozen=True)
class Translation:
    """One direction: the photos that went in, what came out, and who did it."""

    source: Crops
    generated: Crops
    generator: Generator
    opposite: Generator
    """The generator of the other direction, whose input domain is where ``generated`` should belong."""


@dataclass(frozen=True)
class Noise:
    """What a group of crops draws: its part of what a single group of all the step's crops would draw."""

    seed: int = 0
    """That of the step."""
    group: int = 0
    """Number of this group among those of the step."""
    groups: int = 1

    def of(self, purpose: int, device: torch.device) -> Callable[..., Tensor]:
        """What draws normal numbers of a shape (B, ...), for one of a few purposes (0 to 3): the same sequence each
        time it is asked for."""
        generator = torch.Generator(device).manual_seed(4 * self.seed + purpose)

        def normal(count: int, *shape: int) -> Tensor:
            drawn = torch.randn((self.groups * count, *shape), generator=generator, device=device)
            return drawn[self.group * count : (self.group + 1) * count]

        return normal


@dataclass
class Ways:
    """Both translations of one group of crops, and what a method keeps of them for the rest of the round."""

    there: Translation
    """Degraded to clear, R -> N_R."""
    back: Translation
    """Clear to degraded, N -> R_N."""
    noise: Noise
    embedded: list[tuple[list[Tensor], list[Tensor]]] = field(default_factory=list)
    """Queries and keys of each direction (method ``cdd``)."""


class CycleGAN:
    """The unpaired branch of a training run."""

    def __init__(
        self, config: TrainConfig, restorer: Generator, device: torch.device, mechanics: Mechanics | None = None
    ) -> None:
        unpaired = config.unpaired
        self.config = config
        self.device = device
        self.mechanics = mechanics or Mechanics(config.optimiser.clip)
        self.restorer = restorer
        self.degrader = placed(build_degrader(config), device)
        self.judge_clear = placed(Discriminators(unpaired.discriminator, unpaired.scales), device)
        self.judge_degraded = placed(Discriminators(unpaired.discriminator, unpaired.scales), device)
        self.pool_clear = ImagePool(unpaired.pool, config.data.crop).to(device)
        self.pool_degraded = ImagePool(unpaired.pool, config.data.crop).to(device)
        # Dual contrast compares the two encoders place by place, so only scales that both have can be used.
        self.layers = min(len(restorer.channels), len(self.degrader.channels))
        self.heads_restorer = ProjectionHeads(restorer.channels[: self.layers]).to(device)
        self.heads_degrader = ProjectionHeads(self.degrader.channels[: self.layers]).to(device)
        self.judging = torch.optim.Adam(
            chain(self.judge_clear.parameters(), self.judge_degraded.parameters()), lr=unpaired.lr, betas=BETAS
        )
        heads = chain(self.heads_restorer.parameters(), self.heads_degrader.parameters())
        self.generating = torch.optim.Adam(
            [
                {"params": list(self.degrader.parameters()), "lr": unpaired.lr},
                {"params": list(heads), "lr": unpaired.heads_lr or unpaired.lr},
            ],
            betas=BETAS,
        )
        self.transplants = False
        """Whether rain of degraded photos is laid over clear ones in this step."""
        self._full_rates = {
            name: [group["lr"] for group in optimiser.param_groups] for name, optimiser in self.optimisers().items()
        }

    def modules(self) -> dict[str, nn.Module]:
        """Everything with a state, by name, for checkpoints."""
        pools: dict[str, nn.Module] = {"pool_clear": self.pool_clear, "pool_degraded": self.pool_degraded}
        return {
            "degrader": self.degrader,
            "judge_clear": self.judge_clear,
            "judge_degraded": self.judge_degraded,
            "heads_restorer": self.heads_restorer,
            "heads_degrader": self.heads_degrader,
            **(pools if self.config.unpaired.pool else {}),
        }

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimiser, by name, for checkpoints."""
        return {"judging": self.judging, "generating": self.generating}

    def set_rate(self, share: float) -> None:
        """Set the learning rates of all players to a share of their highest."""
        for name, optimiser in self.optimisers().items():
            rates = self._full_rates.setdefault(name, [group["lr"] for group in optimiser.param_groups])
            for group, full in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = full * share

    def translate(self, degraded: Crops, clear: Crops, noise: Noise) -> Ways:
        """Send both groups of crops through their generators."""
        draw = noise.of(0, self.device)
        there = self.send(degraded, self.restorer, self.degrader, draw)
        back = self.send(clear, self.degrader, self.restorer, draw)
        return Ways(there, back, noise)

    def oppose(self, rounds: Sequence[Ways], seed: int = 0) -> dict[str, float]:
        """The step of the discriminators, and of what else a method sets against the generators, on all groups.

        Raises :class:`TrainingError` when a loss or gradient is not finite.
        """
        kind = self.config.unpaired.gan
        judges = (self.judge_clear, self.judge_degraded)
        for judge in judges:
            judge.requires_grad_(True)
        draws = torch.Generator().manual_seed(seed)
        cleared = self._swapped(self.pool_clear, [ways.there for ways in rounds], draws)
        rained = self._swapped(self.pool_degraded, [ways.back for ways in rounds], draws)
        total = 0.0
        for ways, false_clear, false_degraded in zip(rounds, cleared, rained, strict=True):
            real_clear, real_degraded = ways.back.source.crop, ways.there.source.crop
            loss = discriminator_loss(kind, self.judge_clear(real_clear), self.judge_clear(false_clear))
            loss = loss + discriminator_loss(
                kind, self.judge_degraded(real_degraded), self.judge_degraded(false_degraded)
            )
            self.mechanics.backward(loss / len(rounds), "discriminators")
            total += float(loss.detach()) / len(rounds)
        self.mechanics.step(self.judging, "discriminators")
        # The generators' loss goes through the judges, not into them.
        for judge in judges:
            judge.requires_grad_(False)
        return {"d": total}

    def losses(self, ways: Ways) -> tuple[Tensor, dict[str, float]]:
        """What the generators minimise on one group of crops, and its terms as plain numbers."""
        weights = self.config.unpaired
        there, back = ways.there, ways.back
        again = self.close(ways)
        terms = {
            "gan": adversarial_loss(weights.gan, self.judge_clear(there.generated.crop))
            + adversarial_loss(weights.gan, self.judge_degraded(back.generated.crop)),
            "cycle": l1(again[0].generated.crop, there.source.crop) + l1(again[1].generated.crop, back.source.crop),
            "identity": self.identity(there.source, back.source),
            "contrast": self.contrast(ways, again),
        }
        shares = {
            "gan": weights.adversarial,
            "cycle": weights.cycle,
            "identity": weights.identity,
            "contrast": weights.contrast,
        }
        if weights.physics and weights.floor > 0:
            terms["floor"] = floor_loss(back.generated.crop, back.source.crop, weights.floor)
            shares["floor"] = weights.floor_weight
        if self.transplants:
            terms["transplant"] = self.transplant(ways)
            shares["transplant"] = weights.transplant
        total = torch.stack([shares[name] * term for name, term in terms.items()]).sum()
        # All at once: each would wait for the device.
        values = torch.stack([term.detach().float() for term in terms.values()]).tolist()
        return total, dict(zip(terms, values, strict=True))

    def update(self, weight: float = 1.0) -> None:
        """Step the degrader and the projection heads with the gradients of ``weight`` times the loss that
        :meth:`losses` gave. They have no other loss, so the weight is taken out again: gradients that are a thousandth
        of what they were fall below Adam's epsilon, and are never clipped."""
        if weight > 0:
            grads = [p.grad for group in self.generating.param_groups for p in group["params"] if p.grad is not None]
            torch._foreach_div_(grads, weight)
        self.mechanics.step(self.generating, "degrading generator and heads")

    def send(
        self, source: Crops, generator: Generator, opposite: Generator, draw: Callable[..., Tensor] | None = None
    ) -> Translation:
        """Send crops through a generator. The thumbnail of what it makes is that of the crop alone: the rest of
        the generated photo does not exist."""
        if isinstance(generator, PhysicsDegrader):
            crop = generator(source.crop, source.thumbnail, source.place, generator.draw_noise(source.crop, draw))
        else:
            crop = generator(source.crop, source.thumbnail, source.place)
        return Translation(source, alone(crop.float(), source.thumbnail.shape[-1]), generator, opposite)

    def close(self, ways: Ways) -> tuple[Translation, Translation]:
        """The second halves of both cycles: N_R -> R* and R_N -> N*."""
        there, back = ways.there, ways.back
        if isinstance(self.degrader, PhysicsDegrader):
            crop = self.degrader.law(there.source.crop, there.generated.crop)
            lawful = alone(crop, there.source.thumbnail.shape[-1])
            given = replace(
                back.generated, crop=back.generated.crop.detach(), thumbnail=back.generated.thumbnail.detach()
            )
            return (
                Translation(there.generated, lawful, self.degrader, self.restorer),
                self.send(given, self.restorer, self.degrader),
            )
        return (
            self.send(there.generated, self.degrader, self.restorer),
            self.send(back.generated, self.restorer, self.degrader),
        )

    def identity(self, degraded: Crops, clear: Crops) -> Tensor:
        """A generator leaves photos of its target domain as they are (L1)."""
        loss = l1(self.restorer(clear.crop, clear.thumbnail, clear.place), clear.crop)
        if not isinstance(self.degrader, PhysicsDegrader):
            loss = loss + l1(self.degrader(degraded.crop, degraded.thumbnail, degraded.place), degraded.crop)
        return loss

    def transplant(self, ways: Ways) -> Tensor:
        """The restorer takes the rain of degraded photos, laid over clear ones, off again (L1)."""
        clear = ways.back.source
        found = rain_of(ways.there.source.crop, ways.there.generated.crop.detach())
        rainy = screened(clear.crop, changed(found, ways.noise.of(3, found.device)))
        given = alone(rainy, clear.thumbnail.shape[-1])
        return l1(self.restorer(given.crop, given.thumbnail, given.place), clear.crop)

    def contrast(self, ways: Ways, again: tuple[Translation, Translation]) -> Tensor:
        """Patch NCE of both directions: query and positive are the generator's own features of output and input."""
        return self._nce(ways.there, self.heads_restorer) + self._nce(ways.back, self.heads_degrader)

    def features(self, generator: Generator, photo: Crops) -> list[Tensor]:
        """The encoder's features of the layers that both generators have, each (B, C, h, w)."""
        return generator.features(photo.crop, photo.thumbnail, photo.place)[: self.layers]

    def _nce(self, way: Translation, heads: ProjectionHeads) -> Tensor:
        weights = self.config.unpaired
        asked = self.features(way.generator, way.generated)
        places = sample_places(asked, weights.patches)
        queries = heads(patches_at(asked, places))
        with torch.no_grad():
            positives = heads(patches_at(self.features(way.generator, way.source), places))
        return nce_over_layers(queries, positives, weights.temperature)

    def _swapped(self, pool: ImagePool, ways: list[Translation], draws: torch.Generator) -> list[Tensor]:
        """The generated crops of each group, some of them older; the pool is that of all processes."""
        fresh = [way.generated.crop.detach() for way in ways]
        if len(pool.photos) == 0:
            return fresh
        processes = self.mechanics.processes
        given = processes.own(pool.swap(processes.gather(torch.cat(fresh)), draws))
        return list(given.split([len(crop) for crop in fresh]))


def build_degrader(config: TrainConfig) -> Generator:
    """The clear-to-degraded generator: of the restorer's architecture, or bound to physics."""
    if config.architecture == "resnet":
        return ResNet(config.resnet)
    widths = config.unpaired.degrader
    # The degrader is tied to its input as the restorer is: colour and content cannot drift.
    shape = replace(config.generator, widths=widths, blocks=tuple([1] * (len(widths) - 1) + [2]))
    return PhysicsDegrader(shape, config.task) if config.unpaired.physics else UNet(shape)


def placed(network: Network, device: torch.device) -> Network:
    """The network on the device, channels last, which is what its convolutions are fastest with."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def alone(crop: Tensor, size: int) -> Crops:
    """Crops (B, 3, H, W) that are whole photos, with thumbnails of that size."""
    return Crops(crop, thumbnail_of(crop, size), whole_place(crop))


def l1(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference of photos."""
    return (made.float() - wanted).abs().mean()
