"""Where a tile lies, in full precision, when OpenVINO computes the rest in a narrow one.

OpenVINO narrows everything that it computes, coordinates too; eight bits are too few to tell where in a photo a tile
lies, and tiles would disagree. So what is read of the map of the whole photo is a small model of its own, in fp32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

READ = "read_at_place"
"""The input of the large model that takes what the small one gives."""


def split(core: Any, openvino: Any, path: Path) -> tuple[Any, Any] | None:
    """The ONNX file as two models: what is read at the place, and all else, with an input READ in its stead.

    None when the file has no input ``place`` that first meets a convolution.
    """
    small, large = core.read_model(path), core.read_model(path)
    place, meets = _first_convolution(small)
    if place is None or meets is None:
        return None
    head = openvino.Model([meets.input_value(0)], small.get_parameters(), READ)
    place, meets = _first_convolution(large)
    there = meets.input_value(0)
    read = openvino.op.Parameter(there.get_element_type(), there.get_partial_shape())
    read.output(0).get_tensor().set_names({READ})
    meets.input(0).replace_source_output(read.output(0))
    large.remove_parameter(place)
    large.add_parameters([read])
    large.validate_nodes_and_infer_types()
    return head, large


class ReadAtPlace:
    """The small model, ready to run."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._inputs = {name for entry in compiled.inputs for name in entry.get_names()}

    def __call__(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        """What the large model wants as READ; of the photo only its size matters here."""
        self._request.infer({key: feed[key] for key in feed.keys() & self._inputs}, share_inputs=True)
        return self._request.get_output_tensor().data


def _first_convolution(model: Any) -> tuple[Any, Any]:
    """The input ``place`` and the first convolution that what is computed from it meets; None for what is not there."""
    found = [entry for entry in model.get_parameters() if "place" in entry.output(0).get_names()]
    waiting, seen = list(found), set()
    while waiting:
        node = waiting.pop(0)
        for output in node.outputs():
            for target in output.get_target_inputs():
                after = target.get_node()
                if after.get_type_name() == "Convolution":
                    return found[0], after
                if after.get_friendly_name() not in seen:
                    seen.add(after.get_friendly_name())
                    waiting.append(after)
    return (found[0] if found else None), None
