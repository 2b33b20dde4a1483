"""Figures that were measured on this machine, in one small file of the user's cache folder.

Losing it costs a measurement, nothing else: whatever is wrong with the file, it is as if it were not there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restorecli.errors import PhotoError
from restorecli.photo.atomic import write_bytes_atomic

_log = logging.getLogger(__name__)

_MOST_ENTRIES = 64
_MOST_BYTES = 1_000_000


def cache_file() -> Path:
    """Where the figures are."""
    from platformdirs import user_cache_path

    return user_cache_path("restorecli", appauthor=False) / "speed.json"


def load(key: Mapping[str, str]) -> dict[str, float]:
    """What was stored under ``key``; empty when there is nothing, or nothing that can be read."""
    entry = _entries().get(_digest(key), {})
    figures = entry.get("figures") if isinstance(entry, dict) else None
    if not isinstance(figures, dict):
        return {}
    # JSON has no infinity: null stands for what did not run.
    values = {name: math.inf if value is None else value for name, value in figures.items()}
    sound = all(len(name.split()) == 3 and type(value) in (int, float) and value > 0 for name, value in values.items())
    return values if sound else {}


def store(key: Mapping[str, str], figures: Mapping[str, float]) -> None:
    """Keep ``figures``, positive numbers, under ``key`` in the place of what was there; the oldest of many go."""
    entries = _entries()
    entries.pop(_digest(key), None)
    values = {name: None if math.isinf(value) else value for name, value in figures.items()}
    entries[_digest(key)] = {"of": dict(key), "figures": values}
    kept = dict(list(entries.items())[-_MOST_ENTRIES:])
    try:
        write_bytes_atomic(json.dumps({"entries": kept}, indent=1).encode(), cache_file(), overwrite=True)
    except (OSError, PhotoError) as error:
        _log.debug("figures are not remembered: %s", error)


def _entries() -> dict[str, Any]:
    try:
        with cache_file().open("rb") as file:
            entries = json.loads(file.read(_MOST_BYTES))["entries"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _digest(key: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()
