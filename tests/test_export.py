"""ONNX files: what torch gives, one file, any size, and never a wrong one under its final name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from restorecli import __version__, export
from restorecli.errors import PhotoError, UsageError, WeightsError
from restorecli.export import export_onnx
from restorecli.weights import load_network, resolve, sha256_of


@pytest.mark.parametrize("task", ["derain", "dehaze"])
def test_any_size_gives_what_torch_gives(task: str, weights_files: dict[str, Path]) -> None:
    weights = resolve(str(weights_files[task]), task)
    session = onnxruntime.InferenceSession(weights_files[task].with_suffix(".onnx"), providers=["CPUExecutionProvider"])
    network, stride = load_network(weights), weights.descriptor.stride
    random = np.random.default_rng(4)
    for number, height, width in [(1, stride, stride), (1, 7 * stride, 33 * stride), (3, 2 * stride, 4 * stride)]:
        photo = random.random((number, 3, height, width), np.float32)
        thumbnail = random.random((number, 3, 64, 64), np.float32)
        place = np.tile(np.array([0.2, 0.0, 1.05, 0.6], np.float32), (number, 1))
        feed = {"photo": photo, "thumbnail": thumbnail} | ({"place": place} if weights.descriptor.place else {})
        (given,) = session.run(["restored"], feed)
        with torch.inference_mode():
            wanted = network(*(torch.from_numpy(value) for value in feed.values())).numpy()
        assert np.abs(wanted - photo).max() > 5 / 255
        assert np.abs(given - wanted).max() < 0.05 / 255


def test_the_file_says_what_it_is(weights_files: dict[str, Path]) -> None:
    path = weights_files["derain"].with_suffix(".onnx")
    weights = resolve(str(weights_files["derain"]), "derain")
    model = onnx.load(path, load_external_data=False)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata == dict(weights.metadata) | {
        "task": "derain",
        "stride": "8",
        "halo": str(weights.descriptor.halo),
        "thumbnail": "64",
        "exported_by": f"restorecli {__version__}",
        "source_sha256": weights.sha256,
        "opset": "18",
        "precision": "fp32",
        "normalisation": metadata["normalisation"],
    }
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [18]
    assert resolve(str(path), "derain").descriptor == weights.descriptor
    # One file, and no path of the machine that made it.
    assert not [file for file in path.parent.iterdir() if file.suffix not in (".onnx", ".safetensors")]
    assert str(Path(export.__file__).parent).encode() not in path.read_bytes()


def test_half_precision(weights_files: dict[str, Path], tmp_path: Path) -> None:
    weights = resolve(str(weights_files["derain"]), "derain")
    out = tmp_path / "half.onnx"
    report = export_onnx(weights, out, precision="fp16")
    assert (report.path, report.precision, report.size) == (out, "fp16", out.stat().st_size)
    assert report.sha256 == sha256_of(out) and report.largest_difference <= export.TOLERANCES["fp16"]
    assert report.size < weights_files["derain"].with_suffix(".onnx").stat().st_size
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    assert {entry.type for entry in session.get_inputs()} == {"tensor(float)"}
    with pytest.raises(UsageError, match="must be one of"):
        export_onnx(weights, out, precision="bf16")


def test_a_file_that_disagrees_is_never_written(
    weights_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = resolve(str(weights_files["derain"]), "derain")
    out = tmp_path / "mine.onnx"
    out.write_bytes(b"as before")
    for difference in (3.0, float("nan")):
        # At one size alone, which is not the first.
        found = iter([0.0, difference, *[0.0] * 9])
        monkeypatch.setattr(export, "_difference", lambda *values, found=found: next(found))
        with pytest.raises(WeightsError, match="is not written") as caught:
            export_onnx(weights, out)
        assert caught.value.kind == "parity"
    assert [file.name for file in tmp_path.iterdir()] == ["mine.onnx"]
    assert out.read_bytes() == b"as before"


def test_a_folder_that_is_not_there(weights_files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="cannot be written"):
        export_onnx(resolve(str(weights_files["derain"]), "derain"), tmp_path / "none" / "mine.onnx")
