"""What people write for sizes, times and counts, as numbers."""

from __future__ import annotations

import re

from restorecli.errors import UsageError

_BYTES = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", 1):
    _BYTES |= {_letter: 1000**_power, f"{_letter}B": 1000**_power, f"{_letter}IB": 1024**_power}
_PIXELS = {"": 1, "MP": 10**6}
_SECONDS = {"h": 3600, "m": 60, "s": 1}


def memory(text: str) -> int:
    """``2GB``, ``1.5GiB``, ``800M`` or plain bytes -> bytes; :class:`UsageError` for anything else."""
    return _scaled(text, _BYTES, "--max-memory", "a size such as 2GB or 1500MB")


def pixels(text: str) -> int:
    """``50000000`` or ``50MP`` -> pixels; :class:`UsageError` for anything else."""
    return _scaled(text, _PIXELS, "--max-pixels", "a number of pixels, or of megapixels such as 50MP")


def duration(text: str) -> float:
    """``150m``, ``2h``, ``1h30m`` or ``90s`` -> seconds; :class:`UsageError` for anything else."""
    parts = re.findall(r"(\d{1,15}(?:\.\d{1,15})?)([hms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"--time-limit must be a time such as 150m, 2h or 1h30m, not {text!r}")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def count_or_auto(text: str, option: str) -> int | None:
    """A whole number from 1 on; None for ``auto``; :class:`UsageError` for anything else."""
    if text == "auto":
        return None
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) < 1:
        raise UsageError(f"{option} must be auto or a whole number from 1 on, not {text!r}")
    return int(text)


def quality_or_same(text: str) -> int | str:
    """A whole number from 1 to 100, or ``same``; :class:`UsageError` for anything else."""
    if text == "same":
        return text
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 100:
        raise UsageError(f"--quality must be same or a whole number from 1 to 100, not {text!r}")
    return int(text)


def _scaled(text: str, units: dict[str, int], option: str, wanted: str) -> int:
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([a-z]*)", text.strip(), re.IGNORECASE)
    scale = units.get(found[2].upper()) if found else None
    if found is None or scale is None or float(found[1]) * scale < 1:
        raise UsageError(f"{option} must be {wanted}, not {text!r}")
    return int(float(found[1]) * scale)
