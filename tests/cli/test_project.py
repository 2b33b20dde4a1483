"""What pyproject.toml, the README and the script of the continuous checks promise one another."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("system", "machine", "wanted"),
    [
        ("linux", "x86_64", "onnxruntime-gpu"),
        ("linux", "aarch64", "onnxruntime"),
        ("darwin", "arm64", "onnxruntime"),
        ("darwin", "x86_64", "onnxruntime"),
        ("win32", "AMD64", "onnxruntime-gpu"),
        ("win32", "ARM64", "onnxruntime"),
    ],
)
def test_one_onnx_runtime_everywhere(system: str, machine: str, wanted: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = [
        requirement.name
        for requirement in map(Requirement, project["dependencies"])
        if requirement.name.startswith("onnxruntime")
        and (
            requirement.marker is None
            or requirement.marker.evaluate({"sys_platform": system, "platform_machine": machine})
        )
    ]
    assert found == [wanted]


def test_the_checks_run_the_test_commands_of_the_readme() -> None:
    readme, checks = (ROOT / "README.md").read_text("utf-8"), (ROOT / ".ci" / "run").read_text("utf-8")
    commands = re.findall(r"^.*\.venv/bin/python (-m pytest.*?)(?: && \\)?$", readme, re.MULTILINE)
    assert commands and all(f'"$venv/bin/python" {command}\n' in checks for command in commands)
