"""The fast generator that the shipped weights use.

A U-Net of plain residual 3x3 blocks. Plain convolutions are what every backend runs fastest; there is no
normalisation over space, so a tile with a halo of the receptive field gives what the whole photo gives. What must be
known of the whole photo (airlight, how dense the haze is, how heavy the rain) comes from a thumbnail through a small
global encoder that scales and shifts the bottleneck (FiLM, Perez et al., AAAI 2018), and, place by place (where the
haze lies, from which side the light comes), through a coarse map of features that every tile reads at its own place.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restorecli.models.descriptor import Descriptor, overview_problem

HEADS = ("residual", "affine", "airlight")

AIRLIGHT = 0.85
"""What the airlight is taken for before anything is learnt: bright grey."""


@dataclass(frozen=True)
class UNetConfig:
    """The shape of a :class:`UNet`; everything needed to build it again."""

    head: str = "residual"
    """How the output is tied to the input: ``residual`` adds a layer (rain), ``affine`` applies a gain and a bias per
    pixel and channel (haze: ``J = I / t + A (1 - 1 / t)`` is affine in ``I``), ``airlight`` applies the gain to the
    distance from the photo's airlight, ``J = I + (I - A) (1 / t - 1)``, and adds a bias for what is not even in it: an
    error of the gain then hardly matters in dense haze, where ``I`` is near ``A``."""
    stem: int = 2
    """Pixel-unshuffle factor: the network works at 1 / stem of the photo's resolution, without losing a value."""
    widths: tuple[int, ...] = (40, 80, 128)
    """Channels of each level, from the finest to the bottleneck; each level halves the resolution."""
    blocks: tuple[int, ...] = (1, 2, 3)
    """Residual blocks of each level; levels above the bottleneck have as many on the way up."""
    thumbnail: int = 64
    """Edge in pixels of the square thumbnail of the whole photo."""
    global_width: int = 96
    """Length of the vector that the global encoder makes of the thumbnail."""
    guide: int = 0
    """Channels of the map of features that is made of the thumbnail and read place by place; 0: there is none."""
    guide_blocks: int = 0
    """Residual blocks behind each level of that map: context of the whole photo that costs nothing by the pixel."""
    overview: int = 0
    """Edge of the square at which the whole photo is restored once more, to put right what is wrong over large areas;
    0: it is not. The network has the same layers in either case, but must have learnt such photos (``data.whole``)."""

    @property
    def stride(self) -> int:
        """Height and width of the input must be multiples of this, in pixels."""
        return self.stem * 2 ** (len(self.widths) - 1)

    def problems(self) -> list[str]:
        """What is wrong with these values, one sentence each; empty when nothing is."""
        found = []
        if self.head not in HEADS:
            found.append(f"head must be one of {', '.join(HEADS)}, not {self.head!r}")
        if self.stem not in (1, 2, 4):
            found.append(f"stem must be 1, 2 or 4, not {self.stem}")
        if len(self.widths) != len(self.blocks) or len(self.widths) < 2:
            found.append("widths and blocks must have the same length, at least 2")
        if any(value < 1 for value in (*self.widths, *self.blocks)):
            found.append("widths and blocks must be at least 1")
        if self.thumbnail % 16 or self.thumbnail < 16:
            found.append(f"thumbnail must be a multiple of 16, not {self.thumbnail}")
        if self.global_width < 8:
            found.append(f"global_width must be at least 8, not {self.global_width}")
        if self.guide < 0:
            found.append(f"guide must not be negative, not {self.guide}")
        if self.guide_blocks < 0:
            found.append(f"guide_blocks must not be negative, not {self.guide_blocks}")
        if problem := overview_problem(self.overview, self.stride):
            found.append(problem)
        if self.guide_blocks > 0 and not self.guide:
            found.append(f"guide_blocks needs a guide: guide is 0, guide_blocks {self.guide_blocks}")
        return found


class ResidualBlock(nn.Module):
    """``x + conv(relu(conv(x)))`` with 3x3 convolutions; (B, C, H, W) in and out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x), inplace=True))


class GlobalEncoder(nn.Module):
    """Thumbnail (B, 3, S, S) in [0, 1] -> vector (B, width) about the whole photo, and the features (B, C, s, s) that
    it was made of, s from S / 2 to S / 16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widths = (max(8, width // 4), max(8, width // 2), width, width)
        layers: list[nn.Module] = []
        for given, made in zip((3, *self.widths[:-1]), self.widths, strict=True):
            layers += [nn.Conv2d(given, made, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
        self.convs = nn.Sequential(*layers)
        self.mix = nn.Linear(2 * width, width)

    def forward(self, thumbnail: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        x = thumbnail
        for index in range(0, len(self.convs), 2):
            x = self.convs[index + 1](self.convs[index](x))
            features.append(x)
        # Mean and maximum: how much of something there is, and whether it is there at all (the brightest airlight).
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)
        return F.relu(self.mix(pooled)), features


class GuideDecoder(nn.Module):
    """What the global encoder found -> map (B, guide, S / 2, S / 2) of features of the whole photo.

    From the coarsest level to the finest, each doubled in size, joined by that of the encoder, smoothed and put through
    ``blocks`` residual blocks, so that every place knows the whole photo and its own surroundings.
    """

    def __init__(self, widths: tuple[int, ...], width: int, guide: int, blocks: int) -> None:
        super().__init__()
        self.whole = nn.Linear(width, guide)
        self.lateral = nn.ModuleList(nn.Conv2d(one, guide, 1) for one in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(guide, guide, 3, padding=1) for _ in widths)
        self.blocks = nn.ModuleList(nn.Sequential(*(ResidualBlock(guide) for _ in range(blocks))) for _ in widths)

    def forward(self, vector: Tensor, features: list[Tensor]) -> Tensor:
        y = self.whole(vector)[:, :, None, None]
        for lateral, smooth, blocks, found in zip(
            reversed(self.lateral), reversed(self.smooth), reversed(self.blocks), reversed(features), strict=True
        ):
            if y.shape[-1] > 1:
                y = F.interpolate(y, scale_factor=2.0, mode="nearest")
            y = blocks(F.relu(smooth(y + lateral(found))))
        return y


def read_at(guide: Tensor, place: Tensor, height: int, width: int) -> Tensor:
    """The part of a map of the whole photo that a tile sees, bilinearly: (B, C, S, S) -> (B, C, height, width).

    ``place`` (B, 4) is the tile's top, left, bottom and right, in shares of the photo's height and width; outside of
    [0, 1] the map goes on as at its border. A value depends on its place in the photo alone, not on the tile. Written
    as two matrix products, which every backend has; in float32, as neighbouring places differ by little.
    """
    size = guide.shape[-1]
    knots = torch.arange(size, device=guide.device, dtype=torch.float32)

    def weights(first: Tensor, last: Tensor, count: int) -> Tensor:
        share = (torch.arange(count, device=guide.device, dtype=torch.float32) + 0.5) / count
        at = (first[:, None] + (last - first)[:, None] * share) * size - 0.5
        return F.relu(1 - (at.clamp(0, size - 1)[:, :, None] - knots).abs())

    place = place.float()
    rows = weights(place[:, 0], place[:, 2], height)
    columns = weights(place[:, 1], place[:, 3], width)
    # Asked first, so that nothing of it is in an exported graph.
    mixed = torch.is_autocast_enabled(guide.device.type)
    with torch.autocast(guide.device.type, enabled=False) if mixed else nullcontext():
        return rows[:, None] @ guide.float() @ columns.transpose(1, 2)[:, None]


class UNet(nn.Module):
    """Tile (B, 3, H, W) and thumbnail of the whole photo (B, 3, S, S), in [0, 1] -> tile (B, 3, H, W), not clamped.

    ``place`` (B, 4) says where in the photo the tile lies: top, left, bottom, right in shares of the photo's height and
    width; None: it is the whole photo. A network without a guide (``config.guide`` 0) has no use for it.
    H and W are multiples of ``stride``. At initialisation the output is the input. The layers run in the precision of
    the weights, the output has the precision of the photo: give an fp32 photo to bf16 weights.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        problems = config.problems()
        if problems:
            raise ValueError("; ".join(problems))
        self.config = config
        widths, blocks = config.widths, config.blocks
        self.stem = nn.Conv2d(3 * config.stem**2, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
            for width, count in zip(widths[:-1], blocks[:-1], strict=True)
        )
        self.down = nn.ModuleList(
            nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in zip(widths[:-1], widths[1:], strict=True)
        )
        self.bottleneck = nn.ModuleList(ResidualBlock(widths[-1]) for _ in range(blocks[-1]))
        self.up = nn.ModuleList(
            nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in zip(widths[:-1], widths[1:], strict=True)
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
            for width, count in zip(widths[:-1], blocks[:-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], (3 if config.head == "residual" else 6) * config.stem**2, 3, padding=1)
        self.global_encoder = GlobalEncoder(config.global_width)
        self.film = nn.Linear(config.global_width, 2 * widths[-1] * blocks[-1])
        if config.head == "airlight":
            self.airlight = nn.Linear(config.global_width, 3)
        if config.guide:
            self.guide_decoder = GuideDecoder(
                self.global_encoder.widths, config.global_width, config.guide, config.guide_blocks
            )
            self.guide_in = nn.Conv2d(config.guide, widths[-1], 1)
        self._initialise()

    def _initialise(self) -> None:
        """He initialisation; residual branches start small, the head and what modulates at zero: output = input."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                module.second.weight.data.mul_(0.1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.film.weight)
        if self.config.head == "airlight":
            nn.init.zeros_(self.airlight.weight)
            nn.init.constant_(self.airlight.bias, AIRLIGHT)
        if self.config.guide:
            nn.init.zeros_(self.guide_in.weight)

    @property
    def stride(self) -> int:
        """Height and width of the input must be multiples of this, in pixels."""
        return self.config.stride

    @property
    def halo(self) -> int:
        """Receptive field radius in pixels, rounded up to a multiple of the stride.

        Counted back from the output: a 3x3 convolution at scale ``s`` (photo pixels per feature) reaches ``s`` pixels
        further; crossing from scale ``s`` to ``2 s`` looks at the whole ``2 s`` cell, that is ``s`` pixels further at
        most. The stem's cell of ``stem`` pixels adds ``stem - 1``.
        """
        scale = self.config.stem
        reach = scale - 1 + 2 * scale
        for count in self.config.blocks[:-1]:
            reach += 2 * (2 * count) * scale + scale
            scale *= 2
        reach += 2 * self.config.blocks[-1] * scale
        return -(-reach // self.stride) * self.stride

    @property
    def quantisable(self) -> tuple[str, ...]:
        """The convolutions that may be computed in 8 bits: all that see the photo at some scale, but the stem and the
        head, on which its levels depend, and what is made of the thumbnail, which takes no time."""
        parts = ("encoder", "down", "bottleneck", "up", "decoder")
        found = ((name, module) for name, module in self.named_modules() if isinstance(module, nn.Conv2d))
        return tuple(name for name, _ in found if name.partition(".")[0] in parts)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each of :meth:`features`."""
        return self.config.widths

    def descriptor(self, task: str) -> Descriptor:
        """What the engine must know of this network when it does ``task``."""
        # At scale s a level of width w has w / s^2 values for each pixel.
        features = max(width / (self.config.stem * 2**level) ** 2 for level, width in enumerate(self.config.widths))
        return Descriptor(
            task=task,
            architecture="unet",
            stride=self.stride,
            halo=self.halo,
            thumbnail=self.config.thumbnail,
            place=self.config.guide > 0,
            features=features,
            # Rain falls upside down as well as upright; haze knows up.
            views=6 if task == "derain" else 2,
            overview=self.config.overview,
        )

    def features(self, x: Tensor, thumbnail: Tensor, place: Tensor | None = None) -> list[Tensor]:
        """Features of the encoder, finest level first and the bottleneck's last, each (B, C, h, w)."""
        return self._features(x, *self._whole(thumbnail), place)

    def forward(self, x: Tensor, thumbnail: Tensor, place: Tensor | None = None) -> Tensor:
        vector, seen = self._whole(thumbnail)
        y = self._head_values(self._features(x, vector, seen, place), x)
        if self.config.head == "residual":
            return x + y
        gain, bias = y.chunk(2, dim=1)
        if self.config.head == "affine":
            return x * (1 + gain) + bias
        airlight = self.airlight(vector).to(x.dtype)[:, :, None, None]
        return x + (x - airlight) * gain + bias

    def head_values(self, x: Tensor, thumbnail: Tensor, place: Tensor | None = None) -> Tensor:
        """What the head says of every pixel, (B, C, H, W), in the precision of the photo."""
        return self._head_values(self._features(x, *self._whole(thumbnail), place), x)

    def _whole(self, thumbnail: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What is known of the whole photo: a vector, and maps of features."""
        vector, seen = self.global_encoder(thumbnail.to(self.stem.weight.dtype))
        return vector, seen

    def _features(self, x: Tensor, vector: Tensor, seen: list[Tensor], place: Tensor | None) -> list[Tensor]:
        found = []
        x = x.to(self.stem.weight.dtype)
        x = self.stem(F.pixel_unshuffle(x, self.config.stem) if self.config.stem > 1 else x)
        for blocks, down in zip(self.encoder, self.down, strict=True):
            x = blocks(x)
            found.append(x)
            x = down(x)
        film = self.film(vector)
        film = film.view(film.shape[0], len(self.bottleneck), 2, -1, 1, 1)
        if self.config.guide:
            if place is None:
                place = x.new_tensor([0, 0, 1, 1], dtype=torch.float32).expand(x.shape[0], 4)
            guide = read_at(self.guide_decoder(vector, seen), place, x.shape[2], x.shape[3])
            x = x + self.guide_in(guide.to(x.dtype))
        for index, block in enumerate(self.bottleneck):
            x = block(x * (1 + film[:, index, 0]) + film[:, index, 1])
        found.append(x)
        return found

    def _head_values(self, features: list[Tensor], photo: Tensor) -> Tensor:
        *skips, y = features
        for up, blocks, skip in zip(reversed(self.up), reversed(self.decoder), reversed(skips), strict=True):
            y = blocks(F.pixel_shuffle(up(y), 2) + skip)
        y = self.head(y)
        if self.config.stem > 1:
            y = F.pixel_shuffle(y, self.config.stem)
        # The photo's own precision from here on: bf16 cannot tell neighbouring 8-bit levels (or gains near 1) apart.
        return y.to(photo.dtype)

    def config_dict(self) -> dict[str, object]:
        """The configuration as plain values, for a file's metadata."""
        return asdict(self.config)
