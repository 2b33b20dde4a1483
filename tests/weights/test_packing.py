"""What a training run becomes for others: usable, checked, and without anything of this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restorecli.cli.app import run as command
from restorecli.errors import PhotoError, UsageError, WeightsError
from restorecli.training.config import load_preset
from restorecli.weights import resolve, save_network
from restorecli.weights.packing import TO_FILL_IN, pack
from tests.small import narrow_network, noise


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """A folder as training leaves it."""

    def make(*log: str) -> Path:
        run = tmp_path / "runs" / "mine"
        run.mkdir(parents=True)
        network = narrow_network("derain")
        preset = load_preset("ship-derain")
        preset = replace(preset, generator=network.config)
        extra = {
            "preset": preset.to_toml(),
            "steps": "120",
            "version": "9.9",
            "data": "rainy and clean: 3 and 4 photos",
        }
        save_network(run / "generator.safetensors", network, network.descriptor("derain"), extra)
        (run / "config.toml").write_text(f'rgbd = "{tmp_path}"')
        (run / "log.jsonl").write_text("".join(f"{line}\n" for line in log))
        return run

    return make


def test_a_pack_is_usable_and_says_what_is_known(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run(
        '{"step": 60, "val_psnr": 20.5, "val_gain": 1.5}',
        '{"step": 120, "val_psnr": 24.25, "val_gain": 5.25}',
        '{"step": 120, "rendered": 0.02}',
        '{"step": 1',
    )
    packed = pack(run, tmp_path / "out" / "mine")
    names = {"generator.safetensors", "config.toml", "README.md", "SHA256SUMS"}
    assert set(packed.files) == names == {path.name for path in packed.folder.iterdir()}
    for line in (packed.folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((packed.folder / name).read_bytes()).hexdigest() == digest
    card = (packed.folder / "README.md").read_text()
    for fact in ("120", "9.9", "3 and 4 photos", "| val_psnr | 24.25 |", packed.weights.sha256, "stride 8", "- derain"):
        assert fact in card
    assert "20.5" not in card and f"Licence of these weights: {TO_FILL_IN}" in card
    everything = b"".join(path.read_bytes() for path in packed.folder.iterdir())
    assert str(tmp_path).encode() not in everything
    assert load_preset(str(packed.folder / "config.toml")).task == "derain"
    for which in (packed.folder, packed.folder / "generator.safetensors", run):
        assert resolve(str(which), "derain").sha256 == packed.weights.sha256
    assert [path.name for path in packed.folder.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["val_psnr_y", "held_distance"])
def test_a_card_has_the_scores_of_the_weights_that_are_packed(
    make_run: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    # Fine-tuning gives back the best weights, which later ones were measured after.
    lines = [f'{{"step": {step}, "{name}": {step + 0.5}}}' for step in (60, 120, 180)]
    run = make_run(*lines, f'{{"{name}": 1.0}}', f'{{"step": "many", "{name}": 1.0}}')
    card = (pack(run, tmp_path / "mine").folder / "README.md").read_text()
    assert f"| {name} | 120.5 |" in card and "Scores of step 120" in card and "180.5" not in card


def test_a_card_that_somebody_filled_in_is_not_overwritten(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run()
    out = tmp_path / "empty"
    out.mkdir()
    assert f"The run measured none. {TO_FILL_IN}" in (pack(run, out).folder / "README.md").read_text()
    (out / "README.md").write_text("mine")
    with pytest.raises(UsageError, match="there already"):
        pack(run, out)
    assert (out / "README.md").read_text() == "mine"


def test_what_is_no_run_is_refused(make_run: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no generator\.safetensors"):
        pack(tmp_path, tmp_path / "out")
    run = make_run()
    data = (run / "generator.safetensors").read_bytes()
    (run / "generator.safetensors").write_bytes(data[:-10])
    with pytest.raises(WeightsError):
        pack(run, tmp_path / "out")
    (tmp_path / "file").write_text("")
    (run / "generator.safetensors").write_bytes(data)
    with pytest.raises(PhotoError, match="cannot be written"):
        pack(run, tmp_path / "file" / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_packs_and_the_pack_restores(
    make_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    assert command(["weights", "pack", str(run), "--json"]) == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert facts["folder"] == str(run.with_name("mine-packed")) and "licence" in err
    Image.fromarray(noise(24, 40)).save(tmp_path / "a.png")
    options = ["--weights", facts["folder"], "--backend", "torch", "--device", "cpu", "--out", str(tmp_path / "b.png")]
    assert command(["derain", str(tmp_path / "a.png"), *options]) == 0
    before, after = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    assert before.shape == after.shape and (before != after).any()
    assert command(["weights", "pack", str(run)]) == 2
