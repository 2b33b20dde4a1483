"""What auto chooses: by measurement where there is one, by rule where there is none, and never a broken setting."""

from __future__ import annotations

import json
import logging
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from restorecli.inference import footprint, remembered
from restorecli.inference.backends import choice, open_backend
from restorecli.inference.backends.choice import WORTH_MEASURING, Setting, choose
from restorecli.inference.measure import Measurement, measure
from restorecli.weights import Weights, resolve

OPENVINO_INT8 = Setting("openvino", "cpu", "int8")
OPENVINO, OPENVINO_BF16 = Setting("openvino", "cpu", "fp32"), Setting("openvino", "cpu", "bf16")
TORCH, TORCH_BF16 = Setting("torch", "cpu", "fp32"), Setting("torch", "cpu", "bf16")
ONNX = Setting("onnx", "cpu", "auto")


@pytest.fixture
def weights(weights_files: dict[str, Path]) -> Weights:
    return resolve(str(weights_files["derain"]), "derain")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An x86 CPU with bf16 and fast integers, all libraries, no card, and nothing remembered."""
    monkeypatch.setattr(remembered, "cache_file", lambda: tmp_path / "cache" / "speed.json")
    monkeypatch.setattr(choice, "cpu_has_fast_bf16", lambda: True)
    monkeypatch.setattr(choice, "cpu_has_fast_int8", lambda: True)
    monkeypatch.setattr(choice, "has_cuda_driver", lambda: False)
    monkeypatch.setattr(choice, "_is_there", lambda package: True)
    monkeypatch.setattr(choice.platform, "machine", lambda: "x86_64")


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[Setting, float]:
    """Seconds per megapixel that measuring finds; settings are taken out as they are measured."""
    found = {OPENVINO: 0.5, OPENVINO_BF16: 0.3, TORCH: 0.7, TORCH_BF16: 0.35, ONNX: 0.6}

    def measured(weights: Weights, setting: Setting, best: float = math.inf) -> Measurement:
        if math.isinf(speed := found.pop(setting)):
            return Measurement(setting, problem="it crashes")
        return Measurement(setting, (speed * 2.1, speed * 2, speed * 9), megapixels=2)

    monkeypatch.setattr(choice, "probe", measured)
    return found


def first(weights: Weights, *asked: str, work: int = 0) -> Setting:
    return choose(weights, *(asked or ("auto",) * 3), work=work).settings[0]


def test_little_work_is_done_by_rule(
    weights: Weights, speeds: dict[Setting, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first(weights, work=WORTH_MEASURING - 1) == OPENVINO_BF16
    assert first(weights, "torch", "auto", "auto") == TORCH_BF16
    assert first(weights, "auto", "cpu", "fp32") == OPENVINO
    assert first(replace(weights, onnx=None)) == TORCH_BF16
    monkeypatch.setattr(choice, "cpu_has_fast_bf16", lambda: False)
    assert first(weights) == OPENVINO
    monkeypatch.setattr(choice, "_is_there", lambda package: package != "openvino")
    assert first(weights) == ONNX
    assert first(replace(weights, onnx=None)) == TORCH
    monkeypatch.setattr(choice.platform, "machine", lambda: "arm64")
    assert first(weights) == ONNX
    assert len(speeds) == 5, "nothing was measured"


def test_int8_is_for_cpus_without_bf16_and_weights_with_ranges(
    weights: Weights, speeds: dict[Setting, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    ranged = replace(weights, ranges={"encoder.0.0.first": (-1.0, 1.0)})
    # Where both are fast the closer one goes first, until it is measured which is the faster.
    assert choose(ranged, "auto", "auto", "auto").settings[:3] == (OPENVINO_BF16, OPENVINO_INT8, TORCH_BF16)
    monkeypatch.setattr(choice, "cpu_has_fast_bf16", lambda: False)
    assert choose(ranged, "auto", "auto", "auto").settings[:2] == (OPENVINO_INT8, OPENVINO)
    assert first(ranged, "openvino", "cpu", "auto") == OPENVINO_INT8
    assert first(ranged, "auto", "auto", "fp32") == OPENVINO
    assert first(ranged, "auto", "cpu", "int8") == OPENVINO_INT8
    assert first(weights) == OPENVINO, "its layers have no ranges"
    monkeypatch.setattr(choice, "cpu_has_fast_int8", lambda: False)
    assert first(ranged) == OPENVINO
    monkeypatch.setattr(choice, "cpu_has_fast_int8", lambda: True)
    speeds |= {OPENVINO_INT8: 0.29, OPENVINO: 0.3}
    monkeypatch.setattr(choice, "cpu_has_fast_bf16", lambda: False)
    assert first(ranged, work=WORTH_MEASURING) == OPENVINO, "it gains next to nothing"


def test_much_work_is_measured_once_and_the_fastest_is_chosen(weights: Weights, speeds: dict[Setting, float]) -> None:
    speeds[TORCH_BF16] = 0.2
    found = choose(weights, "auto", "auto", "auto", work=WORTH_MEASURING)
    assert found.settings == (TORCH_BF16, OPENVINO_BF16, OPENVINO, ONNX, TORCH)
    assert "torch bf16 0.2, openvino bf16 0.3" in found.why and "measured" in found.why
    assert not speeds
    # From now on small jobs take it too, and so does what was asked for in part.
    assert choose(weights, "auto", "auto", "auto") == found
    assert first(weights, "auto", "auto", "fp32") == OPENVINO
    assert first(weights, "openvino", "cpu", "auto") == OPENVINO_BF16


def test_fp32_is_taken_where_bf16_gains_next_to_nothing(weights: Weights, speeds: dict[Setting, float]) -> None:
    speeds |= {OPENVINO: 0.31}
    assert first(weights, work=WORTH_MEASURING) == OPENVINO


def test_what_does_not_run_is_never_chosen_nor_tried_again(weights: Weights, speeds: dict[Setting, float]) -> None:
    speeds |= {OPENVINO_BF16: math.inf}
    assert first(weights, work=WORTH_MEASURING) == TORCH_BF16
    assert first(weights, work=WORTH_MEASURING) == TORCH_BF16
    assert json.loads(remembered.cache_file().read_text())["entries"], "valid JSON, without infinities"


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"entries": []}', b"\xff\x00", b'{"entries": {"KEY": {"figures": {"a b c": "fast"}}}}'],
)
def test_a_broken_cache_is_no_cache(damage: bytes, weights: Weights, speeds: dict[Setting, float]) -> None:
    choose(weights, "auto", "auto", "auto", work=WORTH_MEASURING)
    file = remembered.cache_file()
    (key,) = json.loads(file.read_text())["entries"]
    file.write_bytes(damage.replace(b"KEY", key.encode()))
    assert "rule of thumb" in choose(weights, "auto", "auto", "auto").why
    choice.remember(weights, "cpu", {ONNX: 0.1})
    assert choice.recall(weights, "cpu") == {ONNX: 0.1}


def test_a_cache_that_cannot_be_written_is_no_error(
    weights: Weights, speeds: dict[Setting, float], tmp_path: Path
) -> None:
    (tmp_path / "cache").touch()
    assert first(weights, work=WORTH_MEASURING) == OPENVINO_BF16


@pytest.mark.parametrize("change", ["weights", "cpu", "threads", "versions"])
def test_figures_of_another_machine_or_version_do_not_count(
    change: str, weights: Weights, speeds: dict[Setting, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    choice.remember(weights, "cpu", {ONNX: 0.1})
    assert choice.recall(weights, "cpu")
    if change == "weights":
        weights = replace(weights, sha256="0" * 64)
    else:
        name = {"cpu": "cpu_name", "threads": "threads", "versions": "_version"}[change]
        monkeypatch.setattr(choice, name, lambda *values: "another")
    assert not choice.recall(weights, "cpu")


def test_a_card_is_used_when_torch_can(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(choice, "_torch_has_cuda", lambda: False)
    assert first(weights) == OPENVINO_BF16
    assert choose(weights, "auto", "cuda", "auto").settings == ()
    monkeypatch.setattr(choice, "_torch_has_cuda", lambda: True)
    monkeypatch.setattr(choice, "_key", lambda weights, device: {"device": device})
    assert first(weights) == Setting("torch", "cuda:0", "bf16")
    assert first(weights, "auto", "cuda:1", "fp16") == Setting("torch", "cuda:1", "fp16")
    assert first(weights, "auto", "cpu", "auto") == OPENVINO_BF16
    alone = replace(weights, path=weights.onnx)
    assert first(alone) == Setting("onnx", "auto", "auto")


def test_what_does_not_start_leaves_its_place_to_the_next(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "restorecli")
    monkeypatch.setattr(logging.getLogger("restorecli"), "propagate", True)
    monkeypatch.setitem(sys.modules, "openvino", None)
    opened = open_backend(weights, device="cpu", precision="fp32")
    assert (opened.name, opened.precision) == ("onnx", "fp32")
    assert "rule of thumb" in caplog.text and "openvino cpu fp32 does not start" in caplog.text


def test_measuring_is_done_in_a_process_of_its_own(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "DEFAULT_WORKING_MEMORY", 20_000_000)
    result = choice.probe(weights, ONNX)
    assert result.problem is None and result.setting == Setting("onnx", "cpu", "fp32")
    assert len(result.seconds) == 2 and 0 < result.megapixels <= 0.2 and result.tiles == 1
    assert 0 < result.seconds_per_megapixel < 60 and result.start > 0
    assert result.peak_memory is None or 30e6 < result.peak_memory < 1e9
    broken = measure(weights, replace(ONNX, precision="bf16"), height=16, width=16)
    assert broken.problem is not None and "--precision bf16" in broken.problem
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "no process" in str(measure(weights, ONNX, height=16, width=16).problem)
