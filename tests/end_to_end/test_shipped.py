"""What comes with the project: its weights, its example photos, and the commands that speak of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from restorecli.hardware import cpu_has_fast_int8
from restorecli.metrics import psnr
from restorecli.weights import catalogue
from tests.end_to_end.conftest import Call

Restore = Callable[..., Call]

ROOT = Path(__file__).parents[2]
EXAMPLES = {"dehaze": "hazy.jpg", "derain": "rainy.jpg"}
TASKS = list(EXAMPLES)


def test_each_task_has_one_default() -> None:
    assert sorted(entry.task for entry in catalogue() if entry.default) == TASKS


@pytest.mark.parametrize("task", TASKS)
def test_the_shipped_weights_are_small_and_have_a_card(task: str) -> None:
    (entry,) = (entry for entry in catalogue() if entry.task == task and entry.default)
    assert entry.size is not None and entry.size <= 8_000_000
    assert entry.onnx_path is not None and entry.onnx_path.is_file()
    card = (entry.path.parent / entry.card).read_text("utf-8")
    for word in ("licence", "data", "limits"):
        assert word in card.lower()


@pytest.mark.parametrize("task", TASKS)
def test_the_example_is_restored(task: str, restore: Restore, tmp_path: Path) -> None:
    source = tmp_path / EXAMPLES[task]
    shutil.copy(ROOT / "examples" / EXAMPLES[task], source)
    call = restore(task, source, "--json", "--device", "cpu")
    assert call.code == 0, call.err
    with Image.open(source) as before, Image.open(call.objects[0]["output"]) as after:
        assert after.size == before.size
        change = np.abs(np.asarray(after).astype(int) - np.asarray(before).astype(int)).mean()
    assert change > 2


@pytest.mark.parametrize("task", TASKS)
def test_all_backends_agree_on_the_example(task: str, restore: Restore, tmp_path: Path) -> None:
    outputs = []
    for backend in ("torch", "onnx", *(["openvino"] if find_spec("openvino") else [])):
        out = tmp_path / f"{backend}.png"
        options = ["--format", "png", "--out", out, "--backend", backend, "--precision", "fp32", "--device", "cpu"]
        assert restore(task, ROOT / "examples" / EXAMPLES[task], *options).code == 0
        with Image.open(out) as restored:
            outputs.append(np.asarray(restored).astype(int))
    assert all(np.abs(outputs[0] - other).max() <= 1 for other in outputs[1:])


@pytest.mark.skipif(not find_spec("openvino"), reason="OpenVINO is not installed")
@pytest.mark.skipif(not cpu_has_fast_int8(), reason="this CPU has no fast products of 8-bit integers")
@pytest.mark.parametrize("task", TASKS)
def test_integers_are_next_to_nothing_away(task: str, restore: Restore, tmp_path: Path) -> None:
    outputs = []
    for precision in ("fp32", "int8"):
        out = tmp_path / f"{precision}.png"
        options = [
            "--format",
            "png",
            "--out",
            out,
            "--backend",
            "openvino",
            "--precision",
            precision,
            "--ensemble",
            "1",
        ]
        assert restore(task, ROOT / "examples" / EXAMPLES[task], *options).code == 0
        with Image.open(out) as restored:
            outputs.append(np.asarray(restored))
    assert 48 < psnr(*outputs) < 100


def test_weights_commands(restore: Restore) -> None:
    call = restore("weights", "list", "--json")
    assert call.code == 0
    names = [found["name"] for found in call.objects]
    listing = restore("weights", "list").out
    assert all(name in listing for name in names)
    call = restore("weights", "show", names[0], "--json")
    assert call.code == 0
    assert call.objects[0]["name"] == names[0] and call.objects[0]["sha256"] == catalogue()[0].sha256
    assert names[0] in restore("weights", "show", names[0]).out
    call = restore("weights", "verify", "--json")
    assert call.code == 0
    assert [found["name"] for found in call.objects if found["sound"]] == names


def test_a_mistyped_name_is_answered_with_the_nearest(restore: Restore) -> None:
    name = catalogue()[0].name
    call = restore("weights", "show", name[:-1] + "x")
    assert (call.code, len(call.err.splitlines())) == (3, 1)
    assert f"did you mean {name}?" in call.err


def test_doctor(restore: Restore) -> None:
    call = restore("doctor", "--json")
    assert call.code == 0, call.err
    machine, *tasks = call.objects
    assert machine["packages"]["torch"] and "cpu" in machine["devices"]["onnxruntime"]
    assert [found["task"] for found in tasks] == TASKS
    for found in tasks:
        assert found["why"]
        ran = {(trial["backend"], trial["device"]) for trial in found["backends"] if trial["problem"] is None}
        assert {("torch", "cpu"), ("onnx", "cpu")} <= ran
        assert found["used"]["problem"] is None and found["error"] is None
    assert [file["exists"] for file in machine["config"]["files"]] == [False, False]


def test_doctor_tells_of_defaults_and_of_what_clashes(
    restore: Restore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "restore.toml").write_text('backend = "onnx"\n[derain]\nquality = 90\n', "utf-8")
    monkeypatch.setenv("RESTORE_QUALITY", "80")
    monkeypatch.setenv("RESTORE_OUT", "somewhere")
    monkeypatch.setattr("restorecli.cli.machine.try_backends", lambda weights: [])
    call = restore("doctor")
    assert call.code == 0, call.err
    assert "restore.toml: backend = onnx, derain.quality = 90" in call.out and "RESTORE_QUALITY=80" in call.out
    assert "RESTORE_OUT is called like" in call.out
    assert call.out.count("used: onnx on cpu in fp32: backend is set in restore.toml") == 2
    distributions = [SimpleNamespace(name=name) for name in ("onnxruntime", "onnxruntime-gpu")]
    monkeypatch.setattr("importlib.metadata.distributions", lambda: distributions)
    (tmp_path / "restore.toml").write_text("broken", "utf-8")
    call = restore("--no-config", "doctor")
    assert (call.code, len(call.errors)) == (4, 1)
    assert "hide one another; remedy: pip uninstall -y" in call.errors[0] and "none: --no-config" in call.out
