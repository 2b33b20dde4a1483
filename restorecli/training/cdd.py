"""What CDD-GAN adds to the core (Chen et al., ECCV 2022): negatives that are learnt against the encoder.

CDD-GAN's own code was never published. This is **our reconstruction** from its abstract and from NEGCUT (Wang et al.,
ICCV 2021), on which it builds: in each direction a negative generator invents, from the mean of the projected features
and noise, the negatives of the patch-contrastive loss. It ascends the loss that the encoder descends, in turns, and is
kept from giving one negative for all by a diversity term. Keys come from a moving average of the projection heads.
"""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import Tensor, nn

from restorecli.models.contrast import NegativeGenerators, ProjectionHeads, patches_at, sample_places
from restorecli.models.unet import UNet
from restorecli.training.config import TrainConfig
from restorecli.training.cyclegan import BETAS, CycleGAN, Translation, learn, nce_over_layers
from restorecli.training.losses import diversity_loss

HEAD_DECAY = 0.9
"""Decay of the moving average of the projection heads, as in NEGCUT."""


class AdversarialContrastive(CycleGAN):
    """CycleGAN with the negative generators of CDD-GAN, one a direction."""

    def __init__(self, config: TrainConfig, restorer: UNet, device: torch.device) -> None:
        super().__init__(config, restorer, device)
        unpaired = config.unpaired
        self.average_restorer = copy.deepcopy(self.heads_restorer).requires_grad_(False)
        self.average_degrader = copy.deepcopy(self.heads_degrader).requires_grad_(False)
        self.negatives_restorer = NegativeGenerators(self.layers, unpaired.queue, unpaired.noise).to(device)
        self.negatives_degrader = NegativeGenerators(self.layers, unpaired.queue, unpaired.noise).to(device)
        self.opposing = torch.optim.Adam(
            chain(self.negatives_restorer.parameters(), self.negatives_degrader.parameters()),
            lr=unpaired.lr,
            betas=BETAS,
        )

    def modules(self) -> dict[str, nn.Module]:
        return super().modules() | {
            "average_restorer": self.average_restorer,
            "average_degrader": self.average_degrader,
            "negatives_restorer": self.negatives_restorer,
            "negatives_degrader": self.negatives_degrader,
        }

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return super().optimisers() | {"opposing": self.opposing}

    def learn_negatives(self, there: Translation, back: Translation) -> dict[str, float]:
        """One step of the negative generators: away from what the encoder can tell apart, and away from one another."""
        weights = self.config.unpaired
        loss = torch.zeros((), device=there.source.crop.device)
        for way, heads, average, makers in self._ways(there, back):
            with torch.no_grad():
                queries, positives = self._embed(way, heads, average)
            negatives = makers(positives)
            loss = loss - nce_over_layers(queries, positives, weights.temperature, negatives)
            loss = loss + weights.diversity * torch.stack([diversity_loss(n) for n in negatives]).mean()
        learn(self.opposing, loss, self.config.optimiser.clip, "negative generators")
        return {"negatives": float(loss.detach())}

    def contrast(self, there: Translation, back: Translation) -> Tensor:
        """The adversarial contrastive loss of both directions, against negatives that are fixed for this step."""
        weights = self.config.unpaired
        loss = torch.zeros((), device=there.source.crop.device)
        for way, heads, average, makers in self._ways(there, back):
            queries, positives = self._embed(way, heads, average)
            with torch.no_grad():
                negatives = makers(positives)
            loss = loss + nce_over_layers(queries, positives, weights.temperature, negatives)
        return loss

    def update(self) -> None:
        """Step the degrader and the heads, then let the heads' average follow."""
        super().update()
        for average, heads in (
            (self.average_restorer, self.heads_restorer),
            (self.average_degrader, self.heads_degrader),
        ):
            with torch.no_grad():
                torch._foreach_lerp_(list(average.parameters()), list(heads.parameters()), 1 - HEAD_DECAY)

    def _ways(
        self, there: Translation, back: Translation
    ) -> tuple[tuple[Translation, ProjectionHeads, ProjectionHeads, NegativeGenerators], ...]:
        return (
            (there, self.heads_restorer, self.average_restorer, self.negatives_restorer),
            (back, self.heads_degrader, self.average_degrader, self.negatives_degrader),
        )

    def _embed(
        self, way: Translation, heads: ProjectionHeads, average: ProjectionHeads
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Queries from the generated photo, keys (no gradient) from its source, both by the generator's own encoder."""
        asked = self.features(way.generator, way.generated)
        with torch.no_grad():
            known = self.features(way.generator, way.source)
        places = sample_places(asked, self.config.unpaired.patches)
        with torch.no_grad():
            positives = average(patches_at(known, places))
        return heads(patches_at(asked, places)), positives
