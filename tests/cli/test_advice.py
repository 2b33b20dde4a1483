"""What doctor advises, for machines that nobody has at hand."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path
from typing import Any

import pytest

from restorecli.cli import machine
from restorecli.cli.advice import Found, advise

WELL = Found(
    cards=("NVIDIA T4, 15360 MiB",),
    bare_card=False,
    torch="2.13.0",
    torch_problem=None,
    torch_cuda="13.0",
    torch_on_cuda=True,
    onnx_builds=("onnxruntime-gpu",),
    onnx_problem=None,
    onnx_on_cuda=True,
    torch_wanted="torch<2.14,>=2.11",
)


@pytest.mark.parametrize(
    ("changes", "kinds", "remedy"),
    [
        ({}, [], ""),
        ({"cards": (), "torch_on_cuda": False, "torch_cuda": None, "onnx_on_cuda": False}, [], ""),
        (
            {"torch": "2.13.0+cpu", "torch_cuda": None, "torch_on_cuda": False},
            ["torch_without_cuda"],
            'pip install --force-reinstall "torch<2.14,>=2.11"',
        ),
        (
            {"torch_cuda": None, "torch_on_cuda": False, "windows": True},
            ["torch_without_cuda"],
            "https://pytorch.org/get-started",
        ),
        ({"torch_on_cuda": False}, ["old_driver"], "driver"),
        ({"torch_on_cuda": False, "onnx_on_cuda": False, "hidden": True}, ["hidden_card"], "unset"),
        ({"onnx_on_cuda": False}, ["onnxruntime_without_libraries"], "onnxruntime-gpu[cuda,cudnn]"),
        (
            {"onnx_builds": ("onnxruntime",), "onnx_on_cuda": False},
            ["onnxruntime_without_cuda"],
            "pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
        ),
        (
            {"onnx_builds": ("onnxruntime-gpu", "onnxruntime"), "torch_on_cuda": False},
            ["clash", "old_driver"],
            "pip uninstall -y onnxruntime-gpu onnxruntime && pip install onnxruntime-gpu",
        ),
        ({"cards": (), "bare_card": True}, ["no_driver"], "driver"),
        ({"torch": None, "torch_on_cuda": False}, ["no_torch"], 'pip install "torch<2.14,>=2.11"'),
        ({"torch_problem": "no libtorch.so", "torch_on_cuda": False}, ["broken_torch"], "--force-reinstall"),
        ({"onnx_builds": (), "onnx_on_cuda": False}, ["no_onnxruntime"], "pip install onnxruntime-gpu"),
        ({"onnx_problem": "no ELF", "onnx_on_cuda": False}, ["broken_onnxruntime"], "--force-reinstall"),
    ],
)
def test_advice(changes: dict[str, Any], kinds: list[str], remedy: str) -> None:
    told = advise(dataclasses.replace(WELL, **changes))
    assert [each.kind for each in told] == kinds
    assert [each.kind for each in told if each.serious] == [kind for kind in kinds if kind == "clash"]
    assert not told or remedy in told[0].remedy


@pytest.mark.parametrize(
    ("script", "cards"),
    [("echo 'NVIDIA H200, 143771 MiB'", ("NVIDIA H200, 143771 MiB",)), ("echo 'no devices were found'; exit 6", ())],
)
def test_the_drivers_own_word(
    script: str, cards: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert machine.nvidia_cards() == cards
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert machine.nvidia_cards() == ()
