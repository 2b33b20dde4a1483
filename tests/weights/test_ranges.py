"""Ranges of layers in the metadata of weights files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from restorecli.errors import WeightsError
from restorecli.export import export_onnx
from restorecli.weights import ranges, resolve, save_network
from tests.small import narrow_network


def test_ranges_travel_with_the_weights_and_their_twin(tmp_path: Path) -> None:
    path, network = tmp_path / "mine.safetensors", narrow_network("derain")
    given = {"encoder.0.0.first": (-1.234567, 2.5), "encoder.0.0.second": (0.0, 0.00098765432)}
    save_network(path, network, network.descriptor("derain"), ranges.to_metadata(given))
    export_onnx(resolve(str(path), None), path.with_suffix(".onnx"))
    for file in (path, path.with_suffix(".onnx")):
        found = resolve(str(file), None).ranges
        assert found == {"encoder.0.0.first": (-1.2346, 2.5), "encoder.0.0.second": (0.0, 0.00098765)}


def test_without_ranges_there_is_nothing() -> None:
    assert ranges.to_metadata({}) == {}
    assert ranges.from_metadata({}) == {}


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "3", '{"a": 1}', '{"a": [1]}', '{"a": [1, 2, 3]}', '{"a": [2, 1]}', '{"a": [0, "1"]}',
     '{"a": [0, true]}', '{"a": [0, NaN]}', '{"a": [-Infinity, 1]}', '{"a": [0, 1e999]}', "[" * 100_000,
     f'{{"a": [0, {"9" * 400}]}}'],
)  # fmt: skip
def test_damaged_ranges_are_damaged_weights(damage: str, tmp_path: Path) -> None:
    path, network = tmp_path / "mine.safetensors", narrow_network("derain")
    save_network(path, network, network.descriptor("derain"), {ranges.KEY: damage})
    with pytest.raises(WeightsError, match="damaged metadata"):
        resolve(str(path), None)


def test_what_is_written_is_json() -> None:
    assert json.loads(ranges.to_metadata({"a": (-1.0, 3.0)})[ranges.KEY]) == {"a": [-1.0, 3.0]}
