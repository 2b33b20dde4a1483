"""What DCD-GAN adds to the core (Chen et al., CVPR 2022): dual contrastive learning between the two domains.

The query is a patch of the generated photo, seen by the encoder of the *opposite* generator, whose own input domain
the generated photo should belong to, through that domain's projection heads. The positive is the patch at the same
place of the source photo, seen by the generator's own encoder through its heads, and detached; the negatives are the
other places. Both directions, added.

The published networks are two ResNet-9 of one shape. Here the generators may differ in width, so the heads, one set
for each domain, bring both into the same 256 dimensions; that is our choice.
"""

from __future__ import annotations

from torch import Tensor

from restorecli.models.contrast import ProjectionHeads, patches_at, sample_places
from restorecli.training.cyclegan import CycleGAN, Translation, nce_over_layers


class DualContrastive(CycleGAN):
    """CycleGAN with the contrastive guidance of DCD-GAN."""

    def contrast(self, there: Translation, back: Translation) -> Tensor:
        """Dual patch NCE of both directions."""
        return self._guide(there, self.heads_restorer, self.heads_degrader) + self._guide(
            back, self.heads_degrader, self.heads_restorer
        )

    def _guide(self, way: Translation, own: ProjectionHeads, opposite: ProjectionHeads) -> Tensor:
        weights = self.config.unpaired
        asked = self.features(way.opposite, way.generated)
        known = self.features(way.generator, way.source)
        places = sample_places(asked, weights.patches)
        queries = opposite(patches_at(asked, places))
        positives = own(patches_at(known, places))
        return nce_over_layers(queries, [p.detach() for p in positives], weights.temperature)
