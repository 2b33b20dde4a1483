"""What no weights file may do: take more memory than it is worth, or lead to other files."""

from __future__ import annotations

import json
import resource
import shutil
import struct
from pathlib import Path

import onnx
import pytest

from restorecli.errors import WeightsError
from restorecli.models.descriptor import Descriptor
from restorecli.weights import catalogue, load_network, resolve
from restorecli.weights.guards import stays_inside
from tests.weights.test_weights import kind_of, rewritten
from tests.weights.test_weights import shipped as shipped

EXTERNAL = onnx.TensorProto.EXTERNAL


def leading_elsewhere(model: onnx.ModelProto, how: str) -> None:
    """Let one tensor of a model lie in another file."""
    if how == "weight":
        tensor = model.graph.initializer[0]
    elif how == "constant":
        node = model.graph.node.add(op_type="Constant", output=["x"])
        tensor = node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t
    else:
        branch = model.graph.node.add(op_type="If", output=["y"]).attribute.add(
            name="then_branch", type=onnx.AttributeProto.GRAPH
        )
        tensor = branch.g.initializer.add(name="z")
    tensor.data_location = EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


@pytest.mark.parametrize("how", ["weight", "constant", "branch"])
def test_onnx_files_lead_to_no_other(how: str, weights_files: dict[str, Path], tmp_path: Path) -> None:
    source = weights_files["derain"].with_suffix(".onnx")
    model = onnx.load(source)
    leading_elsewhere(model, how)
    path = tmp_path / "mine.onnx"
    path.write_bytes(model.SerializeToString())
    assert kind_of(str(path)) == "refused"
    # Nor the twin of a sound file.
    shutil.copy(weights_files["derain"], tmp_path / "mine.safetensors")
    assert resolve(str(tmp_path / "mine.safetensors"), "derain").onnx is None


def test_a_header_of_absurd_size(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    for length in (1 << 62, 90_000_000):
        with path.open("wb") as file:
            file.write(struct.pack("<Q", length) + b"{")
            file.truncate(100_000_000)
        assert kind_of(str(path)) == "corrupt"


@pytest.mark.parametrize(
    "lie",
    [{"widths": [8, 8, 30_000]}, {"blocks": [1, 1, 10**9]}, {"global_width": 60_000}, {"thumbnail": 16 * 10**9}],
    ids=str,
)
def test_a_network_is_not_made_larger_than_its_file(
    lie: dict[str, object], weights_files: dict[str, Path], tmp_path: Path
) -> None:
    config = json.loads(resolve(str(weights_files["derain"]), "derain").metadata["config"]) | lie
    path = rewritten(weights_files["derain"], tmp_path / "mine.safetensors", config=json.dumps(config))
    weights = resolve(str(path), "derain")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match=r"mine\.safetensors"):
        load_network(weights)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@pytest.mark.parametrize("lie", [{"stride": 2**40}, {"halo": 2**40}, {"thumbnail": 10**6}, "nested"], ids=str)
def test_a_description_that_no_network_has(
    lie: dict[str, int] | str, weights_files: dict[str, Path], tmp_path: Path
) -> None:
    if isinstance(lie, str):
        text = "[" * 100_000
    else:
        values = {"stride": 8, "halo": 112, "thumbnail": 64} | lie
        text = Descriptor("derain", "unet", **values).to_json()
    assert kind_of(str(rewritten(weights_files["derain"], tmp_path / "mine.safetensors", descriptor=text))) == "corrupt"


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x", "a/../../x", "..\\x", "C:\\x", "\\\\server\\x", ""])
def test_names_stay_in_their_folder(name: str, shipped: Path) -> None:
    assert not stays_inside(name)
    text = (shipped / "weights.toml").read_text()
    (shipped / "weights.toml").write_text(text.replace('"derain.safetensors"', json.dumps(name)))
    with pytest.raises(WeightsError, match="outside its folder"):
        catalogue()


def test_names_on_the_hub_stay_in_their_repository() -> None:
    assert stays_inside("sub/x.safetensors") and stays_inside("v1..2")
    for which in ("hf://one/two/../../x.safetensors", "hf://one/../x", "hf://../two", "hf://one/two@../x.safetensors"):
        assert kind_of(which) == "refused"
    assert kind_of("hf://one/two//etc/x.safetensors") == "refused"
