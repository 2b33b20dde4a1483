"""What DCD-GAN adds to the core (Chen et al., CVPR 2022): dual contrastive learning between the two domains.

The query is a patch of the generated photo, seen by the encoder of the *opposite* generator, whose own input domain
the generated photo should belong to, through that domain's projection heads. The positive is the patch at the same
place of the source photo, seen by the generator's own encoder through its heads, and detached; the negatives are the
other places. Both directions, added.

The paper's figure guides all stages of both cycles, R -> N_R -> R* and N -> R_N -> N*; the public code guides the first
translation of each. ``unpaired.all_stages`` chooses: the mean over the stages, so that the weight means the same.

The published networks are two ResNet-9 of one shape. Where generators differ in width, the heads, one set for each
domain, bring both into the same 256 dimensions; that is our choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from restorecli.models.contrast import ProjectionHeads, patches_at, sample_places
from restorecli.training.cyclegan import CycleGAN, Translation, Ways
from restorecli.training.losses import nce_over_layers


class DualContrastive(CycleGAN):
    """CycleGAN with the contrastive guidance of DCD-GAN."""

    def contrast(self, ways: Ways, again: tuple[Translation, Translation]) -> Tensor:
        """Dual patch NCE of both directions."""
        loss = self._guide(ways.there) + self._guide(ways.back)
        if self.config.unpaired.all_stages:
            loss = (loss + self._guide(again[0]) + self._guide(again[1])) / 2
        return loss

    def _heads(self, way: Translation) -> tuple[ProjectionHeads, ProjectionHeads]:
        """Those of the generator's own input domain, and of the opposite's."""
        if way.generator is self.restorer:
            return self.heads_restorer, self.heads_degrader
        return self.heads_degrader, self.heads_restorer

    def _guide(self, way: Translation) -> Tensor:
        weights = self.config.unpaired
        own, opposite = self._heads(way)
        asked = self.features(way.opposite, way.generated)
        places = sample_places(asked, weights.patches)
        queries = opposite(patches_at(asked, places))
        with torch.no_grad():
            positives = own(patches_at(self.features(way.generator, way.source), places))
        return nce_over_layers(queries, positives, weights.temperature)
