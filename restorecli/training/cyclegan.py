"""The shared core: two generators, two discriminators, two cycles, and a place for what each paper adds.

``restorer`` maps degraded to clear, ``degrader`` clear to degraded. The photos of the two domains are unpaired.
The core itself has the patch-contrastive loss of CUT (Park et al., ECCV 2020) in both directions; ``cdd.py`` and
``dcd.py`` replace it by theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

from restorecli.errors import TrainingError
from restorecli.models.contrast import ProjectionHeads, patches_at, sample_places
from restorecli.models.discriminator import PatchDiscriminator
from restorecli.models.unet import UNet
from restorecli.training.config import TrainConfig
from restorecli.training.data import WHOLE, Crops, thumbnail_of
from restorecli.training.losses import adversarial_loss, discriminator_loss, patch_nce

Network = TypeVar("Network", bound=nn.Module)

BETAS = (0.5, 0.999)
"""Adam's betas for every adversarial player, as in CycleGAN, CUT and DCD-GAN."""


@dataclass(frozen=True)
class Translation:
    """One direction: the photos that went in, what came out, and who did it."""

    source: Crops
    generated: Crops
    generator: UNet
    opposite: UNet
    """The generator of the other direction, whose input domain is where ``generated`` should belong."""


class CycleGAN:
    """The unpaired branch of a training run."""

    def __init__(self, config: TrainConfig, restorer: UNet, device: torch.device) -> None:
        unpaired = config.unpaired
        self.config = config
        self.restorer = restorer
        widths = unpaired.degrader
        blocks = tuple([1] * (len(widths) - 1) + [2])
        # The degrader is tied to its input as the restorer is: colour and content cannot drift.
        shape = replace(config.generator, widths=widths, blocks=blocks)
        self.degrader = placed(UNet(shape), device)
        self.judge_clear = placed(PatchDiscriminator(unpaired.discriminator), device)
        self.judge_degraded = placed(PatchDiscriminator(unpaired.discriminator), device)
        # Dual contrast compares the two encoders place by place, so only scales that both have can be used.
        self.layers = min(len(config.generator.widths), len(widths))
        self.heads_restorer = ProjectionHeads(config.generator.widths[: self.layers]).to(device)
        self.heads_degrader = ProjectionHeads(widths[: self.layers]).to(device)
        self.judging = torch.optim.Adam(
            chain(self.judge_clear.parameters(), self.judge_degraded.parameters()), lr=unpaired.lr, betas=BETAS
        )
        self.generating = torch.optim.Adam(
            chain(self.degrader.parameters(), self.heads_restorer.parameters(), self.heads_degrader.parameters()),
            lr=unpaired.lr,
            betas=BETAS,
        )

    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights, by name, for checkpoints."""
        return {
            "degrader": self.degrader,
            "judge_clear": self.judge_clear,
            "judge_degraded": self.judge_degraded,
            "heads_restorer": self.heads_restorer,
            "heads_degrader": self.heads_degrader,
        }

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimiser, by name, for checkpoints."""
        return {"judging": self.judging, "generating": self.generating}

    def losses(self, degraded: Crops, clear: Crops) -> tuple[Tensor, dict[str, float]]:
        """One round: translate, update the discriminators (and what a method adds), give the generators' loss.

        The caller adds the loss to its own, runs backward, steps the restorer and calls :meth:`update`.
        Raises :class:`TrainingError` when a discriminator's loss is not finite.
        """
        weights = self.config.unpaired
        there = self.translate(degraded, self.restorer, self.degrader)
        back = self.translate(clear, self.degrader, self.restorer)
        values = {"d": self._judge(degraded, clear, there, back)}
        values |= self.learn_negatives(there, back)

        adversarial = adversarial_loss(weights.gan, self.judge_clear(there.generated.crop))
        adversarial = adversarial + adversarial_loss(weights.gan, self.judge_degraded(back.generated.crop))
        cycle = distance(self.degrader, there.generated, degraded.crop) + distance(
            self.restorer, back.generated, clear.crop
        )
        identity = distance(self.restorer, clear, clear.crop) + distance(self.degrader, degraded, degraded.crop)
        contrast = self.contrast(there, back)
        terms = {"gan": adversarial, "cycle": cycle, "identity": identity, "contrast": contrast}
        values |= {name: float(term.detach()) for name, term in terms.items()}
        total = (
            weights.adversarial * adversarial
            + weights.cycle * cycle
            + weights.identity * identity
            + weights.contrast * contrast
        )
        return total, values

    def update(self) -> None:
        """Step the degrader and the projection heads with the gradients of the loss that :meth:`losses` gave."""
        step(self.generating, self.config.optimiser.clip, "degrading generator and heads")

    def translate(self, source: Crops, generator: UNet, opposite: UNet) -> Translation:
        """Send crops through a generator. The thumbnail of what it makes is that of the crop alone: the rest of
        the generated photo does not exist."""
        crop = generator(source.crop, source.thumbnail, source.place).float()
        small = thumbnail_of(crop, source.thumbnail.shape[-1])
        place = torch.tensor(WHOLE, device=crop.device).expand(len(crop), 4)
        return Translation(source, Crops(crop, small, place), generator, opposite)

    def contrast(self, there: Translation, back: Translation) -> Tensor:
        """Patch NCE of both directions: query and positive are the generator's own features of output and input."""
        return self._nce(there, self.heads_restorer) + self._nce(back, self.heads_degrader)

    def learn_negatives(self, there: Translation, back: Translation) -> dict[str, float]:
        """What a method learns between discriminators and generators; the core has nothing to."""
        return {}

    def features(self, generator: UNet, photo: Crops) -> list[Tensor]:
        """The encoder's features of the layers that both generators have, each (B, C, h, w)."""
        return generator.features(photo.crop, photo.thumbnail, photo.place)[: self.layers]

    def _nce(self, way: Translation, heads: ProjectionHeads) -> Tensor:
        weights = self.config.unpaired
        asked = self.features(way.generator, way.generated)
        known = self.features(way.generator, way.source)
        places = sample_places(asked, weights.patches)
        queries = heads(patches_at(asked, places))
        positives = heads(patches_at(known, places))
        return nce_over_layers(queries, [p.detach() for p in positives], weights.temperature)

    def _judge(self, degraded: Crops, clear: Crops, there: Translation, back: Translation) -> float:
        """One step of both discriminators on the photos and on what the generators made of them."""
        kind = self.config.unpaired.gan
        judges = (self.judge_clear, self.judge_degraded)
        for judge in judges:
            judge.requires_grad_(True)
        loss = discriminator_loss(kind, self.judge_clear(clear.crop), self.judge_clear(there.generated.crop.detach()))
        loss = loss + discriminator_loss(
            kind, self.judge_degraded(degraded.crop), self.judge_degraded(back.generated.crop.detach())
        )
        learn(self.judging, loss, self.config.optimiser.clip, "discriminators")
        # The generators' loss goes through the judges, not into them.
        for judge in judges:
            judge.requires_grad_(False)
        return float(loss.detach())


def placed(network: Network, device: torch.device) -> Network:
    """The network on the device, channels last, which is what its convolutions are fastest with."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def nce_over_layers(
    queries: list[Tensor], positives: list[Tensor], temperature: float, negatives: list[Tensor] | None = None
) -> Tensor:
    """Mean of :func:`patch_nce` over the layers."""
    given: Sequence[Tensor | None] = negatives if negatives is not None else [None] * len(queries)
    rows = zip(queries, positives, given, strict=True)
    return torch.stack([patch_nce(q, p, temperature, n) for q, p, n in rows]).mean()


def distance(generator: UNet, photo: Crops, wanted: Tensor) -> Tensor:
    """L1 distance between what a generator makes of a photo and what it should make."""
    return (generator(photo.crop, photo.thumbnail, photo.place).float() - wanted).abs().mean()


def learn(optimiser: torch.optim.Optimizer, loss: Tensor, clip: float, who: str) -> None:
    """Backward and one step; :class:`TrainingError` when the loss is not finite."""
    if not math.isfinite(float(loss.detach())):
        raise TrainingError(f"the loss of the {who} is not finite; the last checkpoint is intact", kind="not_finite")
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    step(optimiser, clip, who)


def step(optimiser: torch.optim.Optimizer, clip: float, who: str) -> None:
    """One step with clipped gradients, which are then gone; :class:`TrainingError` when they are not finite."""
    norm = nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip)
    if not torch.isfinite(norm):
        raise TrainingError(
            f"the gradient of the {who} is not finite; the last checkpoint is intact", kind="not_finite"
        )
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
