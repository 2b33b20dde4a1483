"""What CDD-GAN adds to the core (Chen et al., ECCV 2022): negatives that are learnt against the encoder.

CDD-GAN's own code was never published. This is **our reconstruction** from its abstract and from NEGCUT (Wang et al.,
ICCV 2021), on which it builds:

* In each direction a negative generator invents, from the mean of the projected features and noise, the negatives of
  the patch-contrastive loss, in place of those of the photo, or beside them (``unpaired.own``): a restorer that starts
  as the identity tells invented ones alone apart at once. It ascends the loss that the encoder descends, in turns, and
  is kept from giving one negative for all by a diversity term. Keys come from a moving average of the heads.
* "A queue of challenging negatives": those of earlier steps stay until they are the oldest (``unpaired.queue`` and
  ``unpaired.fresh``); with all of them fresh it is NEGCUT's.
* "Unpaired clear exemplars": in the direction to clear, the patch of an unpaired clear photo that is most like the
  query is a second positive, against the same negatives (``unpaired.exemplars``). Nothing says which patches belong
  together, so the nearest is taken.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from restorecli.models.contrast import NegativeGenerators, NegativeQueue, ProjectionHeads, patches_at, sample_places
from restorecli.models.generators import Generator
from restorecli.training.config import TrainConfig
from restorecli.training.cyclegan import BETAS, CycleGAN, Noise, Translation, Ways
from restorecli.training.data import Crops
from restorecli.training.losses import diversity_loss, nce_over_layers, nearest
from restorecli.training.mechanics import Mechanics

HEAD_DECAY = 0.9
"""Decay of the moving average of the projection heads, as in NEGCUT."""


class AdversarialContrastive(CycleGAN):
    """CycleGAN with the negative generators of CDD-GAN, one a direction."""

    def __init__(
        self, config: TrainConfig, restorer: Generator, device: torch.device, mechanics: Mechanics | None = None
    ) -> None:
        super().__init__(config, restorer, device, mechanics)
        unpaired = config.unpaired
        self.fresh = unpaired.fresh or unpaired.queue
        self.average_restorer = copy.deepcopy(self.heads_restorer).requires_grad_(False)
        self.average_degrader = copy.deepcopy(self.heads_degrader).requires_grad_(False)
        self.negatives_restorer = NegativeGenerators(self.layers, unpaired.noise).to(device)
        self.negatives_degrader = NegativeGenerators(self.layers, unpaired.noise).to(device)
        self.queue_restorer, self.queue_degrader = (
            NegativeQueue(self.layers, unpaired.queue - self.fresh).to(device) for _ in range(2)
        )
        self.made: list[list[list[Tensor]]] = []
        """This step's negatives of each group and direction, which join the queue when the step is over."""
        self.exemplars: list[Tensor] = []
        """Embedded patches of this step's clear photos, the candidates for second positives."""
        self.opposing = torch.optim.Adam(
            chain(self.negatives_restorer.parameters(), self.negatives_degrader.parameters()),
            lr=unpaired.lr,
            betas=BETAS,
        )

    def modules(self) -> dict[str, nn.Module]:
        queues = {"queue_restorer": self.queue_restorer, "queue_degrader": self.queue_degrader}
        return super().modules() | {
            "average_restorer": self.average_restorer,
            "average_degrader": self.average_degrader,
            "negatives_restorer": self.negatives_restorer,
            "negatives_degrader": self.negatives_degrader,
            **(queues if self.fresh < self.config.unpaired.queue else {}),
        }

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        # The core asks before there are negative generators.
        own = {"opposing": self.opposing} if hasattr(self, "opposing") else {}
        return super().optimisers() | own

    def translate(self, degraded: Crops, clear: Crops, noise: Noise) -> Ways:
        """As in the core; queries and keys are embedded here, once for both players of the contrastive game."""
        ways = super().translate(degraded, clear, noise)
        ways.embedded = [
            self._embed(ways.there, self.heads_restorer, self.average_restorer),
            self._embed(ways.back, self.heads_degrader, self.average_degrader),
        ]
        return ways

    def oppose(self, rounds: Sequence[Ways], seed: int = 0) -> dict[str, float]:
        """The step of the discriminators, then that of the negative generators: away from what the encoder can tell
        apart, and away from one another."""
        values = super().oppose(rounds, seed)
        weights = self.config.unpaired
        if weights.exemplars > 0:
            self.exemplars = self._exemplars([ways.back.source for ways in rounds])
        total, self.made = 0.0, []
        for ways in rounds:
            loss = torch.zeros((), device=self.device)
            made, draw = [], ways.noise.of(1, self.device)
            for index, (makers, queue) in enumerate(self._makers()):
                queries, keys = ([one.detach() for one in part] for part in ways.embedded[index])
                fresh = self._invent(makers, keys, draw)
                own = keys if weights.own else None
                loss = loss - nce_over_layers(queries, keys, weights.temperature, queue(fresh), own)
                spread = [diversity_loss(n, weights.spread) for n in fresh]
                loss = loss + weights.diversity * torch.stack(spread).mean()
                made.append(fresh)
            self.mechanics.backward(loss / len(rounds), "negative generators")
            total += float(loss.detach()) / len(rounds)
            self.made.append(made)
        self.mechanics.step(self.opposing, "negative generators")
        return values | {"negatives": total}

    def contrast(self, ways: Ways, again: tuple[Translation, Translation]) -> Tensor:
        """The adversarial contrastive loss of both directions, against negatives that are fixed for this step."""
        weights = self.config.unpaired
        loss, draw = torch.zeros((), device=self.device), ways.noise.of(2, self.device)
        for index, (makers, queue) in enumerate(self._makers()):
            queries, keys = ways.embedded[index]
            with torch.no_grad():
                negatives = queue(self._invent(makers, keys, draw))
            own = keys if weights.own else None
            term = nce_over_layers(queries, keys, weights.temperature, negatives, own)
            if index == 0 and weights.exemplars > 0:
                near = [nearest(q, e) for q, e in zip(queries, self.exemplars, strict=True)]
                second = nce_over_layers(queries, near, weights.temperature, negatives, own)
                term = (1 - weights.exemplars) * term + weights.exemplars * second
            loss = loss + term
        return loss

    def update(self, weight: float = 1.0) -> None:
        """Step the degrader and the heads, then let the heads' average follow and the queue grow older."""
        super().update(weight)
        if self.fresh < self.config.unpaired.queue:
            self._push(self.made)
        for average, heads in (
            (self.average_restorer, self.heads_restorer),
            (self.average_degrader, self.heads_degrader),
        ):
            with torch.no_grad():
                torch._foreach_lerp_(list(average.parameters()), list(heads.parameters()), 1 - HEAD_DECAY)

    def _makers(self) -> tuple[tuple[NegativeGenerators, NegativeQueue], ...]:
        """Negative generators and queue of each direction, in the order of ``Ways.embedded``."""
        return (self.negatives_restorer, self.queue_restorer), (self.negatives_degrader, self.queue_degrader)

    def _invent(self, makers: NegativeGenerators, keys: list[Tensor], draw: Callable[..., Tensor]) -> list[Tensor]:
        return makers(keys, [draw(len(keys[0]), self.fresh, makers.noise) for _ in keys])

    @torch.no_grad()
    def _push(self, pushed: list[list[list[Tensor]]]) -> None:
        """The negatives of all groups and processes into the queues, in their order."""
        for index, (_, queue) in enumerate(self._makers()):
            layers = zip(*(made[index] for made in pushed), strict=True)
            queue.push([self.mechanics.processes.gather(torch.cat(layer)) for layer in layers])

    @torch.no_grad()
    def _exemplars(self, clear: Sequence[Crops]) -> list[Tensor]:
        """Embedded patches of the clear photos of all groups and processes, (N, width) for each layer."""
        seen = [self.features(self.restorer, crops) for crops in clear]
        places = sample_places(seen[0], self.config.unpaired.patches)
        made = [self.average_restorer(patches_at(features, places)) for features in seen]
        gather = self.mechanics.processes.gather
        return [gather(torch.cat(layer)).flatten(0, 1) for layer in zip(*made, strict=True)]

    def _embed(
        self, way: Translation, heads: ProjectionHeads, average: ProjectionHeads
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Queries from the generated photo, keys (no gradient) from its source, both by the generator's own encoder."""
        asked = self.features(way.generator, way.generated)
        places = sample_places(asked, self.config.unpaired.patches)
        with torch.no_grad():
            keys = average(patches_at(self.features(way.generator, way.source), places))
        return heads(patches_at(asked, places)), keys
