"""A network in 8-bit integers for OpenVINO, from the ranges of its layers that its weights file tells.

Post-training quantisation, uniform and static (Jacob et al., CVPR 2018; Krishnamoorthi, arXiv 1806.08342): the inputs
of a convolution are spread over 256 levels between the lowest and the highest value that they were seen to have, its
weights, channel by channel, over 255 levels about zero. Sums, biases, what goes past a residual block, and all layers
without a range stay in fp32, so that what one block rounds is not rounded again on the way past the next.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from restorecli.weights.ranges import Ranges

_LEVELS, _WEIGHT_LEVELS = 256, 255


def quantised(core: Any, openvino: Any, path: Any, ranges: Ranges) -> Any | None:
    """The ONNX file as a model whose convolutions with a range compute in 8 bits; None when it has none such."""
    model, changed = core.read_model(path), 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Convolution":
            continue
        weights = node.input_value(1).get_node()
        bounds = ranges.get(weights.get_friendly_name().removesuffix(".weight"))
        # An fp16 file holds halves: what is computed of them, sums too, would be in halves.
        if bounds is None or weights.get_type_name() != "Constant" or weights.data.dtype != np.float32:
            continue
        low, high = _with_zero(*bounds)
        if low == high:
            continue
        largest = np.abs(weights.data).max(axis=(1, 2, 3), keepdims=True).astype(np.float32)
        largest = np.maximum(largest, np.finfo(np.float32).tiny)
        replacements = (
            _levels(openvino, node.input_value(0), np.full((1, 1, 1, 1), low), np.full((1, 1, 1, 1), high), _LEVELS),
            _levels(openvino, node.input_value(1), -largest, largest, _WEIGHT_LEVELS),
        )
        for index, replacement in enumerate(replacements):
            node.input(index).replace_source_output(replacement.output(0))
        changed += 1
    model.validate_nodes_and_infer_types()
    return model if changed else None


def _with_zero(low: float, high: float) -> tuple[float, float]:
    """The range, widened to hold zero, moved by less than a level so that zero is one: borders are padded with it."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / (_LEVELS - 1)
    if step == 0 or low == 0:
        return low, high
    low = round(low / step) * step
    return low, low + (_LEVELS - 1) * step


def _levels(openvino: Any, value: Any, low: np.ndarray, high: np.ndarray, count: int) -> Any:
    """``value``, rounded to ``count`` levels from ``low`` to ``high``: what OpenVINO compiles to integers."""
    bounds = [openvino.opset13.constant(bound.astype(np.float32)) for bound in (low, high)]
    return openvino.opset13.fake_quantize(value, *bounds, *bounds, count)
