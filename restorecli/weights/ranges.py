"""Between which values the inputs of a network's convolutions lie: what 8-bit integers are spread over.

In the metadata of a weights file and of its ONNX twin they are ``ranges``: JSON of the layers' names, each with its
lowest and its highest value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

Ranges = Mapping[str, tuple[float, float]]

KEY = "ranges"


def to_metadata(ranges: Ranges) -> dict[str, str]:
    """The entry of the metadata, of five digits a value; none where no layer has a range."""
    rounded = {name: [float(f"{value:.5g}") for value in bounds] for name, bounds in ranges.items()}
    return {KEY: json.dumps(rounded)} if rounded else {}


def from_metadata(metadata: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """What :func:`to_metadata` wrote; nothing where there is no entry, and :class:`ValueError` for any other one."""
    given = json.loads(metadata.get(KEY, "{}"))
    if not isinstance(given, dict):
        raise ValueError("ranges must be those of layers, by name")
    found = {}
    for name, bounds in given.items():
        numbers = bounds if isinstance(bounds, list) and len(bounds) == 2 else []
        try:
            if not numbers or not all(type(value) in (int, float) and math.isfinite(value) for value in numbers):
                raise ValueError(f"the range of {name} must be two numbers")
            low, high = (float(value) for value in numbers)
        except OverflowError as error:  # An integer of hundreds of digits.
            raise ValueError(f"the range of {name} must be two numbers") from error
        if low > high:
            raise ValueError(f"the range of {name} ends before it begins")
        found[name] = low, high
    return found
