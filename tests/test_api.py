"""The public Python API: what it is, and that importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import restorecli
from restorecli.photo import Photo
from tests.small import noise


def test_the_surface_is_what_is_promised() -> None:
    assert sorted(dir(restorecli)) == ["Restorer", "__version__", "read_photo", "write_photo"]
    from restorecli.inference.restorer import Restorer
    from restorecli.photo import read_photo, write_photo

    assert (restorecli.Restorer, restorecli.read_photo, restorecli.write_photo) == (Restorer, read_photo, write_photo)
    with pytest.raises(AttributeError, match="tune"):
        _ = restorecli.tune


def test_importing_it_loads_no_engine() -> None:
    code = "import restorecli, sys; print(*{'torch', 'onnxruntime', 'cv2', 'numpy', 'PIL'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_onnx_runs_without_torch(weights_files: dict[str, object]) -> None:
    code = (
        "import sys, numpy; from restorecli import Restorer\n"
        f"r = Restorer('derain', weights={str(weights_files['derain'])!r}, backend='onnx', device='cpu')\n"
        "r.restore(numpy.zeros((9, 9, 3), numpy.uint8)); print(r.backend.name, 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["onnx", "False"]


def test_paths_are_text_or_path(weights_files: dict[str, Path], tmp_path: Path) -> None:
    restorer = restorecli.Restorer("derain", weights=weights_files["derain"], device="cpu")
    target = str(tmp_path / "a.png")
    restorecli.write_photo(Photo(noise(20, 30)), target)
    assert restorer.restore(restorecli.read_photo(target)).pixels.shape == (20, 30, 3)
