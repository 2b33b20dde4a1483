"""Small networks as weights files, with their ONNX twins: what most tests run instead of the shipped ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from restorecli.inference import remembered
from tests.small import NARROW, save_weights


@pytest.fixture(scope="session", autouse=True)
def no_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What whoever runs the tests has set for themselves is no part of them."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))
    for name in [name for name in os.environ if name.startswith("RESTORE_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def weights_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A ``.safetensors`` file for each task, with its ``.onnx`` beside it. Not to be changed."""
    folder = tmp_path_factory.mktemp("weights")
    return {task: save_weights(folder, task) for task in NARROW}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured on this machine while tests run, and under their names, is no user's business."""
    monkeypatch.setattr(remembered, "cache_file", lambda: tmp_path_factory.getbasetemp() / "speed.json")
