"""The U-Net: what it gives at the start, how far it sees, and in which precision it answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from restorecli.models.descriptor import Descriptor
from restorecli.models.unet import UNet, UNetConfig, read_at

CONFIGS = {
    "derain": UNetConfig(widths=(8, 8, 8), blocks=(2, 2, 3)),
    "dehaze": UNetConfig(head="affine", widths=(8, 8, 8, 8), blocks=(1, 2, 2, 2)),
    "airlight": UNetConfig(head="airlight", widths=(8, 8, 8), blocks=(1, 1, 1)),
    "no stem": UNetConfig(stem=1, widths=(8, 8), blocks=(1, 1)),
    "stem of four": UNetConfig(stem=4, widths=(8, 8), blocks=(2, 1)),
    "guided": UNetConfig(widths=(8, 8, 8), blocks=(1, 1, 1), guide=8),
    "guided by blocks": UNetConfig(widths=(8, 8, 8), blocks=(1, 1, 1), guide=8, guide_blocks=2),
}


def positive(config: UNetConfig) -> UNet:
    """A network whose weights are all positive, so that no path from input to output can cancel out or die."""
    network = UNet(config).double().eval()
    generator = torch.Generator().manual_seed(1)
    for name, value in network.named_parameters():
        if not any(part in name for part in ("global_encoder", "film", "guide", "airlight")):
            # Of one mean per layer, so that the values neither vanish nor overflow on the way.
            fan_in = value[0].numel() if value.dim() > 1 else value.numel()
            value.data = (0.5 + torch.rand(value.shape, generator=generator)).double() / fan_in
    return network


def reach(network: UNet, row: int, column: int, edge: int) -> tuple[int, int]:
    """How far above/left and below/right of an output pixel the input still matters: the larger of the two axes."""
    photo = torch.rand(1, 3, edge, edge, dtype=torch.float64, requires_grad=True)
    size = network.config.thumbnail
    network(photo, torch.rand(1, 3, size, size, dtype=torch.float64))[0, :, row, column].sum().backward()
    assert photo.grad is not None
    rows, columns = photo.grad[0].abs().amax(0).nonzero(as_tuple=True)
    before = max(row - int(rows.min()), column - int(columns.min()))
    after = max(int(rows.max()) - row, int(columns.max()) - column)
    return before, after


@pytest.mark.parametrize("name", CONFIGS)
def test_sees_no_further_than_its_halo_and_nearly_as_far(name: str) -> None:
    network = positive(CONFIGS[name])
    stride, halo = network.stride, network.halo
    # Room for more than the halo on all sides, so that reaching further would show.
    middle = (halo // stride + 2) * stride
    edge = 2 * middle + stride
    # Both ends of the stride's cell, where the reach to one side is longest.
    reaches = [reach(network, middle + shift, middle + shift, edge) for shift in (0, stride - 1)]
    furthest = max(max(pair) for pair in reaches)
    assert furthest <= halo
    assert furthest > halo - 2 * stride, "a halo that is larger than it need be costs time on every tile"
    assert halo % stride == 0


@pytest.mark.parametrize("name", CONFIGS)
def test_is_the_identity_at_initialisation(name: str) -> None:
    network = UNet(CONFIGS[name]).eval()
    photo = torch.rand(2, 3, 4 * network.stride, 3 * network.stride)
    with torch.inference_mode():
        assert torch.equal(network(photo, torch.rand(2, 3, 64, 64)), photo)


def randomised(config: UNetConfig) -> UNet:
    torch.manual_seed(3)
    network = UNet(config).eval()
    for layer in (network.head, network.film, *([network.guide_in] if config.guide else [])):
        torch.nn.init.normal_(layer.weight, std=0.01)
    return network


@pytest.mark.parametrize("name", ["derain", "dehaze"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_keeps_the_precision_of_the_photo_with_narrow_weights(name: str, dtype: torch.dtype) -> None:
    network = randomised(CONFIGS[name])
    photo, thumbnail = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        wanted = network(photo, thumbnail)
        given = network.to(dtype)(photo, thumbnail)
    assert given.dtype == torch.float32
    # The change itself is rounded, the photo is not: far below a level of 255.
    assert (wanted - photo).abs().max() > 2 / 255
    assert (given - wanted).abs().max() < 0.05 * (wanted - photo).abs().max()
    flat = torch.full((1, 3, 64, 64), 200.3 / 255)
    for layer in (network.head,):
        torch.nn.init.zeros_(layer.weight)
    with torch.inference_mode():
        assert torch.equal(network(flat, thumbnail), flat)


def test_the_thumbnail_changes_the_whole_photo() -> None:
    network = randomised(CONFIGS["dehaze"])
    photo = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        one = network(photo, torch.zeros(1, 3, 64, 64))
        other = network(photo, torch.ones(1, 3, 64, 64))
    assert (one - other).abs().amax(1).gt(0).float().mean() > 0.9


def test_every_block_of_the_guide_has_a_say() -> None:
    network = randomised(CONFIGS["guided by blocks"])
    network(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)).square().sum().backward()
    assert sum(len(level) for level in network.guide_decoder.blocks) == 8
    for weights in network.guide_decoder.blocks.parameters():
        assert weights.grad is not None and float(weights.grad.abs().max()) > 0


def test_the_guide_is_read_bilinearly_at_its_place() -> None:
    size = 16
    rows, columns = torch.meshgrid(*2 * [(torch.arange(size) + 0.5) / size], indexing="ij")
    # A map of its own coordinates: what is read must be where it was read.
    guide = torch.stack([rows, columns])[None]
    read = read_at(guide, torch.tensor([[0.25, 0.5, 0.75, 0.75]]), 20, 10)
    assert read.shape == (1, 2, 20, 10)
    assert torch.allclose(read[0, 0, :, 0], 0.25 + 0.5 * (torch.arange(20) + 0.5) / 20, atol=1e-6)
    assert torch.allclose(read[0, 1, 0], 0.5 + 0.25 * (torch.arange(10) + 0.5) / 10, atol=1e-6)
    beyond = read_at(guide, torch.tensor([[0.9, 0.0, 1.9, 1.0]]), 8, 8)[0, 0]
    assert torch.allclose(beyond[2:], guide[0, 0, -1, 0].expand(6, 8), atol=1e-6)
    # The same as the library's own sampling, inside of the outermost centres.
    grid = torch.stack(torch.meshgrid(torch.linspace(-0.7, 0.6, 9), torch.linspace(-0.7, 0.6, 9), indexing="xy"), -1)
    noise = torch.rand(1, 3, size, size)
    edge = (0.6 + 0.7) / 8 / 4
    place = torch.tensor([[0.15 - edge, 0.15 - edge, 0.8 + edge, 0.8 + edge]])
    wanted = torch.nn.functional.grid_sample(noise, grid[None], align_corners=False)
    assert torch.allclose(read_at(noise, place, 9, 9), wanted, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(read_at(noise, place, 9, 9), wanted, atol=1e-5)


def test_a_guided_tile_is_that_part_of_the_photo() -> None:
    """With context enough, a tile that is told its place gives what the whole photo gives there."""
    network = randomised(CONFIGS["guided"])
    halo = network.halo
    photo, thumbnail = torch.rand(1, 3, 256, 256), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        whole = network(photo, thumbnail)
        tile = photo[..., 64:, 64:]
        right = network(tile, thumbnail, torch.tensor([[0.25, 0.25, 1.0, 1.0]]))
        wrong = network(tile, thumbnail)
    inner = np.s_[..., 64 + halo :, 64 + halo :]
    assert torch.allclose(right[..., halo:, halo:], whole[inner], atol=1e-5)
    assert float((wrong[..., halo:, halo:] - whole[inner]).abs().max()) > 1e-3


def test_features_go_from_fine_to_coarse() -> None:
    network = randomised(CONFIGS["derain"])
    shapes = [tuple(f.shape) for f in network.features(torch.rand(1, 3, 64, 32), torch.rand(1, 3, 64, 64))]
    assert shapes == [(1, 8, 32, 16), (1, 8, 16, 8), (1, 8, 8, 4)]


def test_the_descriptor_says_what_the_network_is() -> None:
    network = UNet(UNetConfig(widths=(32, 64, 128), blocks=(2, 2, 3)))
    descriptor = network.descriptor("derain")
    assert (descriptor.stride, descriptor.halo, descriptor.thumbnail) == (8, 112, 64)
    assert Descriptor.from_json(descriptor.to_json()) == descriptor and not descriptor.place
    assert UNet(CONFIGS["guided"]).descriptor("dehaze").place
    # Files from before there was a third input.
    old = {key: value for key, value in json.loads(descriptor.to_json()).items() if key != "place"}
    assert Descriptor.from_json(json.dumps(old)) == descriptor


def test_all_problems_of_a_config_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"head must be .*stem must be .*thumbnail must be"):
        UNet(UNetConfig(head="tail", stem=3, thumbnail=50))
    with pytest.raises(ValueError, match="guide_blocks needs a guide"):
        UNet(UNetConfig(guide_blocks=1))


def test_the_gain_of_the_airlight_head_leaves_the_airlight_as_it_is() -> None:
    network = UNet(CONFIGS["airlight"]).double().eval()
    bias = network.airlight.bias
    bias.data = torch.tensor([0.9, 0.8, 0.7], dtype=torch.float64)
    # The channels of gain come first, then as many of bias: the gain is 1.5 everywhere, the bias nothing.
    network.head.bias.data[: 3 * network.config.stem**2] = 1.5
    photo = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    photo[:, :, 4:8] = bias.data.view(1, 3, 1, 1)
    with torch.inference_mode():
        restored = network(photo, torch.rand(1, 3, 64, 64, dtype=torch.float64))
    airlight = bias.data.view(1, 3, 1, 1)
    assert torch.allclose(restored, airlight + (photo - airlight) * 2.5)
    assert torch.allclose(restored[:, :, 4:8], photo[:, :, 4:8])
