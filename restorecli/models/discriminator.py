"""The 70x70 PatchGAN (Isola et al., CVPR 2017): is this patch a photo of the domain, or a generator's?"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class PatchDiscriminator(nn.Module):
    """Photo (B, 3, H, W) in [0, 1] -> scores (B, 1, h, w), one for each patch of 70x70 pixels; higher is more real.

    Three convolutions of stride 2 and one of stride 1, InstanceNorm from the second on, as in pix2pix and CycleGAN.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width, 8 * width)
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 4, stride=2 if i < 3 else 1, padding=1) for i in range(4)
        )
        self.score = nn.Conv2d(widths[-1], 1, 4, padding=1)
        for conv in (*self.convs, self.score):
            nn.init.normal_(conv.weight, 0.0, 0.02)
            nn.init.zeros_(conv.bias)

    def forward(self, photo: Tensor) -> Tensor:
        x = photo * 2 - 1
        for index, conv in enumerate(self.convs):
            x = conv(x)
            if index:
                x = F.instance_norm(x)
            x = F.leaky_relu(x, 0.2)
        return self.score(x)


class Discriminators(nn.Module):
    """One :class:`PatchDiscriminator` for each scale: photo (B, 3, H, W) in [0, 1] -> a list of scores (B, 1, h, w).

    Each further one sees the photo at half the size (Wang et al., CVPR 2018), so that what is judged is as large as
    70, 140, 280 pixels. One scale is the papers' discriminator.
    """

    def __init__(self, width: int = 64, scales: int = 1) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(width) for _ in range(scales))

    def forward(self, photo: Tensor) -> list[Tensor]:
        scores = []
        for index, judge in enumerate(self.scales):
            scores.append(judge(photo if index == 0 else F.avg_pool2d(photo, 2**index)))
        return scores
