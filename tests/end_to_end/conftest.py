"""Photos as files, and the command line as a call."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from restorecli.cli.app import run
from tests.small import noise


@dataclass(frozen=True)
class Call:
    """What a command line came to."""

    code: int
    out: str
    err: str
    objects: list[dict[str, Any]] = field(default_factory=list)
    """The JSON Lines on stdout, where there are some."""

    @property
    def errors(self) -> list[str]:
        """The lines on stderr that report errors."""
        return [line for line in self.err.splitlines() if line.startswith("restore: ")]


@pytest.fixture
def restore(capsys: pytest.CaptureFixture[str]) -> Callable[..., Call]:
    """Runs one command line in this process."""

    def call(*arguments: str | Path) -> Call:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        objects = [json.loads(line) for line in out.splitlines()] if "--json" in arguments else []
        return Call(code, out, err, objects)

    return call


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    """Makes a photo file below the test's folder."""

    def make(name: str = "photo.jpg", height: int = 40, width: int = 56, **save: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(height, width)).save(path, **save)
        return path

    return make


@pytest.fixture
def pixels() -> Callable[[Path], np.ndarray]:
    """Reads a file's pixels as they are stored."""

    def read(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            return np.asarray(image)

    return read


@pytest.fixture
def engine(weights_files: dict[str, Path]) -> Callable[[str], list[str]]:
    """Options that run a task with the small weights on what every machine has, and starts soonest."""

    def options(task: str) -> list[str]:
        return ["--weights", str(weights_files[task]), "--backend", "onnx", "--device", "cpu"]

    return options


def left_behind(folder: Path) -> list[Path]:
    """Half-written files anywhere below ``folder``."""
    return [path for path in folder.rglob("*") if path.name.startswith(".restore-")]
