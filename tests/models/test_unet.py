"""The U-Net: what it gives at the start, how far it sees, and in which precision it answers."""

from __future__ import annotations

import pytest
import torch

from restorecli.models.descriptor import Descriptor
from restorecli.models.unet import UNet, UNetConfig

CONFIGS = {
    "derain": UNetConfig(widths=(8, 8, 8), blocks=(2, 2, 3)),
    "dehaze": UNetConfig(head="affine", widths=(8, 8, 8, 8), blocks=(1, 2, 2, 2)),
    "no stem": UNetConfig(stem=1, widths=(8, 8), blocks=(1, 1)),
    "stem of four": UNetConfig(stem=4, widths=(8, 8), blocks=(2, 1)),
}


def positive(config: UNetConfig) -> UNet:
    """A network whose weights are all positive, so that no path from input to output can cancel out or die."""
    network = UNet(config).double().eval()
    generator = torch.Generator().manual_seed(1)
    for name, value in network.named_parameters():
        if "global_encoder" not in name and "film" not in name:
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
    for layer in (network.head, network.film):
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


def test_features_go_from_fine_to_coarse() -> None:
    network = randomised(CONFIGS["derain"])
    shapes = [tuple(f.shape) for f in network.features(torch.rand(1, 3, 64, 32), torch.rand(1, 3, 64, 64))]
    assert shapes == [(1, 8, 32, 16), (1, 8, 16, 8), (1, 8, 8, 4)]


def test_the_descriptor_says_what_the_network_is() -> None:
    network = UNet(UNetConfig(widths=(32, 64, 128), blocks=(2, 2, 3)))
    descriptor = network.descriptor("derain")
    assert (descriptor.stride, descriptor.halo, descriptor.thumbnail) == (8, 112, 64)
    assert Descriptor.from_json(descriptor.to_json()) == descriptor


def test_all_problems_of_a_config_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"head must be .*stem must be .*thumbnail must be"):
        UNet(UNetConfig(head="tail", stem=3, thumbnail=50))
