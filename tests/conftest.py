"""Small networks as weights files, with their ONNX twins: what most tests run instead of the shipped ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from restorecli.export import export_onnx
from restorecli.weights import resolve, save_network
from tests.small import NARROW, narrow_network


@pytest.fixture(scope="session")
def weights_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A ``.safetensors`` file for each task, with its ``.onnx`` beside it. Not to be changed."""
    folder = tmp_path_factory.mktemp("weights")
    files = {}
    for task in NARROW:
        network = narrow_network(task)
        files[task] = folder / f"{task}.safetensors"
        save_network(files[task], network, network.descriptor(task), {"version": "test"})
        export_onnx(resolve(str(files[task]), task), files[task].with_suffix(".onnx"))
    return files
