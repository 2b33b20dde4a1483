"""All CUDA devices of a machine for the photos of one run, an engine for each."""

from __future__ import annotations

import logging

from restorecli.errors import BackendError
from restorecli.inference.backends.machine import cuda_devices
from restorecli.inference.engine import Engine

_log = logging.getLogger(__name__)


def engines_for(first: Engine, asked: str, photos: int) -> list[Engine]:
    """``first``, and where it runs on CUDA and ``asked`` names no one device, the like of it on each other device.

    No more than there are ``photos``. A device that does not start is passed over.
    """
    engines = [first]
    if asked in ("auto", "cuda") and first.backend.device.startswith("cuda") and photos > 1:
        for device in [f"cuda:{number}" for number in range(cuda_devices())]:
            if device != first.backend.device and len(engines) < photos:
                try:
                    engines.append(first.on(device))
                except BackendError as error:
                    _log.warning("%s is left out: %s", device, error)
    return engines
