"""The papers' generator: its shape, its norm, and tiles that agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from restorecli import Photo, Restorer
from restorecli.errors import PhotoError
from restorecli.inference.backends.base import Window
from restorecli.inference.footprint import Ledger, bytes_per_pixel, resident_memory
from restorecli.inference.tiling import plan
from restorecli.models.generators import build_generator
from restorecli.models.resnet import ResNet, ResNetConfig, _halved
from restorecli.weights import save_network
from tests.small import noise


def _network(train: bool = False) -> ResNet:
    torch.manual_seed(0)
    network = ResNet(ResNetConfig(width=4, blocks=5, thumbnail=32)).double().train(train)
    for p in network.parameters():
        # Strong enough that far pixels can be seen.
        torch.nn.init.normal_(p, std=0.2)
    return network


def test_the_published_network_has_its_size() -> None:
    network = ResNet(ResNetConfig())
    assert sum(p.numel() for p in network.parameters()) == 11_378_179
    assert network.channels == (128, 256, 256, 256)
    gain = 0.02 * (2 / (9 * 256 + 9 * 256)) ** 0.5
    assert float(network.blocks[3][0].weight.detach().std()) == pytest.approx(gain, rel=0.02)


def test_features_are_the_contrastive_layers_on_the_way() -> None:
    network = _network()
    photo = torch.rand(1, 3, 32, 48, dtype=torch.float64)
    found = network.features(photo)
    assert [tuple(f.shape[1:]) for f in found] == [(8, 32, 48), (16, 16, 24), (16, 8, 12), (16, 8, 12)]
    assert tuple(f.shape[1] for f in found) == network.channels


def test_instance_norm_is_torchs_and_down_sampling_has_no_alias() -> None:
    network = _network(train=True)
    photo = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    first = network.first(F.pad(photo * 2 - 1, (3, 3, 3, 3), mode="reflect"))
    mean, scale = network.statistics(photo)[0]
    assert torch.allclose((first - mean) * scale, F.instance_norm(first), atol=1e-5)
    # The finest pattern there is becomes its mean, wherever it begins.
    stripes = (torch.arange(32) % 2).double().expand(1, 1, 32, 32)
    assert torch.allclose(_halved(stripes), torch.full((1, 1, 16, 16), 0.5, dtype=torch.float64))


def test_each_photo_has_its_own_statistics_in_training_and_the_thumbnails_in_evaluation() -> None:
    network = _network()
    photo = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    small = F.interpolate(photo, 32)
    plain = network(photo)
    assert torch.equal(network(photo[:1], small[:1]), network(photo, small)[:1])
    assert not torch.allclose(network(photo, small), plain)
    assert torch.allclose(network(photo, small, None, network.statistics(photo)), plain)
    network.train()
    assert torch.equal(network(photo, small), plain)
    assert plain.min() >= 0 and plain.max() <= 1


def test_a_tile_with_its_halo_is_that_part_of_the_photo() -> None:
    network = _network()
    halo, stride = network.halo, network.stride
    photo, small = (torch.rand(1, 3, edge, edge, dtype=torch.float64) for edge in (halo + 64, 32))
    with torch.inference_mode():
        whole, tile = network(photo, small), network(photo[..., 16:, 16:], small)
    inside = tile[..., halo:, halo:] - whole[..., 16 + halo :, 16 + halo :]
    assert float(inside.abs().max()) < 1e-12
    nearer = halo - 2 * stride
    outside = tile[..., nearer:, nearer:] - whole[..., 16 + nearer :, 16 + nearer :]
    assert float(outside.abs().max()) > 1e-12, "a halo that is larger than it need be costs time on every tile"


@pytest.mark.parametrize(("precision", "levels"), [("fp32", 1), ("bf16", 2)])
def test_the_engine_restores_in_tiles_what_it_restores_whole(precision: str, levels: int, tmp_path: Path) -> None:
    network = _network().float()
    path = tmp_path / "resnet.safetensors"
    save_network(path, network, network.descriptor("derain"))
    photo = Photo(noise(250, 180))
    (whole, one), (tiled, many) = (
        Restorer("derain", weights=path, backend="torch", device="cpu", precision=precision, tile=tile).restore_photo(
            photo
        )
        for tile in (512, 32)
    )
    assert one.tiles == 1 < 4 <= many.tiles
    assert float(whole.pixels.std()) > 5
    assert int(np.abs(whole.pixels.astype(int) - tiled.pixels).max()) <= levels


def test_statistics_are_taken_once_for_all_tiles_of_a_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = _network().float()
    path = tmp_path / "resnet.safetensors"
    save_network(path, network, network.descriptor("derain"))
    taken = []
    genuine = ResNet.statistics
    monkeypatch.setattr(ResNet, "statistics", lambda self, photo: taken.append(len(photo)) or genuine(self, photo))
    restorer = Restorer("derain", weights=path, backend="torch", device="cpu", precision="fp32", tile=32)
    for count in (1, 2):
        assert restorer.restore_photo(Photo(noise(250, 180, seed=count)))[1].tiles > 4
        assert taken == [1] * count
    taken.clear()
    Restorer(
        "derain", weights=path, backend="torch", device="cpu", precision="fp32", tile=32, ensemble=4
    ).restore_photo(Photo(noise(250, 180)))
    assert taken == [1] * 4
    # Windows of several photos in one run have each their own.
    backend = restorer.backend
    rng = np.random.default_rng(3)
    windows = [
        Window(
            rng.integers(0, 256, (64, 64, 3), np.uint8), rng.random((32, 32, 3), np.float32), np.zeros(4, np.float32)
        )
        for _ in range(2)
    ]
    alone = [backend.start([window], 1.0)[0]() for window in windows]
    together = [pending() for pending in backend.start(windows, 1.0)]
    assert all(int(np.abs(a.astype(int) - b).max()) <= 1 for a, b in zip(alone, together, strict=True))
    assert not np.array_equal(alone[0], backend.start([replace(windows[0], thumbnail=windows[1].thumbnail)], 1.0)[0]())


def test_the_memory_of_the_statistics_counts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ResNet(ResNetConfig(width=4, blocks=5, thumbnail=512)).eval()
    path = tmp_path / "resnet.safetensors"
    save_network(path, network, network.descriptor("derain"))

    def restored(max_memory: int, tile: int | str) -> None:
        Restorer(
            "derain", weights=path, backend="torch", device="cpu", precision="fp32", tile=tile, max_memory=max_memory
        ).restore_photo(Photo(noise(250, 180)))

    statistics = 512**2 * bytes_per_pixel(network.descriptor("derain"), "torch", "fp32")
    for tile in (32, "auto"):
        with pytest.raises(PhotoError) as caught:
            restored(int(resident_memory() + statistics / 2), tile)
        assert caught.value.kind == "out_of_memory"
        restored(int(resident_memory() + 2 * statistics), tile)


def test_memory_that_the_statistics_took_is_there_for_the_next_photo() -> None:
    descriptor = ResNet(ResNetConfig(width=4, blocks=5, thumbnail=512)).descriptor("derain")
    backend = SimpleNamespace(descriptor=descriptor, name="torch", precision="fp32")
    ledger = Ledger()
    ledger.used(plan(64, 64, tile=32, halo=descriptor.halo, stride=8), backend)  # type: ignore[arg-type]
    assert ledger._kept >= 512**2 * bytes_per_pixel(descriptor, "torch", "fp32") - 1


def test_is_built_again_from_plain_values() -> None:
    network = _network()
    again = build_generator("resnet", network.config_dict())
    again.load_state_dict(network.state_dict())
    descriptor = network.descriptor("derain")
    assert (descriptor.architecture, descriptor.stride, descriptor.thumbnail) == ("resnet", 8, 32)
    with pytest.raises(ValueError, match=r"width must be .*blocks must be .*thumbnail must be"):
        ResNet(ResNetConfig(0, 2, 30))
