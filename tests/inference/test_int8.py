"""Networks in 8-bit integers: as close as 8 bits are, the same in tiles, and told of where they cannot be had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from restorecli import Restorer
from restorecli.errors import BackendError
from restorecli.export import export_onnx
from restorecli.hardware import cpu_has_fast_int8
from restorecli.inference.backends import open_backend, openvino_backend
from restorecli.inference.backends.openvino_int8 import quantised
from restorecli.metrics import psnr
from restorecli.photo import Photo
from restorecli.training.calibration import activation_ranges
from restorecli.weights import Weights, load_network, ranges, resolve, save_network
from tests.small import narrow_network, noise

openvino = pytest.importorskip("openvino")
TASKS = ("derain", "dehaze")


@pytest.fixture(scope="module", params=TASKS)
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Weights that tell their ranges, as training writes them, with their ONNX twin."""
    task, path = request.param, tmp_path_factory.mktemp("int8") / "weights.safetensors"
    network = narrow_network(task)
    seen = activation_ranges(network, [noise(96, 128, seed=seed) for seed in range(3)], torch.device("cpu"))
    save_network(path, network, network.descriptor(task), ranges.to_metadata(seen))
    export_onnx(resolve(str(path), task), path.with_suffix(".onnx"))
    return resolve(str(path), task)


def _types(model: object) -> list[str]:
    return [node.get_type_name() for node in model.get_ordered_ops()]  # type: ignore[attr-defined]


def test_the_layers_with_a_range_are_quantised_and_no_others(weights: Weights) -> None:
    core = openvino_backend.the_core()
    names = load_network(weights).quantisable
    assert set(weights.ranges) == set(names)  # type: ignore[arg-type]
    model = quantised(core, openvino, weights.onnx, weights.ranges)
    # The input and the weights of each.
    assert _types(model).count("FakeQuantize") == 2 * len(weights.ranges) > 0
    plain = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    kept = {
        node.input_value(1).get_node().get_friendly_name().partition(".")[0]
        for node in plain
        if node.input_value(0).get_node().get_type_name() != "FakeQuantize"
    }
    assert {"stem", "head", "global_encoder"} <= kept <= {
        "stem", "head", "global_encoder", "guide_decoder", "guide_in",
    }  # fmt: skip
    one = next(iter(weights.ranges.items()))
    assert _types(quantised(core, openvino, weights.onnx, dict([one]))).count("FakeQuantize") == 2
    assert quantised(core, openvino, weights.onnx, {"no.such.layer": (0.0, 1.0)}) is None


def test_zero_is_a_level_of_every_range(weights: Weights) -> None:
    """A border padded with zero would otherwise be padded with something else."""
    model = quantised(openvino_backend.the_core(), openvino, weights.onnx, {**weights.ranges})
    for node in model.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize" and node.input_value(0).get_node().get_type_name() != "Constant":
            low, high = (float(node.input_value(index).get_node().data.ravel()[0]) for index in (1, 2))
            levels = low / (high - low) * 255
            assert low <= 0 <= high and abs(levels - round(levels)) < 1e-3


@pytest.mark.skipif(not cpu_has_fast_int8(), reason="this CPU has no fast products of 8-bit integers")
def test_int8_is_close_to_fp32_and_tiles_agree(weights: Weights) -> None:
    photo = noise(200, 312, seed=5)

    def restored(precision: str, tile: int | str) -> np.ndarray:
        restorer = Restorer(
            weights.task, weights=str(weights.path), backend="openvino", device="cpu", precision=precision, tile=tile,
            ensemble=1,
        )  # fmt: skip
        result, details = restorer.restore_photo(Photo(photo))
        assert details.precision == precision and (details.tiles > 1) == (tile == 64)
        return result.pixels

    exact, narrow, tiled = restored("fp32", 4096), restored("int8", 4096), restored("int8", 64)
    # Nothing that was learnt is this rough: the shipped weights are 15 dB closer (tests/end_to_end/test_shipped.py).
    assert 35 < psnr(narrow, exact) < 60, "close, and not the same"
    assert psnr(narrow, exact) > psnr(photo, exact) + 15
    assert np.abs(narrow.astype(int) - tiled).max() <= 2


def test_int8_is_had_by_name_where_it_is_fast(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_backend, "cpu_has_fast_int8", lambda: True)
    for backend in ("auto", "openvino"):
        found = open_backend(weights, backend=backend, device="cpu", precision="int8")
        assert (found.name, found.precision) == ("openvino", "int8")
    # Named or not, what cannot be had is an error that says what can.
    for backend, remedy in (("torch", "use --backend openvino"), ("onnx", "use --backend openvino")):
        with pytest.raises(BackendError, match=rf"--precision int8 is not available.*{remedy}"):
            open_backend(weights, backend=backend, device="cpu", precision="int8")
    for backend in ("auto", "openvino"):
        with pytest.raises(BackendError, match=r"needs the ranges of the layers.*fine-tune"):
            open_backend(replace(weights, ranges={}), backend=backend, device="cpu", precision="int8")
        with pytest.raises(BackendError, match="fp32 with these weights"):
            open_backend(replace(weights, ranges={"other": (0.0, 1.0)}), backend=backend, precision="int8")
    monkeypatch.setattr(openvino_backend, "cpu_has_fast_int8", lambda: False)
    for backend in ("auto", "openvino"):
        with pytest.raises(BackendError, match=r"--precision int8 is not available.*another --precision"):
            open_backend(weights, backend=backend, device="cpu", precision="int8")


def test_an_fp16_file_has_no_integers(weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sums would be halves; it runs as it would without ranges."""
    monkeypatch.setattr(openvino_backend, "cpu_has_fast_int8", lambda: True)
    half = tmp_path / "half.onnx"
    export_onnx(weights, half, precision="fp16")
    with pytest.raises(BackendError, match="fp32 with these weights"):
        open_backend(resolve(str(half), weights.task), backend="openvino", precision="int8")
    assert open_backend(resolve(str(half), weights.task), device="cpu").precision != "int8"
