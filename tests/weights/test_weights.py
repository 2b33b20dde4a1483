"""Weights files: found by every kind of name, and refused with a reason when anything is wrong."""

from __future__ import annotations

import json
import pickle
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from restorecli.errors import PhotoError, WeightsError
from restorecli.inference.backends.choice import every_setting
from restorecli.models.descriptor import Descriptor
from restorecli.weights import (
    FORMAT,
    catalogue,
    load_network,
    resolve,
    save_network,
    sha256_of,
    verify,
    weights_folder,
)
from tests.small import NARROW, narrow_network


@pytest.fixture
def shipped(weights_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped weights."""
    folder = tmp_path / "weights"
    folder.mkdir()
    text = ""
    for task, path in weights_files.items():
        onnx = path.with_suffix(".onnx")
        shutil.copy(path, folder)
        shutil.copy(onnx, folder)
        text += f"""
[[weights]]
name = "{task}-1"
task = "{task}"
default = true
file = "{path.name}"
sha256 = "{sha256_of(path)}"
onnx = "{onnx.name}"
onnx_sha256 = "{sha256_of(onnx)}"
licence = "Apache-2.0"
card = "{task}.md"

[weights.figures]
"gain in dB" = 7.5
"""
    (folder / "weights.toml").write_text(text)
    monkeypatch.setattr("restorecli.weights.catalogued.weights_folder", lambda: folder)
    return folder


def rewritten(path: Path, to: Path, **changes: str | None) -> Path:
    """A copy of a weights file with other metadata (None: without this one)."""
    metadata = dict(resolve(str(path), None).metadata)
    for key, value in changes.items():
        if value is None:
            del metadata[key]
        else:
            metadata[key] = value
    save_file(load_file(path), to, metadata)
    return to


def kind_of(which: str | None, task: str | None = "derain") -> str:
    with pytest.raises(WeightsError) as caught:
        resolve(which, task)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    assert caught.value.exit_code == 3
    return caught.value.kind


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    network = narrow_network("dehaze")
    save_network(path, network, network.descriptor("dehaze"), {"version": "7", "format": "not this one"})
    weights = resolve(str(path), "dehaze")
    assert (weights.name, weights.task, weights.path, weights.onnx) == ("mine.safetensors", "dehaze", path, None)
    assert weights.descriptor == network.descriptor("dehaze")
    assert weights.metadata["version"] == "7" and weights.metadata["format"] == FORMAT
    assert weights.sha256 == sha256_of(path)
    loaded = load_network(weights)
    assert not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float())
    assert {value.dtype for value in load_network(weights, "bf16").state_dict().values()} == {torch.bfloat16}
    assert [file.name for file in tmp_path.iterdir()] == ["mine.safetensors"]
    assert path.stat().st_mode & 0o444


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    network = narrow_network("derain")
    with pytest.raises(PhotoError, match="cannot be written") as caught:
        save_network(tmp_path / "none" / "mine.safetensors", network, network.descriptor("derain"))
    assert caught.value.kind == "unwritable"
    (tmp_path / "taken.safetensors").mkdir()
    with pytest.raises(PhotoError, match="cannot be written"):
        save_network(tmp_path / "taken.safetensors", network, network.descriptor("derain"))
    assert [file.name for file in tmp_path.iterdir()] == ["taken.safetensors"]


def test_shipped_weights_are_found_by_task_and_by_name(shipped: Path) -> None:
    for which in (None, "derain-1"):
        weights = resolve(which, "derain")
        assert (weights.name, weights.path) == ("derain-1", shipped / "derain.safetensors")
        assert weights.onnx == shipped / "derain.onnx"
    assert resolve("dehaze-1", None).task == "dehaze"
    entry = verify("derain-1")
    assert entry.figures == {"gain in dB": 7.5} and entry.size == (shipped / "derain.safetensors").stat().st_size


def test_names_are_suggested(shipped: Path) -> None:
    with pytest.raises(WeightsError, match=r"'derain1': did you mean derain-1\?"):
        resolve("derain1", "derain")
    with pytest.raises(WeightsError, match=r"there are derain-1, dehaze-1"):
        resolve("zzz", "derain")


def test_damage_to_shipped_weights_is_found(shipped: Path) -> None:
    for file in ("derain.onnx", "derain.safetensors"):
        data = bytearray((shipped / file).read_bytes())
        data[-1] ^= 1
        (shipped / file).write_bytes(data)
        assert kind_of(None) == kind_of("derain-1") == "corrupt"
        with pytest.raises(WeightsError, match=file):
            verify("derain-1")
    (shipped / "derain.onnx").unlink()
    (shipped / "derain.safetensors").unlink()
    assert kind_of(None) == "missing"
    assert catalogue()[0].size is None


def test_a_missing_onnx_file_is_found(shipped: Path) -> None:
    (shipped / "derain.onnx").unlink()
    with pytest.raises(WeightsError, match=r"derain\.onnx is missing") as caught:
        verify("derain-1")
    assert caught.value.kind == "missing"
    assert resolve("derain-1", "derain").onnx is None


def test_without_the_list_there_are_no_shipped_weights(shipped: Path) -> None:
    (shipped / "weights.toml").unlink()
    assert kind_of(None) == kind_of("derain-1") == "missing"


@pytest.mark.parametrize(
    "text",
    ["not toml", "weights = 3", '[[weights]]\nname = "x"', '[[weights]]\nunknown = "x"', "[weights]\na = 1"],
)
def test_a_malformed_list_is_corrupt(text: str, shipped: Path) -> None:
    (shipped / "weights.toml").write_text(text)
    assert kind_of(None) == "corrupt"


def test_a_list_with_a_name_twice_is_corrupt(shipped: Path) -> None:
    text = (shipped / "weights.toml").read_text()
    (shipped / "weights.toml").write_text(text.replace("dehaze-1", "derain-1"))
    assert kind_of(None) == "corrupt"


def test_a_task_without_shipped_weights_says_so(shipped: Path) -> None:
    text = (shipped / "weights.toml").read_text()
    (shipped / "weights.toml").write_text(text.replace("default = true", "default = false"))
    assert kind_of(None) == "missing"


def test_the_real_list_if_there_is_one_is_sound() -> None:
    path = weights_folder() / "weights.toml"
    if not path.is_file():
        pytest.skip("no weights are shipped yet")
    assert tomllib.loads(path.read_text())
    for entry in catalogue():
        verify(entry.name)


def test_weights_of_the_other_task(weights_files: dict[str, Path]) -> None:
    assert kind_of(str(weights_files["dehaze"]), "derain") == "wrong_task"
    assert kind_of(str(weights_files["dehaze"].with_suffix(".onnx")), "derain") == "wrong_task"


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
@pytest.mark.parametrize("damage", ["empty", "cut", "text", "short", "foreign"])
def test_damaged_files_are_corrupt(suffix: str, damage: str, weights_files: dict[str, Path], tmp_path: Path) -> None:
    whole = weights_files["derain"].with_suffix(suffix).read_bytes()
    path = tmp_path / f"mine{suffix}"
    if damage == "foreign" and suffix == ".safetensors":
        save_file({"weight": np.zeros(3, np.float32)}, path)
    elif damage == "foreign":
        import onnx

        model = onnx.load_from_string(whole)
        del model.metadata_props[:]
        onnx.save(model, path)
    else:
        path.write_bytes({"empty": b"", "cut": whole[:-1000], "text": b"once upon a time", "short": whole[:5]}[damage])
    assert kind_of(str(path)) == "corrupt"


@pytest.mark.parametrize("name", ["mine.pth", "mine.pt", "mine.ckpt", "mine.bin", "mine.safetensors", "mine.onnx"])
@pytest.mark.parametrize("form", ["plain", "torch"])
def test_pickles_are_refused_unopened(name: str, form: str, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, (f"open({str(tmp_path / 'sprung')!r}, 'w')",)

    path = tmp_path / name
    if form == "torch":
        torch.save({"a": Trap()}, path)
    else:
        path.write_bytes(pickle.dumps(Trap()))
    assert kind_of(str(path)) == "refused"
    assert not (tmp_path / "sprung").exists()


def test_other_files_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("hello")
    assert kind_of(str(tmp_path / "mine.txt")) == "refused"
    assert kind_of(str(tmp_path / "none.safetensors")) == "missing"
    assert kind_of(str(tmp_path)) == "missing"


@pytest.mark.parametrize(
    "changes",
    [{"format": "another"}, {"format": None}, {"descriptor": None}, {"descriptor": "{}"}, {"descriptor": "?"}],
)
def test_metadata_that_say_something_else(
    changes: dict[str, str | None], weights_files: dict[str, Path], tmp_path: Path
) -> None:
    path = rewritten(weights_files["derain"], tmp_path / "mine.safetensors", **changes)
    assert kind_of(str(path)) == "corrupt"


def descriptor_of(architecture: str) -> str:
    return Descriptor("derain", architecture, stride=8, halo=112, thumbnail=64).to_json()


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"config": "?"},
        {"config": "[]"},
        {"config": '{"depth": 3}'},
        {"config": '{"stem": 3}'},
        {"config": '{"widths": [8, 8], "blocks": [1, 1]}'},
        {"descriptor": descriptor_of("resnet-of-tomorrow")},
    ],
)
def test_a_network_that_does_not_fit_its_description(
    changes: dict[str, str | None], weights_files: dict[str, Path], tmp_path: Path
) -> None:
    weights = resolve(str(rewritten(weights_files["derain"], tmp_path / "mine.safetensors", **changes)), "derain")
    with pytest.raises(WeightsError, match=r"mine\.safetensors") as caught:
        load_network(weights)
    assert caught.value.kind == "corrupt" and "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_tensors_must_be_just_those_of_the_network(change: str, weights_files: dict[str, Path], tmp_path: Path) -> None:
    whole = resolve(str(weights_files["derain"]), "derain")
    tensors = load_file(whole.path)
    if change == "missing":
        del tensors["head.weight"]
    elif change == "extra":
        tensors["tail.weight"] = np.zeros(3, np.float16)
    else:
        tensors["head.bias"] = np.zeros(5, np.float16)
    path = tmp_path / "mine.safetensors"
    save_file(tensors, path, dict(whole.metadata))
    with pytest.raises(WeightsError, match=r"head|tail"):
        load_network(resolve(str(path), "derain"))


@pytest.mark.parametrize("name", ["mine.onnx", "MINE.ONNX"])
def test_an_onnx_file_is_nothing_for_torch(weights_files: dict[str, Path], tmp_path: Path, name: str) -> None:
    shutil.copy(weights_files["derain"].with_suffix(".onnx"), tmp_path / name)
    weights = resolve(str(tmp_path / name), "derain")
    assert weights.onnx == weights.path and weights.is_onnx
    assert {one.backend for one in every_setting(weights, "cpu")} <= {"onnx", "openvino"}
    with pytest.raises(WeightsError, match="ONNX"):
        load_network(weights)


def test_a_twin_counts_only_when_it_is_of_this_very_file(weights_files: dict[str, Path], tmp_path: Path) -> None:
    assert resolve(str(weights_files["derain"]), "derain").onnx == weights_files["derain"].with_suffix(".onnx")
    network = narrow_network("derain", seed=5)
    path = tmp_path / "mine.safetensors"
    save_network(path, network, network.descriptor("derain"))
    shutil.copy(weights_files["derain"].with_suffix(".onnx"), tmp_path / "mine.onnx")
    assert resolve(str(path), "derain").onnx is None
    (tmp_path / "mine.onnx").write_bytes(b"damaged")
    assert resolve(str(path), "derain").onnx is None


def test_config_travels_as_plain_json(weights_files: dict[str, Path]) -> None:
    config = json.loads(resolve(str(weights_files["derain"]), "derain").metadata["config"])
    assert tuple(config["widths"]) == NARROW["derain"].widths
