"""The papers' generator: CycleGAN's ResNet-9 (Zhu et al., ICCV 2017), resampled without aliases (Zhang, ICML 2019).

7x7, two down-samplings, nine residual blocks, two up-samplings, 7x7, tanh; reflection padding and InstanceNorm
throughout. InstanceNorm looks at all of a photo at once, so that tiles of one photo would disagree. For training and
for the papers' own measure each input has its own statistics; in evaluation they are those of the thumbnail, the same
for every tile, and a tile with its halo is then exact. The thumbnail is a choice: statistics of all pixels would take
a pass over all tiles for each of the 23 norms, as each depends on the one before. What it costs grows with the
reduction; :meth:`ResNet.statistics` takes them of any photo, once, for whoever can hold it whole.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restorecli.models.descriptor import Descriptor

Statistics = list[tuple[Tensor, Tensor]]
"""Mean and reciprocal standard deviation, each (B, C, 1, 1), of every InstanceNorm in the order of the layers."""


@dataclass(frozen=True)
class ResNetConfig:
    """The shape of a :class:`ResNet`; everything needed to build it again."""

    width: int = 64
    """Channels at full resolution; each down-sampling doubles them."""
    blocks: int = 9
    """Residual blocks at a quarter of the resolution."""
    thumbnail: int = 512
    """Edge in pixels of the square thumbnail that the statistics are taken from when a photo is restored."""

    def problems(self) -> list[str]:
        """What is wrong with these values, one sentence each; empty when nothing is."""
        found = []
        if self.width < 1:
            found.append(f"width must be at least 1, not {self.width}")
        if self.blocks < 5:
            found.append(f"blocks must be at least 5, as the fifth is a contrastive layer, not {self.blocks}")
        if self.thumbnail % 8 or self.thumbnail < 32:
            found.append(f"thumbnail must be a multiple of 8 and at least 32, not {self.thumbnail}")
        return found


class _Norms:
    """InstanceNorm without affine weights: by each input's own statistics, which are noted, or by given ones."""

    def __init__(self, given: Statistics | None) -> None:
        self.given = given
        self.found: Statistics = []

    def __call__(self, x: Tensor) -> Tensor:
        if self.given is None:
            # In float32: the squares of 65,536 values do not add up in half precision.
            variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0, keepdim=True)
            scale = torch.rsqrt(variance + 1e-5)
        else:
            mean, scale = self.given[len(self.found)]
        self.found.append((mean, scale))
        return ((x - mean) * scale).to(x.dtype)


class ResNet(nn.Module):
    """Photo (B, 3, H, W) in [0, 1] -> photo (B, 3, H, W) in [0, 1]; H and W are multiples of ``stride``.

    ``thumbnail`` (B, 3, S, S), of the whole photo, is read in evaluation only, for its statistics; ``place`` never.
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        problems = config.problems()
        if problems:
            raise ValueError("; ".join(problems))
        self.config = config
        width = config.width
        self.first = nn.Conv2d(3, width, 7)
        self.down = nn.ModuleList(nn.Conv2d(count * width, 2 * count * width, 3) for count in (1, 2))
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(4 * width, 4 * width, 3) for _ in range(2)) for _ in range(config.blocks)
        )
        self.up = nn.ModuleList(nn.Conv2d(count * width, count * width // 2, 3) for count in (4, 2))
        self.last = nn.Conv2d(width, 3, 7)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight, gain=0.02)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    @property
    def stride(self) -> int:
        """Height and width of the input must be multiples of this, in pixels: of 4, and large enough for a quarter of
        them to be mirrored at its borders."""
        return 8

    @property
    def halo(self) -> int:
        """Receptive field radius in pixels when the statistics are given, rounded up to a multiple of the stride."""
        # Convolutions and blurs on the way down, the blocks, bilinear enlargements and convolutions on the way up.
        reach = (3 + 1 + 1 + 2 + 2) + 8 * self.config.blocks + (4 + 2 + 2 + 1 + 3)
        return -(-reach // self.stride) * self.stride

    @property
    def quantisable(self) -> tuple[str, ...]:
        """The convolutions that may be computed in 8 bits: none, as norms magnify what is rounded in even photos."""
        return ()

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each of :meth:`features`."""
        width = self.config.width
        return (2 * width, 4 * width, 4 * width, 4 * width)

    def descriptor(self, task: str) -> Descriptor:
        """What the engine must know of this network when it does ``task``."""
        return Descriptor(
            task=task,
            architecture="resnet",
            stride=self.stride,
            halo=self.halo,
            thumbnail=self.config.thumbnail,
            # The first down-sampling's convolution is at full resolution.
            features=2 * self.config.width,
        )

    def statistics(self, photo: Tensor) -> Statistics:
        """The statistics of every InstanceNorm for a photo (B, 3, H, W), to be given to all its tiles."""
        norms = _Norms(None)
        self._run(photo, norms)
        return norms.found

    def features(self, x: Tensor, thumbnail: Tensor | None = None, place: Tensor | None = None) -> list[Tensor]:
        """The contrastive layers of DCD-GAN, each (B, C, h, w): the convolutions of the two down-samplings before
        their norm (at full and half resolution), and residual blocks 1 and 5 (at a quarter)."""
        found: list[Tensor] = []
        self._encode(x, _Norms(None), found)
        return found

    def forward(
        self,
        x: Tensor,
        thumbnail: Tensor | None = None,
        place: Tensor | None = None,
        statistics: Statistics | None = None,
    ) -> Tensor:
        if statistics is None and not self.training and thumbnail is not None:
            statistics = self.statistics(thumbnail)
        return self._run(x, _Norms(statistics))

    def config_dict(self) -> dict[str, object]:
        """The configuration as plain values, for a file's metadata."""
        return asdict(self.config)

    def _encode(self, x: Tensor, norm: _Norms, found: list[Tensor]) -> Tensor:
        """As far as block 5, the last whose features are asked for."""
        y = (x * 2 - 1).to(self.first.weight.dtype)
        y = F.relu(norm(self.first(_reflected(y, 3))))
        for conv in self.down:
            y = conv(_reflected(y, 1))
            found.append(y)
            y = _halved(F.relu(norm(y)))
        for index in range(5):
            y = self._block(index, y, norm)
            if index in (0, 4):
                found.append(y)
        return y

    def _run(self, x: Tensor, norm: _Norms) -> Tensor:
        y = self._encode(x, norm, [])
        for index in range(5, len(self.blocks)):
            y = self._block(index, y, norm)
        for conv in self.up:
            # Bilinear enlargement is the anti-aliased one of filter (1, 3, 3, 1).
            y = F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)
            y = F.relu(norm(conv(_reflected(y, 1))))
        y = self.last(_reflected(y, 3)).to(x.dtype)
        return (torch.tanh(y) + 1) / 2

    def _block(self, index: int, x: Tensor, norm: _Norms) -> Tensor:
        pair = self.blocks[index]
        assert isinstance(pair, nn.ModuleList)
        y = F.relu(norm(pair[0](_reflected(x, 1))))
        return x + norm(pair[1](_reflected(y, 1)))


def _reflected(x: Tensor, margin: int) -> Tensor:
    return F.pad(x, (margin,) * 4, mode="reflect")


def _halved(x: Tensor) -> Tensor:
    """Half the size, blurred by (1, 2, 1) first so that no detail comes back as an alias."""
    # (1/4, 1/2, 1/4), made on the device: a copy to it would wait for all that is under way there.
    row = 0.5 - 0.25 * (torch.arange(3, dtype=x.dtype, device=x.device) - 1).abs()
    kernel = (row[:, None] * row).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(_reflected(x, 1), kernel, stride=2, groups=x.shape[1])
