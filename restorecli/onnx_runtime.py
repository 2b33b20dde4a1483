"""ONNX Runtime, imported so that it reports nothing of what its users do.

Builds of it on PyPI (1.29 and later) keep an identity of the machine in the home folder and send events to their maker
unless this variable is set before they are loaded; switching it off afterwards leaves the identity and a first event.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors

__all__ = ["errors", "onnxruntime"]
