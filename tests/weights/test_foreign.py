"""Networks of other programs: recognised, run in tiles as in one piece, and refused where they could do harm."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from restorecli.beside_torch import imported
from restorecli.cli.app import run as command
from restorecli.errors import WeightsError
from restorecli.inference.restorer import Restorer
from restorecli.inference.tiling import plan
from restorecli.weights import foreign, load_network, resolve
from restorecli.weights.foreign import examine
from tests.small import noise

try:
    spandrel: Any = imported("spandrel")
except ImportError:
    pytest.skip("spandrel is not installed: pip install 'restorecli[spandrel]'", allow_module_level=True)

ON_CPU: dict[str, Any] = {"backend": "torch", "device": "cpu", "precision": "fp32"}


def dncnn() -> torch.nn.Module:
    """17 convolutions of 3x3: no pixel sees further than 17 others."""
    from spandrel.architectures.DnCNN import DnCNN

    torch.manual_seed(0)
    network = DnCNN(in_nc=3, out_nc=3, nc=8, nb=17, act_mode="R")
    for value in network.parameters():
        if value.ndim == 4:
            torch.nn.init.kaiming_normal_(value, nonlinearity="relu")
    with torch.no_grad():
        network.model[-1].weight *= 0.03
    return network


def nafnet() -> torch.nn.Module:
    """Halves the photo twice, and has attention over the whole of it."""
    from spandrel.architectures.NAFNet import NAFNet

    torch.manual_seed(0)
    network = NAFNet(width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1])
    for name, value in network.named_parameters():
        if name.endswith(("beta", "gamma")):
            torch.nn.init.constant_(value, 0.5)
        elif ".sca." in name:
            torch.nn.init.normal_(value, std=1.0)
    return network


def saved(network: torch.nn.Module, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(network.state_dict(), path)
    else:
        torch.save({"params": network.state_dict()}, path)
    return path


def refused(path: Path) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        resolve(str(path), "derain")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600 and str(path) in str(caught.value)
    return caught.value


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".old.pth"])
def test_tiles_of_a_network_are_those_of_the_whole_photo(suffix: str, tmp_path: Path) -> None:
    network = dncnn()
    path = tmp_path / f"theirs{suffix}"
    if suffix == ".old.pth":
        torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    else:
        saved(network, path)
    photo = noise(144, 176)
    whole = Restorer("derain", weights=path, tile=1000, **ON_CPU)
    assert whole.backend.descriptor.architecture == "spandrel:DnCNN" and whole.weights.task == "derain"
    in_one = whole.restore(photo)
    with torch.inference_mode():
        (theirs,) = network.eval()(torch.from_numpy(photo).permute(2, 0, 1)[None] / 255)
    theirs = np.rint(theirs.clamp(0, 1).permute(1, 2, 0).numpy() * 255).astype(int)
    assert np.abs(in_one.astype(int) - photo).mean() > 1
    assert np.abs(in_one.astype(int) - theirs).max() <= 1
    tiled, details = Restorer("derain", weights=path, tile=32, **ON_CPU), []
    in_tiles = tiled.restore(photo, progress=lambda done, total: details.append(done))
    assert len(details) > 8
    assert np.abs(in_one.astype(int) - in_tiles).max() <= 1


def test_what_the_engine_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = examine(saved(dncnn(), tmp_path / "near.pth"))
    assert (near.architecture, near.stride, near.whole) == ("DnCNN", 16, False) and 32 <= near.halo < 64
    assert near.dtypes[0] == "fp32" and near.parameters == sum(value.numel() for value in dncnn().parameters())
    # Eight values of each pixel, two or three layers at once.
    assert 1 <= near.features <= 8
    assert not caplog.records
    far = examine(saved(nafnet(), tmp_path / "far.safetensors"))
    assert (far.architecture, far.whole) == ("NAFNet", True)
    assert "slightly different from tile to tile" in caplog.text
    # One that makes tiles of its own is given the photo in one piece.
    read = foreign._read

    def tiling_itself(path: Path) -> Any:
        model = read(path)
        model.tiling = spandrel.ModelTiling.INTERNAL
        return model

    monkeypatch.setattr(foreign, "_read", tiling_itself)
    own = examine(saved(dncnn(), tmp_path / "own.pth"))
    assert len(plan(3000, 4000, tile=own.stride, halo=own.halo, stride=own.stride).tiles) == 1
    monkeypatch.undo()
    # Sizes that it must pad, and smaller than it can take.
    restorer = Restorer("dehaze", weights=tmp_path / "far.safetensors", **ON_CPU)
    for height, width in ((1, 1), (33, 50)):
        assert restorer.restore(noise(height, width)).shape == (height, width, 3)


def test_networks_for_something_else_are_refused(tmp_path: Path) -> None:
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.DnCNN import DnCNN

    larger = saved(Compact(upscale=2, num_feat=8, num_conv=2), tmp_path / "larger.pth")
    assert refused(larger).kind == "unsuitable" and "2 times larger" in str(refused(larger))
    grey = saved(DnCNN(nc=8, act_mode="R"), tmp_path / "grey.pth")
    assert "takes 1 channels" in str(refused(grey))
    unknown = tmp_path / "unknown.safetensors"
    save_file({"weight": torch.zeros(3)}, unknown)
    assert refused(unknown).kind == "corrupt" and "spandrel" in str(refused(unknown))


def test_what_could_do_more_than_hold_numbers_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, (f"open({str(tmp_path / 'sprung')!r}, 'w')",)

    path = tmp_path / "theirs.pth"
    torch.save({"params": dncnn().state_dict(), "extra": Trap()}, path)
    assert refused(path).kind == "refused"
    torch.save({"extra": Trap()}, path, _use_new_zipfile_serialization=False)
    assert refused(path).kind == "refused"
    path.write_bytes(pickle.dumps(Trap(), protocol=2))
    assert refused(path).kind in ("refused", "corrupt")
    assert not (tmp_path / "sprung").exists()
    # TorchScript is code, whatever the file is called.
    torch.save(dncnn().state_dict(), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", b"")
    assert "TorchScript" in str(refused(path))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 1000)
    assert "compressed" in str(refused(path))
    # A tensor of 40 GB that is one number, seen ten billion times.
    torch.save({name: value[:1].expand(10_000_000_000) for name, value in {"a": torch.zeros(1)}.items()}, path)
    assert "much larger than itself" in str(refused(path))
    for damage in (b"", b"PK\3\4", path.read_bytes()[:300], b"\x80\x02"):
        path.write_bytes(damage)
        assert refused(path).kind in ("refused", "corrupt")


def test_they_are_for_restoring_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(dncnn(), tmp_path / "theirs.pth")
    assert command(["export", str(path), "--onnx"]) == 3
    assert "which says not what it removes" in capsys.readouterr().err
    assert command(["weights", "show", str(path)]) == 0
    assert "DnCNN" in capsys.readouterr().out
    Image.fromarray(noise(40, 56)).save(tmp_path / "a.png")
    options = ["--weights", str(path), "--device", "cpu", "--out", str(tmp_path / "b.png")]
    assert command(["derain", str(tmp_path / "a.png"), *options]) == 0
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (56, 40)
    assert command(["derain", str(tmp_path / "a.png"), *options, "--overwrite", "--backend", "onnx"]) == 4


def test_without_spandrel_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(dncnn(), tmp_path / "theirs.pth")

    def absent(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("restorecli.beside_torch.imported", absent)
    error = refused(path)
    assert (error.kind, error.exit_code) == ("extra", 3) and "pip install 'restorecli[spandrel]'" in str(error)


def test_the_network_has_the_precision_that_it_is_asked_for(tmp_path: Path) -> None:
    weights = resolve(str(saved(dncnn(), tmp_path / "theirs.pth")), "derain")
    network = load_network(weights, "bf16").to("cpu", memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert {value.dtype for value in network.parameters()} == {torch.bfloat16}
    assert network(torch.rand(1, 3, 32, 48), torch.zeros(1, 3, 1, 1)).shape == (1, 3, 32, 48)


def test_narrow_precisions_give_what_fp32_gives_in_every_kind_of_window(tmp_path: Path) -> None:
    path = saved(dncnn(), tmp_path / "theirs.pth")
    rng = np.random.default_rng(2)
    photo = np.concatenate([rng.integers(90, 160, (48, 64, 3)), np.full((16, 64, 3), 255)]).astype(np.uint8)
    kinds = {"8 bits": photo, "16 bits": photo.astype(np.uint16) * 257, "grey": photo[..., 0], "strength": photo}

    def restored(kind: str, precision: str) -> np.ndarray:
        setting = {**ON_CPU, "precision": precision, "strength": 0.5 if kind == "strength" else 1.0}
        return Restorer("derain", weights=str(path), **setting).restore(kinds[kind]).astype(np.float64)

    for kind, pixels in kinds.items():
        top = np.iinfo(pixels.dtype).max
        difference = np.abs(restored(kind, "bf16") - restored(kind, "fp32")) / top
        assert difference.max() < 0.03, kind
